"""The transformer that reads timbre, with convolutional feed-forward parts, and conditioning.

Shapes: B batch, F frames, D channels, H heads, L = F or 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from speechkit.facodec.paper.config import TransformerConfig


class ConditionalLayerNorm(nn.Module):
    """Layer normalisation whose scale and shift come from a vector (NS3 §3.2.1)."""

    def __init__(self, channels: int, condition_channels: int) -> None:
        super().__init__()
        self.affine = nn.Linear(condition_channels, 2 * channels)
        nn.init.ones_(self.affine.bias[:channels])
        nn.init.zeros_(self.affine.bias[channels:])

    def forward(self, x_BFD: Tensor, condition_BD: Tensor) -> Tensor:
        """Same shape."""
        scale_BLD, shift_BLD = self.affine(condition_BD)[:, None].chunk(2, dim=-1)
        normed = nn.functional.layer_norm(x_BFD, x_BFD.shape[-1:])
        out: Tensor = normed * scale_BLD + shift_BLD
        return out


class PlainLayerNorm(nn.LayerNorm):
    """Layer normalisation that takes a condition and ignores it."""

    def forward(self, x_BFD: Tensor, condition_BD: Tensor | None = None) -> Tensor:
        """Same shape."""
        return super().forward(x_BFD)


class Attention(nn.Module):
    """Self-attention over frames."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x_BFD: Tensor, keep_BF: Tensor | None) -> Tensor:
        """Same shape; frames that are not kept are not looked at."""
        batch, frames, channels = x_BFD.shape
        split = self.qkv(x_BFD).view(batch, frames, 3, self.heads, channels // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        mask = None if keep_BF is None else keep_BF[:, None, None]
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, frames, channels))
        return out


class Layer(nn.Module):
    """Attention, then a convolution and a linear map, each on its normalised input."""

    def __init__(self, channels: int, config: TransformerConfig, *, conditional: bool) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.norm1 = _norm(channels, conditional=conditional)
        self.norm2 = _norm(channels, conditional=conditional)
        self.attention = Attention(channels, config.heads)
        self.widen = nn.Conv1d(
            channels,
            config.filter_channels,
            config.kernel_frames,
            padding=config.kernel_frames // 2,
        )
        self.narrow = nn.Linear(config.filter_channels, channels)
        nn.init.normal_(self.widen.weight, std=0.02)
        assert self.widen.bias is not None
        nn.init.zeros_(self.widen.bias)
        nn.init.normal_(self.narrow.weight, std=0.02)

    def forward(
        self,
        x_BFD: Tensor,
        keep_BF: Tensor | None,
        condition_BD: Tensor | None,
        rng: torch.Generator | None,
        each_alone: bool,
    ) -> Tensor:
        """Same shape."""
        attended = self.attention(self.norm1(x_BFD, condition_BD), keep_BF)
        x_BFD = x_BFD + dropped(attended, self.dropout, rng)
        normed = self.norm2(x_BFD, condition_BD)
        if each_alone and keep_BF is not None:
            normed = normed * keep_BF[..., None]
        wide = self.widen(normed.transpose(1, 2)).transpose(1, 2).relu()
        out: Tensor = x_BFD + self.narrow(dropped(wide, self.dropout, rng))
        return out


class TransformerEncoder(nn.Module):
    """Pre-norm layers and a last normalisation."""

    def __init__(
        self,
        channels: int,
        config: TransformerConfig,
        *,
        batch_index_position: bool,
        conditional: bool = False,
    ) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.batch_index_position = batch_index_position
        self.layers = nn.ModuleList(
            Layer(channels, config, conditional=conditional) for _ in range(config.layers)
        )
        self.final_norm = _norm(channels, conditional=conditional)

    def forward(
        self,
        x_BFD: Tensor,
        *,
        keep_BF: Tensor | None = None,
        condition_BD: Tensor | None = None,
        rng: torch.Generator | None = None,
        each_alone: bool = False,
    ) -> Tensor:
        """Same shape; `keep_BF` True where a frame exists; `rng` drops values, None drops none.

        `each_alone` reads every item as a batch of one: the place in the batch does not count, and
        convolutions see silence where an item ends. The public code, and training, do neither.
        """
        batch, frames, channels = x_BFD.shape
        if self.batch_index_position:
            positions = sinusoids(1 if each_alone else batch, channels, x_BFD)[:, None]
        else:
            positions = sinusoids(frames, channels, x_BFD)
        x_BFD = dropped(x_BFD + positions, self.dropout, rng)
        for layer in self.layers:
            x_BFD = layer(x_BFD, keep_BF, condition_BD, rng, each_alone)
        out: Tensor = self.final_norm(x_BFD, condition_BD)
        return out


def sinusoids(count: int, channels: int, like: Tensor) -> Tensor:
    """Sine and cosine position codes `[count, channels]`, interleaved (Vaswani et al. 2017)."""
    rates = torch.exp(
        torch.arange(0, channels, 2, device=like.device) * (-math.log(10_000.0) / channels)
    )
    angles = torch.arange(count, device=like.device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).to(like.dtype)


def dropped(x: Tensor, share: float, rng: torch.Generator | None) -> Tensor:
    """`x` with a share of its values set to 0 and the others scaled up; None drops none."""
    if rng is None or share == 0:
        return x
    keep = torch.rand(x.shape, generator=rng, device=x.device) >= share
    return x * keep / (1 - share)


def _norm(channels: int, *, conditional: bool) -> nn.Module:
    return ConditionalLayerNorm(channels, channels) if conditional else PlainLayerNorm(channels)
