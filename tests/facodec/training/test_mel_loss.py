"""The multi-scale mel distance: its numbers, its zeros, and finite slopes at silence."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from speechkit.core.mel import MelConfig, mel_filterbank
from speechkit.core.rng import generator
from speechkit.facodec.training.losses import MultiScaleMelLoss


def log_mel(wave_T: npt.NDArray[np.float64], window: int, n_mels: int) -> npt.NDArray[np.float64]:
    """Log10 mel magnitudes by a plain discrete Fourier transform of mirrored frames."""
    padded = np.pad(wave_T, window // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[:: window // 4]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    config = MelConfig(n_fft=window, win_length=window, hop_length=window // 4, n_mels=n_mels)
    mel = np.abs(np.fft.rfft(frames * hann)) @ mel_filterbank(config).double().numpy().T
    return np.asarray(np.log10(np.maximum(mel, 1e-5)))


def test_the_numbers_are_those_of_its_definition() -> None:
    waves = 0.1 * torch.randn(2, 1, 4000, generator=generator(0))
    windows, bands = (64, 512, 2048), (10, 80, 320)
    one, other = waves[:, 0].double().numpy()
    expected = sum(
        float(np.abs(log_mel(one, window, n_mels) - log_mel(other, window, n_mels)).mean())
        for window, n_mels in zip(windows, bands, strict=True)
    )
    ours = float(MultiScaleMelLoss(16_000, windows, bands)(*waves))
    assert ours == pytest.approx(expected, rel=1e-4)


def test_a_wave_is_no_distance_from_itself() -> None:
    wave_BT = 0.1 * torch.randn(2, 3000, generator=generator(0))
    loss = MultiScaleMelLoss(16_000)
    assert float(loss(wave_BT, wave_BT)) == 0
    # Ten times the amplitude is one unit of log10 for each of the seven windows.
    assert float(loss(10 * wave_BT, wave_BT)) == pytest.approx(7, rel=1e-3)


@pytest.mark.parametrize("level", [0.0, 1e-8, 0.1])
def test_slopes_are_finite_even_where_bands_are_empty(level: float) -> None:
    # 64 bands over 17 bins: most of the triangles fall between two bins.
    loss = MultiScaleMelLoss(16_000, (32, 128), (64, 160))
    assert bool((loss.get_buffer("filters_32").sum(1) == 0).any())
    wave_BT = (level * torch.randn(1, 1000, generator=generator(0))).requires_grad_()
    distance = loss(wave_BT, torch.zeros(1, 1000))
    distance.backward()
    assert bool(torch.isfinite(distance))
    assert wave_BT.grad is not None
    assert bool(torch.isfinite(wave_BT.grad).all())
    assert bool(wave_BT.grad.any()) == (level == 0.1)
