from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.rng import generator
from speechkit.ssl.baselines import WavAugmentConfig
from speechkit.ssl.baselines.wavaugment import add_noise, distort, reverberate, shift_pitch

ALWAYS = WavAugmentConfig(pitch_share=1, reverb_share=1, noise_share=1)
NEVER = WavAugmentConfig(pitch_share=0, reverb_share=0, noise_share=0)


def tone(hz: float, samples: int = 16_000) -> Tensor:
    return 0.3 * torch.sin(2 * math.pi * hz * torch.arange(samples) / 16_000)


def peak_hz(wave_T: Tensor) -> float:
    size = 1 << 18
    spectrum = torch.fft.rfft(wave_T * torch.hann_window(len(wave_T)), n=size).abs()
    return float(spectrum.argmax()) * 16_000 / size


@settings(max_examples=12, deadline=None)
@given(st.floats(150, 3000), st.floats(-300, 300))
def test_pitch_moves_by_so_many_cents(hz: float, cents: float) -> None:
    shifted_T = shift_pitch(tone(hz), cents)
    assert shifted_T.shape == (16_000,)
    assert 1200 * math.log2(peak_hz(shifted_T) / hz) == pytest.approx(cents, abs=7)


@pytest.mark.parametrize("cents", [-300, -50, 120, 300])
def test_pitch_shift_keeps_time_and_level(cents: float) -> None:
    wave_T = tone(400.0)
    wave_T[:8000] = 0
    shifted_T = shift_pitch(wave_T, cents)
    loud = float(wave_T[9000:15_000].square().mean())
    # A piece may come from 7.5 ms beside its place.
    assert float(shifted_T[:7800].square().mean()) < 1e-3 * loud
    assert float(shifted_T[8200:8600].square().mean()) == pytest.approx(loud, rel=0.1)
    assert float(shifted_T[9000:15_000].square().mean()) == pytest.approx(loud, rel=0.1)


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.5])
def test_reverberation_decays_by_60_db_in_its_time(seconds: float) -> None:
    click_T = torch.zeros(16_000)
    click_T[0] = 1
    energy = reverberate(click_T, seconds, 0.0, generator(1)).square()
    first, middle = (int(seconds * share * 16_000) for share in (0.05, 0.5))
    width = int(seconds * 1600)
    fall = energy[first : first + width].mean() / energy[middle : middle + width].mean()
    assert 10 * math.log10(float(fall)) == pytest.approx(60 * 0.45, abs=2)
    assert float(energy[int(seconds * 16_000) + 1 :].abs().max()) < 1e-9


def test_reverberation_keeps_onset_power_and_level_of_the_direct_sound() -> None:
    click_T = torch.zeros(16_000)
    click_T[500] = 0.7
    wet_T = reverberate(click_T, 0.4, 6.0, generator(2))
    assert float(wet_T[:500].abs().max()) < 1e-6
    assert float(wet_T.square().sum()) == pytest.approx(0.49, rel=1e-4)
    tail = float(wet_T[501:].square().sum())
    assert 10 * math.log10(float(wet_T[500]) ** 2 / tail) == pytest.approx(6.0, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(st.floats(-20, 40), st.floats(0, 2), st.integers(400, 4000), st.integers(0, 2**32))
def test_noise_lies_so_many_db_below(snr_db: float, slope: float, samples: int, seed: int) -> None:
    wave_T = torch.randn(samples, generator=generator(seed), dtype=torch.float64)
    noise_T = add_noise(wave_T, snr_db, slope, generator(seed)) - wave_T
    ratio = float(noise_T.square().mean() / wave_T.square().mean())
    assert ratio == pytest.approx(10 ** (-snr_db / 10), rel=1e-5)


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_noise_has_its_colour(slope: float) -> None:
    wave_T = torch.ones(1 << 16)
    noise_T = add_noise(wave_T, 0.0, slope, generator(3)) - wave_T
    power = torch.fft.rfft(noise_T).abs().square()
    hz = torch.arange(len(power)) * 16_000 / (1 << 16)
    low, high = (float(power[(hz > f) & (hz < 1.2 * f)].mean()) for f in (200, 3200))
    assert 10 * math.log10(low / high) == pytest.approx(slope * 10 * math.log10(16), abs=1.5)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6000), st.integers(0, 2**32))
def test_any_length_is_kept_without_nan(samples: int, seed: int) -> None:
    wave_T = torch.randn(samples, generator=generator(seed))
    before = wave_T.clone()
    distorted_T = distort(wave_T, ALWAYS, generator(seed))
    assert torch.equal(wave_T, before)
    assert distorted_T.shape == wave_T.shape
    assert distorted_T.dtype == wave_T.dtype
    assert bool(distorted_T.isfinite().all())
    assert torch.equal(distorted_T, distort(wave_T, ALWAYS, generator(seed)))
    assert torch.equal(distort(wave_T, NEVER, generator(seed)), wave_T)


def test_silence_stays_silence() -> None:
    for seed in range(5):
        assert float(distort(torch.zeros(5000), ALWAYS, generator(seed)).abs().max()) == 0


def test_each_distortion_comes_by_its_chance() -> None:
    wave_T = torch.randn(600, generator=generator(0))
    rng = generator(1)
    config = WavAugmentConfig(pitch_share=0.0, reverb_share=0.0, noise_share=0.3)
    changed = sum(not torch.equal(distort(wave_T, config, rng), wave_T) for _ in range(400))
    assert changed / 400 == pytest.approx(0.3, abs=0.1)
