"""Every model is asked the same clips, crops and masks, whatever corpus they lie in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from speechkit.core.errors import DataError
from speechkit.data.packed import PackedCorpus
from speechkit.ssl.checkpoints import Pretrainer, build_pretrainer, load_model
from speechkit.ssl.clip_loss import DRAWS, clip_losses, mean_loss
from speechkit.ssl.crops import CropConfig, CropDataset
from speechkit.ssl.pretrain import pretrain
from speechkit.ssl.units.file import Units
from tests.ssl.tiny import DATA, HUBERT, WAV2VEC2, hubert_config, tiny_corpus, tiny_units


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> PackedCorpus:
    return PackedCorpus(tiny_corpus(tmp_path_factory.mktemp("corpus") / "tones.safetensors"))


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_units(tmp_path_factory.mktemp("units") / "units.safetensors")


def test_a_model_that_knows_the_units_has_less_loss_and_training_goes_on_as_before(
    corpus: PackedCorpus, units: Path, tmp_path: Path
) -> None:
    model = build_pretrainer(HUBERT).train()
    before = clip_losses(model, corpus, DATA, Units(units, corpus))
    assert model.training
    assert [clip.clip for clip in before] == list(corpus.ids)
    assert mean_loss(before) > 1.0
    frames = [HUBERT.encoder.frames(min(len(corpus.wave(n)), 9600)) for n in range(len(corpus))]
    for clip, whole in zip(before, frames, strict=True):
        assert 0 < clip.frames < DRAWS * whole
    pretrain(corpus.path, hubert_config(60), tmp_path / "run", units=units)
    trained = load_model(tmp_path / "run" / "last")
    assert isinstance(trained, Pretrainer)
    after = clip_losses(trained, corpus, DATA, Units(units, corpus))
    assert mean_loss(after) < mean_loss(before) - 0.3
    assert [clip.frames for clip in after] == [clip.frames for clip in before]


def test_it_depends_on_the_clip_and_not_on_what_lies_beside_it(
    corpus: PackedCorpus, tmp_path: Path
) -> None:
    part = PackedCorpus(tiny_corpus(tmp_path / "part.safetensors", clips=5))
    model = build_pretrainer(WAV2VEC2)
    assert clip_losses(model, part, DATA) == clip_losses(model, corpus, DATA)[:5]
    crops = CropDataset(corpus, DATA, WAV2VEC2, seed=5)
    one, again, other = (crops.alone(3, draw) for draw in (0, 0, 1))
    assert torch.equal(one.wave_BT, again.wave_BT)
    assert not torch.equal(one.masked_BF, other.masked_BF)


def test_short_clips_are_said(corpus: PackedCorpus) -> None:
    longer = CropConfig(min_seconds=2.0, max_seconds=8.0, batch_seconds=16.0)
    with pytest.raises(DataError, match="No clip is left"):
        clip_losses(build_pretrainer(WAV2VEC2), corpus, longer)
