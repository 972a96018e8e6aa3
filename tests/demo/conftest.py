"""A tiny model, bundled clips, and a state over a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from speechkit.core.audio import read_audio
from speechkit.demo.jobs import Models, load_models
from speechkit.demo.limits import Limits
from speechkit.demo.state import AppState
from tests.tiny import tiny_model

EXAMPLES = Path(__file__).resolve().parents[2] / "speechkit" / "voices"


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Random weights."""
    return load_models(tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="session")
def clip() -> Tensor:
    """A bundled prompt, at 16 kHz."""
    return read_audio(EXAMPLES / "synthetic_af_heart.flac")


@pytest.fixture(scope="session")
def other() -> Tensor:
    """Another one."""
    return read_audio(EXAMPLES / "synthetic_bm_george.flac")


@pytest.fixture
def app(models: Models, tmp_path: Path) -> AppState:
    """A state whose uploads lie in an empty folder."""
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    return AppState(models=models, limits=Limits(), uploads=uploads)
