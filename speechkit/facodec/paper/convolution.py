"""Encoder and generator: strided convolutions between residual units (NS3 §3.2.1).

Shapes: B batch, D channels, T samples, F frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from speechkit.facodec.lengths import silenced
from speechkit.facodec.paper.alias_free import AliasFreeSnake

UNIT_KERNEL = 7
DILATIONS = (1, 3, 9)


def normed_conv(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> nn.Module:
    """A weight-normalised convolution whose bias starts at 0 (Salimans & Kingma 2016)."""
    return _normed(nn.Conv1d(inputs, outputs, kernel, stride, padding, dilation))


def _normed(conv: nn.Module) -> nn.Module:
    assert isinstance(conv.bias, Tensor)
    nn.init.zeros_(conv.bias)
    weight_norm(conv)
    return conv


class ResidualUnit(nn.Module):
    """x + two activated convolutions, the first one dilated."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.act1 = AliasFreeSnake(channels)
        self.conv1 = normed_conv(
            channels, channels, UNIT_KERNEL, padding=UNIT_KERNEL // 2 * dilation, dilation=dilation
        )
        self.act2 = AliasFreeSnake(channels)
        self.conv2 = normed_conv(channels, channels, 1)

    def forward(self, x_BDT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Same shape; an item of `lengths_B` ends as it does alone."""
        wide_BDT = self.conv1(silenced(self.act1(x_BDT, lengths_B), lengths_B))
        out: Tensor = x_BDT + self.conv2(self.act2(wide_BDT, lengths_B))
        return out


class DownBlock(nn.Module):
    """Residual units, then twice as many channels at a fraction of the rate."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.units = nn.Sequential(*(ResidualUnit(channels, d) for d in DILATIONS))
        self.act = AliasFreeSnake(channels)
        self.conv = normed_conv(
            channels, 2 * channels, 2 * stride, stride=stride, padding=-(-stride // 2)
        )

    def forward(self, x_BDT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """`[B, 2·D, T / stride]`; T / stride is rounded, see `encoded_frames`."""
        for unit in self.units:
            x_BDT = unit(x_BDT, lengths_B)
        out: Tensor = self.conv(silenced(self.act(x_BDT, lengths_B), lengths_B))
        return out


class UpBlock(nn.Module):
    """Half as many channels at a multiple of the rate, then residual units."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.act = AliasFreeSnake(channels)
        half = channels // 2
        self.conv = _normed(
            nn.ConvTranspose1d(channels, half, 2 * stride, stride, -(-stride // 2), stride % 2)
        )
        self.units = nn.Sequential(*(ResidualUnit(half, d) for d in DILATIONS))

    def forward(self, x_BDT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """`[B, D/2, T · stride]`."""
        out: Tensor = self.conv(silenced(self.act(x_BDT, lengths_B), lengths_B))
        longer_B = None if lengths_B is None else self.stride * lengths_B
        for unit in self.units:
            out = unit(out, longer_B)
        return out


class Encoder(nn.Module):
    """A wave as vectors at frame rate."""

    def __init__(self, stem_channels: int, strides: Sequence[int], channels: int) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.stem = normed_conv(1, stem_channels, 7, padding=3)
        self.down = nn.Sequential(
            *(DownBlock(stem_channels * 2**i, stride) for i, stride in enumerate(strides))
        )
        width = stem_channels * 2 ** len(strides)
        self.final_act = AliasFreeSnake(width)
        self.final_conv = normed_conv(width, channels, 3, padding=1)

    def forward(self, wave_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """`hidden_BDF`; F is `encoded_frames(T, strides)`.

        Waves of `lengths_B` samples, with silence after them, are encoded as each is alone.
        """
        hidden = self.stem(wave_BT[:, None])
        for block, stride in zip(self.down, self.strides, strict=True):
            hidden = block(hidden, lengths_B)
            lengths_B = None if lengths_B is None else _down(lengths_B, stride)
        act = silenced(self.final_act(hidden, lengths_B), lengths_B)
        out: Tensor = self.final_conv(act)
        return out


class Generator(nn.Module):
    """Vectors at frame rate as a wave."""

    def __init__(self, channels: int, stem_channels: int, strides: Sequence[int]) -> None:
        super().__init__()
        self.strides = tuple(reversed(strides))
        self.stem = normed_conv(channels, stem_channels, 7, padding=3)
        self.up = nn.Sequential(
            *(UpBlock(stem_channels // 2**i, stride) for i, stride in enumerate(self.strides))
        )
        width = stem_channels // 2 ** len(strides)
        self.final_act = AliasFreeSnake(width)
        self.final_conv = normed_conv(width, 1, 7, padding=3)

    def forward(self, z_BDF: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """`wave_BT`, −1 to 1, T = hop · F; items of `lengths_B` frames end as they do alone."""
        hidden = self.stem(silenced(z_BDF, lengths_B))
        for block, stride in zip(self.up, self.strides, strict=True):
            hidden = block(hidden, lengths_B)
            lengths_B = None if lengths_B is None else stride * lengths_B
        act = silenced(self.final_act(hidden, lengths_B), lengths_B)
        return torch.tanh(self.final_conv(act))[:, 0]


def encoded_frames(samples: int, strides: Sequence[int]) -> int:
    """Frames the encoder makes of a wave that is not padded.

    Odd strides round upwards near the end, so this is not samples / hop.
    """
    for stride in strides:
        samples = _down(samples, stride)
    return samples


_Count = TypeVar("_Count", int, Tensor)


def _down(length: _Count, stride: int) -> _Count:
    """What a block of this stride makes of a length."""
    return (length + 2 * -(-stride // 2) - 2 * stride) // stride + 1
