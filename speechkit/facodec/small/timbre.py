"""The global timbre vector.

Shapes: B batch, F frames, M mel bands, G mel frames, D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechkit.facodec.convnext import ConvNeXtStack
from speechkit.facodec.small.features import active_mean, pair_frames, scale_mel


class TimbreEncoder(nn.Module):
    """One vector a recording: attentive statistics of hidden frames plus the mean spectrum.

    Okabe et al. 2018, "Attentive statistics pooling". The last element of the vector is the
    measured median pitch and is appended by the codec, not learnt here.
    """

    def __init__(self, n_mels: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.stack = ConvNeXtStack(2 * n_mels, channels, blocks)
        self.attention = nn.Sequential(
            nn.Linear(channels, 64), nn.Tanh(), nn.Linear(64, channels)
        )
        self.out = nn.Linear(2 * channels + n_mels, channels - 1)
        self.norm = nn.LayerNorm(channels - 1)

    def forward(self, mel_BMG: Tensor) -> Tensor:
        """`timbre_BD` without its last element, [B, channels − 1]."""
        scaled = scale_mel(mel_BMG)
        return self.pool(self.stack(pair_frames(scaled)).float(), scaled)

    def pool(self, h_BFD: Tensor, scaled: Tensor) -> Tensor:
        """The vector of a recording from its hidden frames and its scaled log-mel."""
        weight = torch.softmax(self.attention(h_BFD).float(), dim=1)
        mean = (weight * h_BFD).sum(1)
        variance = (weight * (h_BFD - mean[:, None]).pow(2)).sum(1)
        colour = active_mean(scaled)[..., 0]
        pooled = torch.cat([mean, torch.sqrt(variance + 1e-6), colour], dim=-1)
        timbre: Tensor = self.norm(self.out(pooled))
        return timbre
