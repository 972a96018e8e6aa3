"""The residual block all small networks of the codec and the generator are made of.

Shapes: B batch, F frames, D channels, C condition channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

KERNEL = 7
"""Length of the depthwise convolutions, in frames."""


class Modulation(nn.Module):
    """Scale, shift and gate of one block, predicted from a condition vector.

    Adaptive layer norm with a zero-initialised projection, so a new block starts as the
    unconditioned one (Peebles & Xie 2023, "adaLN-Zero").
    """

    def __init__(self, channels: int, condition_channels: int) -> None:
        super().__init__()
        self.project = nn.Linear(condition_channels, 3 * channels)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, condition_BC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`(scale_B1D, shift_B1D, gate_B1D)`; all ones, zeros, ones at the start."""
        scale, shift, gate = self.project(condition_BC)[:, None].chunk(3, dim=-1)
        return 1 + scale, shift, 1 + gate


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over frames, then a position-wise MLP (Liu et al. 2022; Vocos 2023)."""

    def __init__(
        self,
        channels: int,
        *,
        kernel: int = KERNEL,
        expansion: int = 3,
        condition_channels: int = 0,
        layer_scale: float = 0.1,
    ) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.up = nn.Linear(channels, expansion * channels)
        self.down = nn.Linear(expansion * channels, channels)
        self.layer_scale = nn.Parameter(torch.full((channels,), layer_scale))
        self.modulation = Modulation(channels, condition_channels) if condition_channels else None

    def forward(
        self,
        x_BFD: Tensor,
        condition_BC: Tensor | None = None,
        keep_BF1: Tensor | None = None,
    ) -> Tensor:
        """`x_BFD` refined; frames where `keep_BF1` is 0 are silent to their neighbours."""
        h = x_BFD if keep_BF1 is None else x_BFD * keep_BF1
        h = self.depthwise(h.transpose(1, 2)).transpose(1, 2)
        h = self.norm(h)
        gate: Tensor | float = 1.0
        if self.modulation is not None:
            assert condition_BC is not None
            scale, shift, gate = self.modulation(condition_BC)
            h = h * scale + shift
        h = self.down(nn.functional.gelu(self.up(h)))
        refined: Tensor = x_BFD + h * self.layer_scale * gate
        return refined


class ConvNeXtStack(nn.Module):
    """A linear map into `channels`, then blocks, then a layer norm."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        blocks: int,
        *,
        kernel: int = KERNEL,
        expansion: int = 3,
        condition_channels: int = 0,
    ) -> None:
        super().__init__()
        self.stem = nn.Linear(in_channels, channels)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(
                channels,
                kernel=kernel,
                expansion=expansion,
                condition_channels=condition_channels,
                layer_scale=1.0 / max(1, blocks),
            )
            for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(channels)

    def forward(
        self,
        x_BFI: Tensor,
        condition_BC: Tensor | None = None,
        keep_BF1: Tensor | None = None,
    ) -> Tensor:
        """Hidden frames `h_BFD` of `x_BFI`; frames where `keep_BF1` is 0 are not heard."""
        h = self.stem(x_BFI)
        for block in self.blocks:
            h = block(h, condition_BC, keep_BF1)
        hidden: Tensor = self.norm(h)
        return hidden
