"""A log-mel front end in place of convolutions on the wave (MelHuBERT, Lin et al. 2022).

The wave stack spends its first hours of speech on learning a filter bank, and a third of every
update on running it. Interop is for the wave one.

Shapes: B batch, T samples, M mel bands, G mel frames (100/s), F frames, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from speechkit.core.mel import LogMel, MelConfig
from speechkit.ssl.config import MEL_HOP_SAMPLES, WINDOW_SAMPLES, EncoderConfig


class LogMelFrontEnd(nn.Module):
    """Log-mel, normalised band by band over each clip, then strided convolutions."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.log_mel = LogMel(MelConfig(hop_length=MEL_HOP_SAMPLES))
        inputs = self.log_mel.config.n_mels
        self.layers = nn.ModuleList()
        shapes = zip(config.conv_channels, config.conv_kernels, config.conv_strides, strict=True)
        for channels, kernel, stride in shapes:
            self.layers.append(
                nn.Conv1d(inputs, channels, kernel, stride=stride, padding=kernel // 2)
            )
            inputs = channels
        self.strides = config.conv_strides

    def forward(self, wave_BT: Tensor, lengths_B: Sequence[int]) -> tuple[Tensor, list[int]]:
        """Return `features_BFC` and the valid frames of each row.

        A frame is centred, like one of the wave stack, near its hop's sample 200.
        """
        lengths = [1 + (samples - WINDOW_SAMPLES) // MEL_HOP_SAMPLES for samples in lengths_B]
        with torch.autocast(wave_BT.device.type, enabled=False):
            # The first mel frame has its centre at sample 80; the second at 240.
            mel_BMG = self.log_mel(wave_BT.float())[..., 1 : 1 + max(lengths)]
            x_BCF = normalise(mel_BMG, lengths)
        for layer, stride in zip(self.layers, self.strides, strict=True):
            x_BCF = nn.functional.gelu(layer(x_BCF))
            lengths = [1 + (length - 1) // stride for length in lengths]
            x_BCF = x_BCF * _kept(lengths, x_BCF)
        return x_BCF.transpose(1, 2), lengths


def normalise(mel_BMG: Tensor, lengths: list[int]) -> Tensor:
    """Each band of each clip with mean 0 and deviation 1 over its own frames; the rest is 0."""
    keep_B1G = _kept(lengths, mel_BMG)
    count_B11 = keep_B1G.sum(-1, keepdim=True)
    centred = (mel_BMG - (mel_BMG * keep_B1G).sum(-1, keepdim=True) / count_B11) * keep_B1G
    variance = centred.square().sum(-1, keepdim=True) / count_B11
    return centred / (variance + 1e-4).sqrt()


def _kept(lengths: list[int], like_BCF: Tensor) -> Tensor:
    """1 at frames of a clip, 0 at padding, [B, 1, F]."""
    places_F = torch.arange(like_BCF.shape[-1], device=like_BCF.device)
    lengths_B1 = torch.tensor(lengths, device=like_BCF.device)[:, None]
    return (places_F < lengths_B1)[:, None].to(like_BCF.dtype)
