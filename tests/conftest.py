"""What every test stands on: a quiet environment, bundled clips, shared data where it is."""

from __future__ import annotations

import os

# Set before anything imports torch, gradio or a hub client: they read these once.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "disabled")

from pathlib import Path

import pytest
import soundfile  # noqa: F401  # before fairseq2, which looks for the libsndfile that soundfile loads
import torch

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu` where there is no CUDA device."""
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def examples() -> Path:
    """The folder of bundled synthetic prompts."""
    return ROOT / "speechkit" / "voices"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of corpus shards beside the checkout; skips where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not (folder / "manifest.jsonl").is_file():
        pytest.skip("no shared/data beside the checkout: this test needs the evaluation recordings")
    return folder
