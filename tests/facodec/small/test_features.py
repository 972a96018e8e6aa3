"""Pitch splitting, frame pairing and level: inverses and invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.rng import generator
from speechkit.facodec.small.features import (
    PITCH_SCALE,
    REFERENCE_HZ,
    active_mean,
    pair_frames,
    pitch_hz,
    speech_gain,
    split_pitch,
    unpair_frames,
)

tracks = st.lists(st.one_of(st.just(0.0), st.floats(60.0, 500.0)), min_size=1, max_size=60).map(
    lambda values: np.array(values, dtype=np.float32)
)


@settings(deadline=None)
@given(tracks)
def test_pitch_survives_splitting(f0_G: np.ndarray) -> None:
    pitch = split_pitch(f0_G)
    voiced_G = torch.from_numpy(f0_G > 0)
    back_G = pitch_hz(pitch.contour_G[None], torch.tensor([pitch.median]))[0]
    assert torch.equal(pitch.voiced_G.bool(), voiced_G)
    assert bool(((back_G >= 40) & (back_G <= 700)).all())
    torch.testing.assert_close(
        back_G[voiced_G], torch.from_numpy(f0_G)[voiced_G], rtol=1e-4, atol=0
    )


@settings(deadline=None)
@given(tracks, st.floats(0.7, 1.4))
def test_contour_ignores_transposition(f0_G: np.ndarray, factor: float) -> None:
    one, other = split_pitch(f0_G), split_pitch(f0_G * np.float32(factor))
    torch.testing.assert_close(one.contour_G, other.contour_G, atol=1e-4, rtol=0)
    if one.voiced_G.any():
        assert other.median - one.median == pytest.approx(math.log(factor), abs=1e-5)


def test_contour_is_interpolated_where_unvoiced() -> None:
    pitch = split_pitch(np.array([0.0, 100.0, 0.0, 0.0, 200.0, 0.0, 150.0]))
    octave = math.log(2) / PITCH_SCALE
    third = octave / 3
    expected = [0, 0, third, 2 * third, octave]
    assert (pitch.contour_G - pitch.contour_G[1])[:5].tolist() == pytest.approx(expected, abs=1e-5)
    assert pitch.median == pytest.approx(math.log(150 / REFERENCE_HZ), abs=1e-6)


def test_pitch_of_a_clip_without_voice_is_zero() -> None:
    pitch = split_pitch(np.zeros(5, dtype=np.float32))
    assert pitch.median == 0
    assert not pitch.contour_G.any()
    assert not pitch.voiced_G.any()


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(1, 8), st.integers(1, 9))
def test_pairing_frames_is_undone(batch: int, bands: int, frames: int) -> None:
    mel_BMG = torch.arange(batch * bands * 2 * frames).reshape(batch, bands, 2 * frames)
    paired = pair_frames(mel_BMG)
    assert paired.shape == (batch, frames, 2 * bands)
    assert torch.equal(unpair_frames(paired), mel_BMG)
    assert torch.equal(pair_frames(unpair_frames(paired)), paired)
    assert torch.equal(paired[:, -1, :bands], mel_BMG[:, :, -2])


def test_active_mean_is_the_mean_of_the_louder_frames() -> None:
    mel_BMG = torch.randn(3, 5, 40, generator=generator(0))
    for mel_MG, mean_M1 in zip(mel_BMG, active_mean(mel_BMG), strict=True):
        energy = mel_MG.mean(0)
        loud = [g for g in range(40) if energy[g] >= energy.mean()]
        torch.testing.assert_close(mean_M1[:, 0], mel_MG[:, loud].mean(1))


@settings(deadline=None, max_examples=30)
@given(st.integers(320, 5000), st.integers(0, 5), st.floats(0.01, 0.2))
def test_gain_brings_the_loud_frames_to_the_level(samples: int, seed: int, level: float) -> None:
    wave_T = 0.3 * torch.randn(samples, generator=generator(seed))
    wave_T[: samples // 2] *= 1e-3
    scaled = wave_T[: samples // 320 * 320] * speech_gain(wave_T, level)
    power = scaled.reshape(-1, 320).pow(2).mean(1)
    assert float(power[power >= power.mean()].mean().sqrt()) == pytest.approx(level, rel=1e-4)
    assert speech_gain(wave_T * 4, level) == pytest.approx(speech_gain(wave_T, level) / 4, rel=1e-4)


@pytest.mark.parametrize("samples", [1, 100, 640])
def test_gain_of_silence_is_finite(samples: int) -> None:
    assert math.isfinite(speech_gain(torch.zeros(samples), 0.05))
