"""The low mel bands that V2 reads prosody from.

Shapes: B batch, T samples, F frames, M mel bands.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechkit.core.devices import in_float32
from speechkit.core.mel import MelConfig, mel_filterbank

POWER_FLOOR = 1e-9
"""Added to the power before the square root, as in the public code."""


class ProsodyMel(nn.Module):
    """Log-mel of a wave continued by reflection; a wave of T samples has T // hop frames.

    The frames lie where those of `LogMel` lie, but what is beyond the ends is not silence.
    """

    window_W: Tensor
    filters_MN: Tensor

    def __init__(self, config: MelConfig, bands: int) -> None:
        super().__init__()
        self.config, self.bands = config, bands
        self.register_buffer(
            "window_W", torch.hann_window(config.win_length, device="cpu"), persistent=False
        )
        self.register_buffer("filters_MN", mel_filterbank(config), persistent=False)

    def forward(self, wave_BT: Tensor) -> Tensor:
        """The lowest bands `mel_BMF`."""
        config = self.config
        frames = wave_BT.shape[-1] // config.hop_length
        edge = (config.n_fft - config.hop_length) // 2
        # Reflection needs more samples than it adds; shorter waves are continued by silence.
        wave_BT = nn.functional.pad(wave_BT, (0, max(0, edge + 1 - wave_BT.shape[-1])))
        padded = nn.functional.pad(wave_BT[:, None], (edge, edge), mode="reflect")[:, 0]
        with in_float32(wave_BT):
            spectrum = torch.stft(
                padded.float(),
                config.n_fft,
                hop_length=config.hop_length,
                win_length=config.win_length,
                window=self.window_W,
                center=False,
                return_complex=True,
            )
            magnitude = (spectrum.real**2 + spectrum.imag**2 + POWER_FLOOR).sqrt()
            filters = self.filters_MN[: self.bands]
            return (filters @ magnitude).clamp_min(config.floor).log()[..., :frames]
