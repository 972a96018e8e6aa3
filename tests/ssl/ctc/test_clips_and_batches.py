"""Which clips are learned from, and the batches and masks that they make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechkit.core.errors import DataError
from speechkit.core.rng import generator
from speechkit.data.packed import ClipInfo, PackedClip, PackedCorpus, write_packed
from speechkit.ssl.ctc.batches import (
    FinetuneMaskConfig,
    MaskShape,
    NumberedBatches,
    channel_masks,
    collate,
    cut,
    time_masks,
)
from speechkit.ssl.ctc.characters import Characters
from speechkit.ssl.ctc.clips import ClipsConfig, frames_needed, select_clips
from speechkit.ssl.selection import Selection
from tests.ssl.tiny import ENCODER

ENGLISH = Characters.english()


def clip(name: str, text: str | None, seconds: float = 1.0, speaker: str = "a") -> PackedClip:
    """A silent clip."""
    info: ClipInfo = {
        "id": name,
        "text": text,
        "speaker": speaker,
        "language": "de" if name.startswith("de") else "en",
        "license": "CC0-1.0",
        "split": "train",
        "source": "test",
    }
    pcm_T = np.zeros(round(16_000 * seconds), dtype=np.int16)
    return PackedClip(info=info, pcm_T=pcm_T, f0_F=np.zeros(-(-len(pcm_T) // 160)))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> PackedCorpus:
    """Forty clips of a talkative speaker, four of each of five others, and clips of no use."""
    path = tmp_path_factory.mktemp("clips") / "corpus.safetensors"
    many = [clip(f"many{n}", "hello there", 1.0 + 0.01 * n) for n in range(40)]
    few = [clip(f"few{n}", "good day", 1.5, f"b{n % 5}") for n in range(20)]
    bad = [
        *(clip("silent", None), clip("blank", " "), clip("signs", "...!")),
        *(clip("short", "hi", 0.2), clip("long", "hi", 30.0)),
        *(clip("digits", "room 7"), clip("hasty", "a" * 40, 1.0), clip("de1", "guten tag")),
    ]
    write_packed(path, [*many, *few, *bad])
    return PackedCorpus(path)


ENGLISH_CLIPS = ClipsConfig(selection=Selection(languages=("en",)), on_unknown="skip")


def test_what_cannot_be_used_is_counted(corpus: PackedCorpus) -> None:
    split = select_clips(corpus, ENGLISH, ENCODER.frames, ENGLISH_CLIPS)
    assert split.train.report.left_out == {
        "without text": 2,
        "without letters": 1,
        "too short": 1,
        "too long": 1,
        "with unknown characters": 1,
        "with more letters than frames": 1,
    }
    assert len(split.train) == 60
    assert "60 clips" in split.train.report.text()


def test_unknown_characters_stop_unless_skipped(corpus: PackedCorpus) -> None:
    with pytest.raises(DataError, match=r"no 7 in the text of digits"):
        select_clips(corpus, ENGLISH, ENCODER.frames, ClipsConfig())


def test_held_out_clips_are_of_other_speakers_where_labels_suffice(corpus: PackedCorpus) -> None:
    split = select_clips(corpus, ENGLISH, ENCODER.frames, ENGLISH_CLIPS, held_out=5)
    assert len(split.held_out) == 5
    heard = {item.speaker for item in split.train.items}
    assert not heard & {item.speaker for item in split.held_out.items}
    everything = sum(item.samples for item in split.train.items) / 16_000 / 60
    # More minutes than the other speakers have: then clips are held out, not speakers.
    more = replace(ENGLISH_CLIPS, minutes=1.2 * everything)
    split = select_clips(corpus, ENGLISH, ENCODER.frames, more, held_out=5)
    held_out = {item.clip for item in split.held_out.items}
    assert held_out
    assert not held_out & {item.clip for item in split.train.items}


def test_minutes_are_balanced_over_speakers(corpus: PackedCorpus) -> None:
    def chosen(seed: int) -> list[str]:
        config = ClipsConfig(minutes=0.4, selection=ENGLISH_CLIPS.selection, on_unknown="skip")
        split = select_clips(corpus, ENGLISH, ENCODER.frames, config, seed=seed)
        assert 0.36 < split.train.report.minutes <= 0.4
        counts = [
            sum(item.speaker == speaker for item in split.train.items)
            for speaker in ("a", "b0", "b1", "b2", "b3", "b4")
        ]
        assert max(counts) - min(counts) <= 1
        return [corpus.clips[item.clip]["id"] for item in split.train.items]

    assert chosen(1) == chosen(1)
    assert chosen(1) != chosen(2)


def test_impossible_selections_are_refused(corpus: PackedCorpus, tmp_path: Path) -> None:
    def refused(match: str, **changes: object) -> None:
        values: dict[str, object] = {"on_unknown": "skip", **changes}
        with pytest.raises(DataError, match=match):
            select_clips(corpus, ENGLISH, ENCODER.frames, ClipsConfig(**values))  # type: ignore[arg-type]

    refused("has only 1.3 usable", minutes=60.0)
    refused("0.001 minutes are shorter", minutes=0.001)
    refused("can be learned from", min_seconds=50.0, max_seconds=60.0)
    refused("fits the selection", selection=Selection(languages=("xx",)))


def test_doubles_need_a_frame_more() -> None:
    assert frames_needed(ENGLISH.encode("all")) == 5
    assert frames_needed(()) == 0


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 200))
def test_cut_keeps_all_clips_within_the_batch(samples: list[int], batch_samples: int) -> None:
    batches = cut(samples, range(len(samples)), batch_samples)
    assert [place for batch in batches for place in batch] == list(range(len(samples)))
    for batch in batches:
        padded = max(samples[place] for place in batch) * len(batch)
        assert padded <= batch_samples or len(batch) == 1


def numbered(corpus: PackedCorpus, batch_seconds: float, seed: int = 0) -> NumberedBatches:
    """Batches of the usable clips."""
    split = select_clips(corpus, ENGLISH, ENCODER.frames, ENGLISH_CLIPS)
    shape = MaskShape(frames=ENCODER.frames, channels=ENCODER.model_dim)
    samples = round(16_000 * batch_seconds)
    return NumberedBatches(split.train, samples, FinetuneMaskConfig(), shape, seed)


def test_every_clip_comes_once_an_epoch_and_numbers_fix_all_draws(corpus: PackedCorpus) -> None:
    batches = numbered(corpus, 12.0)
    seen: list[int] = []
    number = 0
    while len(seen) < 60:
        seen += batches.chosen(number)
        number += 1
    assert sorted(seen) == list(range(60))
    again = numbered(corpus, 12.0)
    # Out of order, as a resumed run asks for them.
    for later in (number + 3, 2):
        first, second = batches(later), again(later)
        assert torch.equal(first.labels_BL, second.labels_BL)
        assert first.masked_BF is not None
        assert second.masked_BF is not None
        assert torch.equal(first.masked_BF, second.masked_BF)
    assert batches.chosen(0) != numbered(corpus, 12.0, seed=1).chosen(0)


def test_fewer_clips_than_a_batch_make_one(corpus: PackedCorpus) -> None:
    batches = numbered(corpus, 1e4)
    for number in (0, 3):
        assert sorted(batches.chosen(number)) == list(range(60))


def test_padding_is_silent_and_blank(corpus: PackedCorpus) -> None:
    split = select_clips(corpus, ENGLISH, ENCODER.frames, ENGLISH_CLIPS)
    places = [
        next(n for n, item in enumerate(split.train.items) if item.text == text)
        for text in ("HELLO THERE", "GOOD DAY")
    ]
    batch = collate(split.train, places)
    assert batch.wave_BT.shape[1] == max(batch.lengths_B)
    assert batch.label_lengths_B == [12, 9]
    assert ENGLISH.decode(batch.labels_BL[1].tolist()) == "GOOD DAY"
    assert batch.labels_BL[1, 9:].tolist() == [0, 0, 0]


def test_time_masks_cover_what_fairseq_s_do() -> None:
    config = FinetuneMaskConfig()
    masked_BF = time_masks([500] * 200 + [8, 40], config, generator(0))
    assert masked_BF is not None
    # Spans may overlap: 0.65 comes to 0.49.
    assert float(masked_BF[:200].float().mean()) == pytest.approx(0.49, abs=0.015)
    assert not masked_BF[200].any()
    assert masked_BF[201, :40].any()
    assert not masked_BF[201, 40:].any()
    assert time_masks([500], FinetuneMaskConfig(time_share=0.0), generator(0)) is None


@pytest.mark.parametrize("channels", [16, 256, 768, 1024])
def test_channel_masks_are_bands_scaled_with_the_width(channels: int) -> None:
    config = FinetuneMaskConfig(channel_share=0.5)
    channels_BD = channel_masks(50, channels, config, generator(0))
    assert channels_BD is not None
    width = round(64 * channels / 768)
    # Six bands of a twelfth of the width, which may overlap.
    assert 0.3 < float(channels_BD.float().mean()) <= 0.5
    edges = torch.diff(channels_BD.int(), prepend=torch.zeros(50, 1, dtype=torch.int32))
    starts, ends = (edges == 1).sum(dim=1), channels_BD.sum(dim=1)
    assert (ends >= starts * width).all()
