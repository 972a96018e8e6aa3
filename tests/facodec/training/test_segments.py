"""Training segments: crops that carry the right pitch, phones and speaker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from speechkit.core.rng import generator
from speechkit.data.alignment import Alignment
from speechkit.data.packed import PackedClip, PackedCorpus, write_packed
from speechkit.facodec.encode_corpus import shard_codes
from speechkit.facodec.small.features import pitch_hz
from speechkit.facodec.training.segments import LEAST_VOICED, UNLABELLED, SegmentSampler
from speechkit.text import DEFAULT_VOCABULARY
from speechkit.text.frames import FrameClasses
from tests.facodec.builders import TinyData, clip_info, vowel
from tests.facodec.small.test_codec import fresh

CLASSES = FrameClasses(DEFAULT_VOCABULARY)


def segments(data: TinyData, alignment: Alignment | None, crop_frames: int) -> SegmentSampler:
    return SegmentSampler(
        data.corpus,
        CLASSES,
        alignment,
        crop_frames=crop_frames,
        reference_frames=50,
        level_rms=0.05,
        held_out=0.25,
    )


def test_batches_follow_the_generator(data: TinyData) -> None:
    drawn = segments(data, data.alignment, 40)
    one, same, other = (drawn.draw(4, generator(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(getattr(one, key), getattr(same, key)) for key in vars(one))
    assert not torch.equal(one.wave_BT, other.wave_BT)
    assert one.wave_BT.shape == (4, 40 * 320)
    assert one.reference_BT.shape == (4, 50 * 320)
    assert one.contour_BG.shape == one.voiced_BG.shape == (4, 80)
    assert one.phone_BF.shape == (4, 40)


def test_pitch_and_phones_belong_to_the_crop(data: TinyData) -> None:
    batch = segments(data, data.alignment, 40).draw(8, generator(0))
    f0_BG = pitch_hz(batch.contour_BG, batch.median_B) * batch.voiced_BG
    clips = [
        (
            data.corpus.f0(n),
            torch.repeat_interleave(data.alignment.phones(n), data.alignment.frames(n)),
        )
        for n in range(len(data.corpus))
    ]
    class_of = torch.tensor(CLASSES.of_phone)
    for f0_G, phone_F in zip(f0_BG, batch.phone_BF, strict=True):
        places = [
            (n, start)
            for n, (whole_G, _) in enumerate(clips)
            for start in range(len(whole_G) // 2 - 39)
            if torch.allclose(whole_G[2 * start : 2 * start + 80], f0_G, rtol=2e-3)
        ]
        assert any(
            torch.equal(class_of[clips[n][1][start : start + 40]], phone_F) for n, start in places
        )


def test_crops_and_references_lie_where_somebody_speaks(tmp_path: Path) -> None:
    spoken, pause = vowel(1.0), np.zeros(4 * 16_000, dtype=np.float32)
    clips = [
        PackedClip(
            info=clip_info(f"late-{n}", f"speaker-{n}"),
            pcm_T=(np.concatenate([pause, spoken]) * 32767).astype(np.int16),
            f0_F=np.repeat([0.0, 120.0], [400, 100]).astype(np.float32),
        )
        for n in range(4)
    ]
    write_packed(tmp_path / "corpus.safetensors", iter(clips))
    drawn = SegmentSampler(
        PackedCorpus(tmp_path / "corpus.safetensors"),
        CLASSES,
        None,
        crop_frames=100,
        reference_frames=100,
        level_rms=0.05,
        held_out=0.25,
    )
    batch = drawn.draw(64, generator(0))
    # One start in four has enough voice behind it, and so have nine crops in ten after eight tries.
    for voiced_BG in (batch.voiced_BG, batch.reference_voiced_BG):
        assert float((voiced_BG.mean(1) >= LEAST_VOICED).float().mean()) > 0.75


def test_short_clips_are_padded_and_unlabelled(data: TinyData) -> None:
    batch = segments(data, data.alignment, 400).draw(3, generator(0))
    assert bool((batch.phone_BF[:, -50:] == UNLABELLED).all())
    assert not batch.wave_BT[:, -50 * 320 :].any()
    without = segments(data, None, 40).draw(3, generator(0))
    assert bool((without.phone_BF == UNLABELLED).all())


def test_a_corpus_is_encoded_clip_by_clip(data: TinyData) -> None:
    found = shard_codes(fresh(), data.corpus, 0, data.alignment, 1, lambda clips: None)
    lengths = [clip.codes_KF.shape for clip in found]
    expected = [(6, -(-data.corpus.samples(n) // 320)) for n in range(len(data.corpus))]
    assert lengths == expected


def test_crop_levels_are_near_the_codecs(data: TinyData) -> None:
    batch = segments(data, None, 100).draw(8, generator(0))
    rms = batch.wave_BT.pow(2).mean(-1).sqrt().numpy()
    assert bool(np.all((rms > 0.02) & (rms < 0.1)))
