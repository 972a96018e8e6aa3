"""Training of the generator as `speechkit train generator` does it: a step, an export, a resume."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechkit.core.errors import ConfigError, DataError
from speechkit.data.alignment import ClipAlignment, write_alignment
from speechkit.diffusion.generator import load_generator
from speechkit.diffusion.train import GeneratorTraining, train_generator
from speechkit.train import TrainConfig
from tests.diffusion.builders import SMALL
from tests.diffusion.test_generator_task import CONFIG
from tests.facodec.builders import TinyData, tiny_data
from tests.tiny import tiny_model

RECIPE = GeneratorTraining(
    generator=SMALL, task=CONFIG, train=TrainConfig(steps=1, device="cpu", ema_decay=0.0)
)


@pytest.fixture(autouse=True)
def _no_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if TensorBoard were not installed: its import takes seconds."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model")) / "codec"


def test_a_step_an_export_and_a_resume(data: TinyData, codec: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train_generator(RECIPE, data.corpus.path, codec, out).step == 1
    first = load_generator(out / "last").state_dict()
    longer = replace(RECIPE, train=replace(RECIPE.train, steps=2))
    assert train_generator(longer, data.corpus.path, codec, out).step == 2
    second = load_generator(out / "last").state_dict()
    assert any(not torch.equal(first[name], second[name]) for name in first)
    other = replace(longer, task=replace(CONFIG, prompt_drop=0.9))
    with pytest.raises(ConfigError, match=r"another task\.prompt_drop: "):
        train_generator(other, data.corpus.path, codec, out)


def test_an_alignment_with_other_phones_is_refused(codec: Path, tmp_path: Path) -> None:
    corpus = tiny_data(tmp_path).corpus
    clips = {0: ClipAlignment(torch.tensor([1]), torch.tensor([9]), 0.0)}
    write_alignment(corpus.shards[0], ("<pad>", "A"), clips)
    with pytest.raises(DataError, match="other phones"):
        train_generator(RECIPE, corpus.path, codec, tmp_path / "run")
