"""Both models learn: on one batch of tones their guesses of hidden frames get better."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechkit.core.errors import ConfigError, DataError
from speechkit.data.packed import PackedCorpus
from speechkit.ssl.checkpoints import build_pretrainer
from speechkit.ssl.config import ModelConfig
from speechkit.ssl.crops import CropConfig, CropDataset
from speechkit.ssl.selection import Selection
from speechkit.ssl.units.file import Units
from tests.ssl.tiny import DATA, HUBERT, WAV2VEC2, tiny_corpus, tiny_units


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> PackedCorpus:
    return PackedCorpus(tiny_corpus(tmp_path_factory.mktemp("corpus") / "tones.safetensors"))


@pytest.fixture(scope="module")
def units(corpus: PackedCorpus, tmp_path_factory: pytest.TempPathFactory) -> Units:
    return Units(tiny_units(tmp_path_factory.mktemp("units")), corpus)


@pytest.mark.parametrize("config", [WAV2VEC2, HUBERT], ids=["wav2vec2", "hubert"])
def test_a_model_learns_one_batch(config: ModelConfig, corpus: PackedCorpus, units: Units) -> None:
    crops = CropDataset(corpus, DATA, config, 0, None if config is WAV2VEC2 else units)
    model = build_pretrainer(config, 0)
    batch = crops.draw(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    key = "loss/contrastive" if config is WAV2VEC2 else "loss/masked"
    values = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(40):
            result = model(batch)
            values.append(float(result[key].detach() / result["targets"]))
            optimizer.zero_grad()
            (result["total"] / result["targets"]).backward()
            optimizer.step()
    assert sum(values[-5:]) < 0.85 * sum(values[:5])


def test_batches_follow_from_their_numbers(corpus: PackedCorpus) -> None:
    one, two = (CropDataset(corpus, DATA, WAV2VEC2, 5) for _ in range(2))
    for number in (7, 0, 3):
        first, second = one.draw(number), two.draw(number)
        assert torch.equal(first.wave_BT, second.wave_BT)
        assert torch.equal(first.masked_BF, second.masked_BF)
        assert first.others_BMK is not None
        assert second.others_BMK is not None
        assert torch.equal(first.others_BMK, second.others_BMK)
    other = CropDataset(corpus, DATA, WAV2VEC2, 6).draw(0)
    same_shape = other.wave_BT.shape == one.draw(0).wave_BT.shape
    assert not same_shape or not torch.equal(other.wave_BT, one.draw(0).wave_BT)


def test_every_clip_is_seen_once_an_epoch_and_held_out_ones_never(corpus: PackedCorpus) -> None:
    crops = CropDataset(corpus, DATA, WAV2VEC2, 0)
    seen = sorted(clip for batch in crops._plan(0) for clip in batch)
    assert seen == crops.clips
    assert len(crops.held_out) == 2
    heard = {corpus.speaker(clip) for clip in seen}
    assert not heard & {corpus.speaker(clip) for clip in crops.held_out}
    longest = max(batch.wave_BT.numel() for batch in map(crops.draw, range(len(crops._plan(0)))))
    assert longest <= DATA.batch_seconds * 16_000


def test_long_clips_are_cropped_and_short_ones_counted(tmp_path: Path) -> None:
    corpus = PackedCorpus(tiny_corpus(tmp_path / "long.safetensors", clips=8, seconds=3.0))
    data = CropConfig(min_seconds=2.2, max_seconds=2.5, batch_seconds=5.0, held_out_clips=0)
    crops = CropDataset(corpus, data, WAV2VEC2, 0)
    assert crops.too_short == 2  # 2.1 s, twice
    assert crops.cropped == 4  # 2.7 and 3 s, twice each
    assert "2 shorter than 2.2 s left out" in crops.describe()
    assert {crops.draw(i).wave_BT.shape[1] for i in range(4)} <= {round(2.4 * 16_000), 40_000}


def test_labels_stay_with_their_frames(corpus: PackedCorpus, units: Units) -> None:
    # Crops start on frames, so the label of a crop's frame i is the clip's unit there.
    crops = CropDataset(corpus, DATA, HUBERT, 0, units)
    batch = crops.draw(1)
    clips = crops._plan(0)[1]
    assert batch.labels_BF is not None
    for row, clip in enumerate(clips):
        whole = corpus.wave(clip)
        places = [
            start
            for start in range(0, len(whole) - batch.wave_BT.shape[1] + 1, 320)
            if torch.equal(whole[start : start + batch.wave_BT.shape[1]], batch.wave_BT[row])
        ]
        assert len(places) == 1
        units_U = units.of(clip)
        first = places[0] // 320
        frames = batch.labels_BF.shape[1]
        assert torch.equal(batch.labels_BF[row], units_U[first : first + frames])


def test_an_empty_selection_and_wrong_units_are_refused(
    corpus: PackedCorpus, units: Units, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="No clip"):
        CropDataset(corpus, replace(DATA, selection=Selection(languages=("xx",))), WAV2VEC2, 0)
    with pytest.raises(DataError, match="No clip is left"):
        CropDataset(
            corpus, replace(DATA, min_seconds=5.0, max_seconds=6.0, batch_seconds=6), WAV2VEC2, 0
        )
    with pytest.raises(ConfigError, match="HuBERT needs --units"):
        CropDataset(corpus, DATA, HUBERT, 0)
    with pytest.raises(ConfigError, match="leave --units out"):
        CropDataset(corpus, DATA, WAV2VEC2, 0, units)
    with pytest.raises(ConfigError, match="6 clusters at 50 Hz, the config says 7"):
        CropDataset(corpus, DATA, replace(HUBERT, clusters=7), 0, units)
    fewer = Units(tiny_units(tmp_path / "fewer", known=10), corpus)
    assert CropDataset(corpus, DATA, HUBERT, 0, fewer).without_units == 14


def test_every_epoch_has_as_many_batches_and_none_needs_those_before(corpus: PackedCorpus) -> None:
    crops = CropDataset(corpus, replace(DATA, batch_seconds=2.0), WAV2VEC2, 0)
    count = len(crops._plan(0))
    late = crops.draw(41 * count + 1).wave_BT
    fresh = CropDataset(corpus, replace(DATA, batch_seconds=2.0), WAV2VEC2, 0)
    assert torch.equal(fresh.draw(41 * count + 1).wave_BT, late)
    assert fresh._planned[0] == 41


def test_with_nobody_held_out_all_are_trained_on(corpus: PackedCorpus) -> None:
    crops = CropDataset(corpus, replace(DATA, held_out_clips=0), WAV2VEC2, 0)
    assert len(crops.clips) == len(corpus)
    assert crops.validation() == []
