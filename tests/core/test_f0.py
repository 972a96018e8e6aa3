"""Pitch has one value each 10 ms, at the middle of its frame."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest

from speechkit.core.errors import DataError
from speechkit.core.f0 import extract_f0, f0_frames

RATE = 16000


def tone(f0_hz: float, seconds: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A buzz of ten harmonics."""
    times_T = np.arange(round(seconds * RATE)) / RATE
    wave_T = np.zeros_like(times_T)
    for harmonic in range(1, 11):
        wave_T += 0.05 * np.sin(2 * np.pi * harmonic * f0_hz * times_T)
    return wave_T


@pytest.mark.parametrize("samples", [0, 1, 80, 159, 160, 161, 16000, 16081])
def test_one_value_each_10_ms(samples: int) -> None:
    f0_F = extract_f0(tone(150, 2)[:samples])
    assert f0_F.shape == (-(-samples // 160),) == (f0_frames(samples),)
    assert f0_F.dtype == np.float32


@pytest.mark.parametrize("f0_hz", [80.0, 150.0, 300.0])
def test_a_steady_tone_is_found(f0_hz: float) -> None:
    f0_F = extract_f0(tone(f0_hz, 1.0))[10:-10]
    np.testing.assert_allclose(f0_F, f0_hz, rtol=0.005)


def test_values_lie_at_the_middle_of_their_frame() -> None:
    slope_hz_per_second = 100.0
    times_T = np.arange(RATE) / RATE
    phase_T = 2 * np.pi * (120 * times_T + slope_hz_per_second * times_T**2 / 2)
    wave_T = np.sum([0.05 * np.sin(n * phase_T) for n in range(1, 11)], axis=0)
    frames_F = np.arange(100)
    middles_F = (160 * frames_F + 80) / RATE
    error_F = extract_f0(wave_T) - (120 + slope_hz_per_second * middles_F)
    # Frames at their first sample instead of the middle would be off by 0.5 Hz everywhere.
    assert abs(np.median(error_F[15:-15])) < 0.15


@pytest.mark.parametrize(
    "wave_T", [np.zeros(RATE), 1e-3 * np.random.default_rng(0).normal(size=RATE)]
)
def test_no_voice_is_zero(wave_T: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    assert (extract_f0(wave_T) > 0).mean() < 0.05


def test_bad_waves_are_data_errors() -> None:
    with pytest.raises(DataError, match="16000 Hz"):
        extract_f0(np.zeros(100), 22050)
    with pytest.raises(DataError, match="mono"):
        extract_f0(np.zeros((2, 100)))
    with pytest.raises(DataError, match="NaN"):
        extract_f0(np.full(100, np.nan))


def test_without_pyworld_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def no_pyworld(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "pyworld":
            raise ImportError("No module named 'pyworld'")
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_pyworld)
    with pytest.raises(DataError, match="pip install"):
        extract_f0(np.zeros(1000))
