"""Log-mel spectrograms in plain torch, so that training needs no audio library.

Shapes: B batch, T samples, F frames, M mel bands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from speechkit.core.config import require_range
from speechkit.core.timebase import SAMPLE_RATE_HZ, frame_count


@dataclass(frozen=True, kw_only=True)
class MelConfig:
    """Analysis settings of a log-mel spectrogram."""

    sample_rate_hz: int = SAMPLE_RATE_HZ
    """Rate of the wave, in Hz."""

    n_fft: int = 1024
    """Length of the Fourier transform, in samples."""

    win_length: int = 512
    """Length of the Hann window, in samples; zero-padded to `n_fft`."""

    hop_length: int = 160
    """Samples from one frame to the next."""

    n_mels: int = 80
    """Mel bands."""

    fmin_hz: float = 0.0
    """Lower edge of the first band, in Hz."""

    fmax_hz: float = 8_000.0
    """Upper edge of the last band, in Hz."""

    floor: float = 1e-5
    """Smallest band magnitude before the logarithm."""

    def __post_init__(self) -> None:
        require_range(
            self,
            sample_rate_hz=(1000, 384_000),
            n_fft=(16, 65_536),
            win_length=(2, self.n_fft),
            hop_length=(2, self.win_length),
            n_mels=(1, 512),
            fmin_hz=(0, self.fmax_hz),
            fmax_hz=(1, self.sample_rate_hz / 2),
            floor=(1e-12, 1),
        )


def _hz_to_mel(hz: np.ndarray) -> np.ndarray:
    linear = hz * 3.0 / 200.0
    log = 15.0 + 27.0 * np.log(np.maximum(hz, 1e-9) / 1000.0) / np.log(6.4)
    return np.where(hz < 1000.0, linear, log)


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    linear = mel * 200.0 / 3.0
    log = 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0)
    return np.where(mel < 15.0, linear, log)


def mel_centres_hz(config: MelConfig) -> np.ndarray:
    """Centre frequency of every band, in Hz, float64 [n_mels]."""
    return _mel_edges_hz(config)[1:-1]


def _mel_edges_hz(config: MelConfig) -> np.ndarray:
    low, high = _hz_to_mel(np.array([config.fmin_hz, config.fmax_hz]))
    return _mel_to_hz(np.linspace(low, high, config.n_mels + 2))


def mel_filterbank(config: MelConfig) -> Tensor:
    """Slaney's triangular filters with unit area, float32 [n_mels, n_fft // 2 + 1].

    The same numbers as `librosa.filters.mel(htk=False, norm="slaney")`.
    """
    edges = _mel_edges_hz(config)
    bins = np.linspace(0.0, config.sample_rate_hz / 2, config.n_fft // 2 + 1)
    width = np.diff(edges)
    ramps = edges[:, None] - bins[None, :]
    rising = -ramps[:-2] / width[:-1, None]
    falling = ramps[2:] / width[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    triangles *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return torch.from_numpy(triangles.astype(np.float32))


class LogMel(nn.Module):
    """Natural logarithm of mel band magnitudes.

    Frame i is centred on sample `hop * i + hop // 2`; a wave of T samples has
    ceil(T / hop) frames; what lies outside the wave counts as silence.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.config = config
        window_N = torch.hann_window(config.win_length, device="cpu")
        self.register_buffer("window", window_N, persistent=False)
        self.register_buffer("filters", mel_filterbank(config), persistent=False)

    def forward(self, wave_BT: Tensor) -> Tensor:
        """Log-mel `mel_BMF` of `wave_BT` (float, −1 to 1)."""
        config = self.config
        frames = frame_count(wave_BT.shape[-1], config.hop_length)
        left = config.n_fft // 2 - config.hop_length // 2
        total = config.hop_length * (frames - 1) + config.n_fft
        padded = nn.functional.pad(wave_BT, (left, total - left - wave_BT.shape[-1]))
        spectrum = torch.stft(
            padded,
            config.n_fft,
            hop_length=config.hop_length,
            win_length=config.win_length,
            window=self.window,
            center=False,
            return_complex=True,
        )
        magnitude = torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-12)
        return torch.log((self.filters @ magnitude).clamp_min(config.floor))
