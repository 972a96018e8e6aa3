"""Reconstruction losses on waves and mel frames; every loss is a scalar in a flat dict.

Shapes: B batch, T samples, F frames, N frequency bins, M mel bands, K codebooks, V entries.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechkit.core.mel import LogMel, MelConfig, mel_filterbank


class MultiResolutionSTFTLoss(nn.Module):
    """L1 of log magnitudes and spectral convergence at several window lengths.

    Yamamoto et al. 2020, "Parallel WaveGAN", equations 4 to 6.
    """

    def __init__(self, windows: tuple[int, ...] = (2048, 1024, 512, 256, 128)) -> None:
        super().__init__()
        self.windows = windows
        for window in windows:
            self.register_buffer(f"window_{window}", torch.hann_window(window), persistent=False)

    def _magnitude(self, wave_BT: Tensor, window: int) -> Tensor:
        spectrum = torch.stft(
            wave_BT,
            window,
            hop_length=window // 4,
            window=self.get_buffer(f"window_{window}"),
            return_complex=True,
        )
        return torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-9)

    def forward(self, wave_BT: Tensor, target_BT: Tensor) -> dict[str, Tensor]:
        """`{"stft/log": …, "stft/convergence": …}`, means over the resolutions."""
        log_terms, convergence = [], []
        for window in self.windows:
            out, ref = self._magnitude(wave_BT, window), self._magnitude(target_BT, window)
            log_terms.append((torch.log(out + 1e-4) - torch.log(ref + 1e-4)).abs().mean())
            distance = torch.linalg.vector_norm(out - ref, dim=(1, 2))
            convergence.append(
                (distance / (torch.linalg.vector_norm(ref, dim=(1, 2)) + 1e-3)).mean()
            )
        return {
            "stft/log": torch.stack(log_terms).mean(),
            "stft/convergence": torch.stack(convergence).mean(),
        }


class MultiScaleMelLoss(nn.Module):
    """L1 of log10 mel magnitudes, summed over windows of different length.

    Kumar et al. 2023, "High-fidelity audio compression with improved RVQGAN" (DAC), section 3.5:
    short windows see the consonants, long ones the harmonics.
    """

    FLOOR = 1e-5
    """Smallest magnitude before the logarithm."""

    def __init__(
        self,
        sample_rate_hz: int,
        windows: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 2048),
        bands: tuple[int, ...] = (5, 10, 20, 40, 80, 160, 320),
    ) -> None:
        super().__init__()
        self.windows = windows
        for window, n_mels in zip(windows, bands, strict=True):
            config = MelConfig(
                sample_rate_hz=sample_rate_hz,
                n_fft=window,
                win_length=window,
                hop_length=window // 4,
                n_mels=n_mels,
                fmax_hz=sample_rate_hz / 2,
            )
            filters = mel_filterbank(config)
            self.register_buffer(f"window_{window}", torch.hann_window(window), persistent=False)
            self.register_buffer(f"filters_{window}", filters, persistent=False)

    def _log_mel(self, wave_BT: Tensor, window: int) -> Tensor:
        spectrum = torch.stft(
            wave_BT,
            window,
            hop_length=window // 4,
            window=self.get_buffer(f"window_{window}"),
            return_complex=True,
        )
        # The root has no slope at silence; a band without a bin stays at the floor, with none.
        magnitude = torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-14)
        filters = self.get_buffer(f"filters_{window}")
        return torch.log10((filters @ magnitude).clamp_min(self.FLOOR))

    def forward(self, wave_BT: Tensor, target_BT: Tensor) -> Tensor:
        """The sum over windows, a scalar; waves must be longer than half the longest window."""
        distances = [
            (self._log_mel(wave_BT, window) - self._log_mel(target_BT, window)).abs().mean()
            for window in self.windows
        ]
        return torch.stack(distances).sum()


def log_mel_loss(mel: LogMel, wave_BT: Tensor, target_BMF: Tensor) -> Tensor:
    """L1 between the log-mel of a wave and the log-mel it was made from."""
    distance: Tensor = (mel(wave_BT) - target_BMF).abs().mean()
    return distance
