"""The harmonic source against the sum it stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.rng import generator
from speechkit.facodec.small.source import noise_source, phase_of, pulse_train

HOP, RATE_HZ = 160, 16_000


def explicit(f0_F: np.ndarray) -> np.ndarray:
    """The same pulse train, harmonic by harmonic in double precision."""
    centres = np.arange(len(f0_F)) * HOP + (HOP - 1) / 2
    f0_T = np.interp(np.arange(len(f0_F) * HOP), centres, f0_F)
    phase_T = 2 * np.pi * np.cumsum(f0_T / RATE_HZ)
    count_T = np.floor(0.5 * RATE_HZ / np.repeat(f0_F, HOP))
    wave_T = np.zeros(len(phase_T))
    for harmonic in range(1, int(count_T.max()) + 1):
        wave_T += np.where(harmonic <= count_T, np.cos(harmonic * phase_T), 0.0)
    return np.asarray(wave_T * np.sqrt(2 / count_T))


def pulses(f0_BF: Tensor) -> Tensor:
    """The pulse train at a pitch, as the vocoder makes it."""
    return pulse_train(phase_of(f0_BF, HOP, RATE_HZ), f0_BF, HOP, RATE_HZ)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(50.0, 600.0).map(np.float32), min_size=1, max_size=6))
def test_source_equals_the_sum_of_its_cosines(f0: list[np.float32]) -> None:
    f0_F = np.array(f0, dtype=np.float32)
    wave_T = pulses(torch.from_numpy(f0_F)[None])[0].numpy()
    expected_T = explicit(f0_F.astype(np.float64))
    # Single precision in the closed form, relative to the pulse's height √(2K).
    assert np.abs(wave_T - expected_T).max() < 0.01 * np.abs(expected_T).max()


@pytest.mark.parametrize("f0_hz", [83.0, 127.0, 210.0, 390.0])
def test_source_has_unit_power(f0_hz: float) -> None:
    # Whole periods in one second; no harmonic exactly at half the rate, where a cosine has power 1.
    wave_T = pulses(torch.full((1, 100), f0_hz))[0]
    assert float(wave_T.pow(2).mean()) == pytest.approx(1.0, rel=0.01)


def test_phase_does_not_drift_in_a_minute() -> None:
    frames, f0_hz = 6000, 123.456
    phase = float(phase_of(torch.full((1, frames), f0_hz), HOP, RATE_HZ)[0, -1])
    cycles = frames * HOP * float(np.float32(f0_hz)) / RATE_HZ
    distance = phase / (2 * np.pi) - cycles
    assert abs(distance - round(distance)) < 1e-2


def test_noise_follows_its_generator_and_has_unit_power() -> None:
    first = noise_source((2, 8000), generator(0))
    assert torch.equal(first, noise_source((2, 8000), generator(0)))
    assert not torch.equal(first, noise_source((2, 8000), generator(1)))
    assert float(first.pow(2).mean()) == pytest.approx(1.0, rel=0.05)
