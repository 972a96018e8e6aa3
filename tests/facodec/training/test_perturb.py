"""Segments played faster keep pitch, wave and phones together; codes with mistakes stay codes."""

from __future__ import annotations

import math

import numpy as np
import torch

from speechkit.core.f0 import extract_f0
from speechkit.core.rng import generator
from speechkit.facodec.small.features import pitch_hz
from speechkit.facodec.training.perturb import (
    RESAMPLING,
    draw_ratio,
    played_frames,
    resampled,
    substitute_codes,
)
from speechkit.facodec.training.segments import SegmentSampler
from speechkit.text import DEFAULT_VOCABULARY
from speechkit.text.frames import FrameClasses
from tests.facodec.builders import TinyData, vowel


def test_played_faster_is_higher_by_the_same_factor() -> None:
    wave_T = torch.from_numpy(vowel(1.0, f0_hz=120.0))
    faster_T = resampled(wave_T, 1.08, 16_000)
    f0_G = extract_f0(faster_T[:12_000].numpy())
    assert abs(float(np.median(f0_G[f0_G > 0])) / (120 * 1.08) - 1) < 0.01
    # The end came sooner.
    assert faster_T.shape == (16_000,)
    assert not faster_T[int(16_000 / 1.08) + 10 :].any()


def test_ratios_are_one_except_for_a_share() -> None:
    rng = generator(0)
    ratios = [draw_ratio(0.25, rng) for _ in range(400)]
    changed = [ratio for ratio in ratios if ratio != 1]
    assert 70 < len(changed) < 130
    assert max(abs(math.log(ratio)) for ratio in changed) <= RESAMPLING
    assert played_frames(5, 1.0).tolist() == [0, 1, 2, 3, 4]


def test_segments_that_are_played_faster_carry_the_pitch_that_is_heard(data: TinyData) -> None:
    drawn = SegmentSampler(
        data.corpus,
        FrameClasses(DEFAULT_VOCABULARY),
        data.alignment,
        crop_frames=60,
        reference_frames=60,
        level_rms=0.05,
        held_out=0.25,
        resampled=1.0,
    ).draw(4, generator(3))
    assert drawn.clip_B.tolist() == [-1] * 4
    f0_BG = pitch_hz(drawn.contour_BG, drawn.median_B)
    for wave_T, f0_G, voiced_G in zip(drawn.wave_BT, f0_BG, drawn.voiced_BG, strict=True):
        heard_G = torch.from_numpy(extract_f0(wave_T.numpy()))[: len(f0_G)]
        both_G = (heard_G > 0) & (voiced_G > 0)
        assert int(both_G.sum()) > 30
        assert float((heard_G / f0_G - 1)[both_G].abs().median()) < 0.015


def test_references_come_from_other_clips_of_the_speaker(data: TinyData) -> None:
    drawn = SegmentSampler(
        data.corpus,
        FrameClasses(DEFAULT_VOCABULARY),
        data.alignment,
        crop_frames=10,
        reference_frames=400,
        level_rms=None,
        held_out=0.25,
        other_reference=1.0,
    ).draw(16, generator(1))
    elsewhere = 0
    for reference_T, clip, speaker, level in zip(
        drawn.reference_BT, drawn.clip_B, drawn.speaker_B, drawn.level_B, strict=True
    ):
        sources = [
            n
            for n in range(len(data.corpus))
            if torch.allclose(
                data.corpus.wave(n)[:8000] * level.exp(), reference_T[:8000], atol=1e-5
            )
        ]
        assert [data.corpus.speaker(n) for n in sources] == [int(speaker)]
        elsewhere += sources != [int(clip)]
    assert elsewhere > 4


def test_a_share_of_the_codes_is_replaced_by_others() -> None:
    codes_BKF = torch.full((4, 6, 200), 7)
    made_BKF = substitute_codes(codes_BKF, 16, 0.1, generator(0))
    assert 0.07 < float((made_BKF != 7).float().mean()) < 0.12
    assert set(made_BKF.flatten().tolist()) == set(range(16))
    assert torch.equal(substitute_codes(codes_BKF, 16, 0.0, generator(0)), codes_BKF)
