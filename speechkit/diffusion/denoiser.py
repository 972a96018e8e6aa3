"""The network that guesses masked codes from phones, given codes and a prompt prefix.

Shapes: B batch, L positions (prompt, then target), K code books, D channels, V entries, H heads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechkit.diffusion.config import DenoiserConfig
from speechkit.facodec.convnext import ConvNeXtBlock, Modulation


@dataclass(frozen=True, kw_only=True)
class DenoiserInputs:
    """What the network sees."""

    phones_BL: Tensor
    """Phone id of each position."""

    place_BL2: Tensor
    """Where in its phone a position lies (0 to 1) and the log of the phone's length."""

    codes_BKL: Tensor
    """Codes; `MASK` where hidden, `NULL_CODE` where a book is not known yet."""

    book_B: Tensor
    """The book being filled."""

    time_B: Tensor
    """Diffusion time, 1 all masked to 0."""

    prompt_BL: Tensor
    """True at prompt positions."""

    keep_BL: Tensor
    """True at real positions; padding, separators and dropped prompts are False."""


MASK, NULL_CODE = -1, -2
"""Stand-ins for a code in `DenoiserInputs.codes_BKL`."""


def rotate(x_BHLD: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021)."""
    length, channels = x_BHLD.shape[-2:]
    device = x_BHLD.device
    rates = 10_000.0 ** (-torch.arange(0, channels, 2, device=device) / channels)
    angles = torch.arange(length, device=device)[:, None] * rates
    cos, sin = angles.cos().to(x_BHLD.dtype), angles.sin().to(x_BHLD.dtype)
    a, b = x_BHLD.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class SelfAttention(nn.Module):
    """Bidirectional self-attention over kept positions, modulated like the other blocks."""

    def __init__(self, channels: int, heads: int, condition_channels: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.modulation = Modulation(channels, condition_channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.layer_scale = nn.Parameter(torch.full((channels,), 0.1))

    def forward(self, x_BLD: Tensor, condition_BC: Tensor, keep_BL: Tensor) -> Tensor:
        """`x_BLD` with what it attended to added."""
        scale, shift, gate = self.modulation(condition_BC)
        h = self.norm(x_BLD) * scale + shift
        q, k, v = self.qkv(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # Written out: on CPUs the fused kernel's backward pass takes longer than all else together.
        scores_BHLL = rotate(q) @ rotate(k).transpose(-1, -2) / math.sqrt(q.shape[-1])
        scores_BHLL = scores_BHLL.masked_fill(~keep_BL[:, None, None, :], -1e4)
        mixed = torch.softmax(scores_BHLL, dim=-1).to(v.dtype) @ v
        attended: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        mixed_BLD: Tensor = x_BLD + attended * self.layer_scale * gate
        return mixed_BLD


class Denoiser(nn.Module):
    """Embeds, mixes and reads out; one instance for durations, one for frames."""

    def __init__(self, config: DenoiserConfig, phones: int) -> None:
        super().__init__()
        self.config = config
        width = config.channels
        self.phone = nn.Embedding(phones, width)
        self.place = nn.Linear(2, width)
        # Row V of each table is the mask; absent books add nothing.
        self.code = nn.ModuleList(
            nn.Embedding(config.codebook_size + 1, width) for _ in range(config.codebooks)
        )
        self.book = nn.Embedding(config.codebooks, width)
        self.segment = nn.Embedding(2, width)
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.summary = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(
                width,
                kernel=config.kernel,
                expansion=config.expansion,
                condition_channels=width,
                layer_scale=0.2,
            )
            for _ in range(config.blocks)
        )
        self.attention = nn.ModuleList(
            SelfAttention(width, config.heads, width) for _ in range(config.blocks // 2)
        )
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleList(
            nn.Linear(width, config.codebook_size) for _ in range(config.codebooks)
        )

    @torch.no_grad()
    def adopt_books(self, books_KVC: Tensor, rng: torch.Generator) -> None:
        """Start embeddings and read-outs from the codec's code books.

        Entries that sound alike start alike, so the network need not learn it from rare codes.
        """
        for k, codebook_VC in enumerate(nn.functional.normalize(books_KVC, dim=-1)):
            width = self.config.channels
            spread = torch.randn(codebook_VC.shape[-1], width, generator=rng)
            table = codebook_VC @ spread
            self.code.get_parameter(f"{k}.weight")[:-1] = table
            self.heads.get_parameter(f"{k}.weight").copy_(table / math.sqrt(width))

    def forward(self, inputs: DenoiserInputs) -> Tensor:
        """Hidden states `h_BLD`."""
        keep_BL1 = inputs.keep_BL[..., None].float()
        embedded = self.phone(inputs.phones_BL) + self.place(inputs.place_BL2)
        for k, table in enumerate(self.code):
            codes_BL = inputs.codes_BKL[:, k]
            index = torch.where(codes_BL < 0, self.config.codebook_size, codes_BL)
            embedded = embedded + table(index) * (codes_BL != NULL_CODE)[..., None]
        embedded = embedded + self.segment(inputs.prompt_BL.long())
        prompt_BL1 = (inputs.prompt_BL & inputs.keep_BL)[..., None].float()
        pooled = (embedded * prompt_BL1).sum(1) / prompt_BL1.sum(1).clamp_min(1)
        condition = (
            self.time(_waves(inputs.time_B)) + self.book(inputs.book_B) + self.summary(pooled)
        )
        h = (embedded + self.book(inputs.book_B)[:, None]) * keep_BL1
        for number, block in enumerate(self.blocks):
            h = block(h, condition, keep_BL1)
            if number % 2 == 1:
                h = self.attention[number // 2](h, condition, inputs.keep_BL)
        hidden: Tensor = self.norm(h)
        return hidden

    def logits(self, hidden_BLD: Tensor, book: int) -> Tensor:
        """Logits `[B, L, V]` of one book."""
        logits: Tensor = self.heads[book](hidden_BLD)
        return logits.float()


def _waves(time_B: Tensor) -> Tensor:
    """Sines and cosines of the diffusion time, [B, 64]."""
    rates = torch.exp(torch.arange(32, device=time_B.device) * (-math.log(1000.0) / 32)) * 1000.0
    angles = time_B[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
