"""The Snake activation between two low-pass filters, so that its overtones do not fold back.

Shapes: B batch, D channels, T samples or frames, N taps.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor, nn

from speechkit.facodec.lengths import held

TAPS = 12
SNAKE_FLOOR = 1e-9
"""Keeps the division finite, as in the public code."""


def low_pass_taps() -> Tensor:
    """`taps_N` of a half-band low-pass filter: a sinc in a Kaiser window, sum 1, float32.

    Cutoff 0.25 and transition half-width 0.3 of the sample rate; the window's shape follows from
    them by Kaiser's formula (Karras et al. 2021, "Alias-free GAN", App. C.1). In single precision
    throughout, so that public checkpoints get the very taps they were trained with.
    """
    return torch.tensor(_low_pass_taps(), device="cpu")


@cache
def _low_pass_taps() -> list[float]:
    half = TAPS // 2
    attenuation_db = 2.285 * (half - 1) * math.pi * 4 * 0.3 + 7.95
    beta = 0.1102 * (attenuation_db - 8.7)
    window_N = torch.kaiser_window(TAPS, periodic=False, beta=beta, device="cpu")
    times_N = torch.arange(-half, half, device="cpu") + 0.5
    taps_N = 0.5 * window_N * torch.sinc(0.5 * times_N)
    taps: list[float] = (taps_N / taps_N.sum()).tolist()
    return taps


class AliasFreeSnake(nn.Module):
    """x + sin²(αx)/β at twice the rate, with α and β for each channel.

    Ziyin et al. 2020, "Neural networks fail to learn periodic functions"; the filters are those
    of BigVGAN (Lee et al. 2023, §3.3). Both parameters are stored as logarithms.
    """

    taps_N: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(torch.zeros(channels))
        self.log_beta = nn.Parameter(torch.zeros(channels))
        self.register_buffer("taps_N", low_pass_taps(), persistent=False)

    def up(self, x_BDT: Tensor) -> Tensor:
        """Twice as many samples; the ends are continued by repetition."""
        channels = x_BDT.shape[1]
        taps = 2 * self.taps_N.expand(channels, 1, -1)
        padded = nn.functional.pad(x_BDT, (5, 5), mode="replicate")
        return nn.functional.conv_transpose1d(padded, taps, stride=2, padding=15, groups=channels)

    def down(self, x_BDT: Tensor) -> Tensor:
        """Half as many samples."""
        channels = x_BDT.shape[1]
        padded = nn.functional.pad(x_BDT, (5, 6), mode="replicate")
        taps = self.taps_N.expand(channels, 1, -1)
        return nn.functional.conv1d(padded, taps, stride=2, groups=channels)

    def snake(self, x_BDT: Tensor) -> Tensor:
        """The activation alone."""
        height_D1 = 1 / (self.log_beta.exp()[:, None] + SNAKE_FLOOR)
        out_BDT = x_BDT * self.log_alpha.exp()[:, None]
        # In place: at twice the sample rate, fresh memory costs more than the arithmetic.
        return out_BDT.sin_().square_().mul_(height_D1).add_(x_BDT)

    def forward(self, x_BDT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """The activation, free of aliases; same shape. Items of `lengths_B` end as they do alone,
        and what comes after their ends is of no use."""
        twice_B = None if lengths_B is None else 2 * lengths_B
        up_BDT = held(self.snake(self.up(held(x_BDT, lengths_B))), twice_B)
        return self.down(up_BDT)
