"""The network that predicts masked codes from phones, known codes and a prompt prefix.

Frames are joined to patches for the trunk; behind it each frame reads all codebooks of a stage,
later ones given earlier ones (after NS3 §3.3 and MaskGIT; the light per-frame predictor is that of
Kyutai's Moshi and of RQ-Transformer, Lee et al. 2022, without their second transformer).

Shapes: B batch, L frames (prompt, separator, target), Q trunk positions, K codebooks, D channels,
E frame channels, V entries, M frames that are asked about, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechkit.diffusion.config import DenoiserConfig
from speechkit.facodec.convnext import ConvNeXtBlock, Modulation

MASK, NULL_CODE = -1, -2
"""Stand-ins for a code in `DenoiserInputs.codes_BKL`: masked; of a codebook not generated yet."""


@dataclass(frozen=True, kw_only=True)
class DenoiserInputs:
    """What the network is given."""

    phones_BL: Tensor
    """Phone id of each frame."""

    position_BL2: Tensor
    """Where in its phone a frame lies (0 to 1) and the log of the phone's length."""

    codes_BKL: Tensor
    """Codes; `MASK` where masked, `NULL_CODE` where a codebook is not known yet."""

    stage_B: Tensor
    """Number of the stage being filled."""

    time_B: Tensor
    """Diffusion time, 1 all masked to 0."""

    prompt_BL: Tensor
    """True at prompt frames."""

    keep_BL: Tensor
    """True at real frames; padding, separators and dropped prompts are False."""

    timbre_BD: Tensor | None = None
    """Timbre vectors, zeros where a stage is not told; None for a network that takes none."""


def rotate(x_BHQD: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021)."""
    length, channels = x_BHQD.shape[-2:]
    device = x_BHQD.device
    rates = 10_000.0 ** (-torch.arange(0, channels, 2, device=device) / channels)
    angles = torch.arange(length, device=device)[:, None] * rates
    cos, sin = angles.cos().to(x_BHQD.dtype), angles.sin().to(x_BHQD.dtype)
    a, b = x_BHQD.chunk(2, dim=-1)
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

    def forward(self, x_BQD: Tensor, condition_BC: Tensor, keep_BQ: Tensor) -> Tensor:
        """`x_BQD` with what it attended to added."""
        scale, shift, gate = self.modulation(condition_BC)
        h = self.norm(x_BQD) * scale + shift
        size, length = h.shape[:2]
        # Not `unflatten`, which torch's ONNX exporter writes for the length of its example alone.
        qk, v = self.qkv(h).reshape(size, length, 3, self.heads, -1).split([2, 1], dim=2)
        q, k = rotate(qk.permute(2, 0, 3, 1, 4)).unbind(0)
        v = v[:, :, 0].transpose(1, 2)
        if q.is_cuda or not torch.is_grad_enabled():
            mixed = nn.functional.scaled_dot_product_attention(
                q, k, v, attn_mask=keep_BQ[:, None, None, :]
            )
        else:
            # Written out: on CPUs the fused kernel's backward pass takes longer than all else.
            scores_BHQQ = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
            scores_BHQQ = scores_BHQQ.masked_fill(~keep_BQ[:, None, None, :], -1e4)
            mixed = torch.softmax(scores_BHQQ, dim=-1).to(v.dtype) @ v
        attended: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        mixed_BQD: Tensor = x_BQD + attended * self.layer_scale * gate
        return mixed_BQD


class CodePredictor(nn.Module):
    """Logits of one codebook from a frame's hidden state and its earlier codes of the stage."""

    def __init__(self, channels: int, codebook_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.up = nn.Linear(channels, 2 * channels)
        self.down = nn.Linear(2 * channels, channels)
        self.out = nn.Linear(channels, codebook_size)

    def forward(self, h_ME: Tensor, earlier_ME: Tensor | None) -> Tensor:
        """`logits_MV` in float32."""
        h = h_ME if earlier_ME is None else h_ME + earlier_ME
        h = h + self.down(nn.functional.gelu(self.up(self.norm(h))))
        logits: Tensor = self.out(h)
        return logits.float()


class Denoiser(nn.Module):
    """Embeds, mixes and predicts; one instance for durations, one for frames."""

    def __init__(self, config: DenoiserConfig, phones: int) -> None:
        super().__init__()
        self.config = config
        width, frame = config.channels, config.frame_channels
        self.phone = nn.Embedding(phones, frame)
        self.position = nn.Linear(2, frame)
        # Row V of each table is the mask; codebooks not known yet add nothing.
        self.code = nn.ModuleList(
            nn.Embedding(config.codebook_size + 1, frame) for _ in range(config.codebooks)
        )
        self.segment = nn.Embedding(2, frame)
        self.into = nn.Linear(config.patch * frame, width)
        self.stage = nn.Embedding(config.stages, width)
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.summary = nn.Sequential(nn.Linear(frame, width), nn.SiLU(), nn.Linear(width, width))
        self.timbre = (
            nn.Sequential(
                nn.Linear(config.timbre_channels, width), nn.SiLU(), nn.Linear(width, width)
            )
            if config.timbre_channels
            else None
        )
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
        self.back = nn.Linear(width, config.patch * frame)
        self.predictors = nn.ModuleList(
            CodePredictor(frame, config.codebook_size) for _ in range(config.codebooks)
        )

    @torch.no_grad()
    def adopt_codebooks(self, codebooks: Sequence[Tensor], rng: torch.Generator) -> None:
        """Start embeddings and predictors from the entries `[V, C]` of the codec's codebooks.

        Entries that sound alike start alike, so the network need not learn it from rare codes.
        """
        for k, entries_VC in enumerate(codebooks):
            codebook_VC = nn.functional.normalize(entries_VC.float().cpu(), dim=-1)
            width = self.config.frame_channels
            spread = torch.randn(codebook_VC.shape[-1], width, generator=rng)
            table = codebook_VC @ spread
            self.code.get_parameter(f"{k}.weight")[:-1] = table
            self.predictors.get_parameter(f"{k}.out.weight").copy_(table / math.sqrt(width))

    def forward(self, inputs: DenoiserInputs) -> Tensor:
        """Hidden states of all frames `h_BLE`, which `logits` reads."""
        keep_BL1 = inputs.keep_BL[..., None].float()
        frames_BLE = self.phone(inputs.phones_BL) + self.position(inputs.position_BL2)
        for k, table in enumerate(self.code):
            codes_BL = inputs.codes_BKL[:, k]
            index = torch.where(codes_BL < 0, self.config.codebook_size, codes_BL)
            frames_BLE = frames_BLE + table(index) * (codes_BL != NULL_CODE)[..., None]
        frames_BLE = (frames_BLE + self.segment(inputs.prompt_BL.long())) * keep_BL1
        prompt_BL1 = (inputs.prompt_BL & inputs.keep_BL)[..., None].float()
        pooled = (frames_BLE * prompt_BL1).sum(1) / prompt_BL1.sum(1).clamp_min(1)
        condition = (
            self.time(_waves(inputs.time_B)) + self.stage(inputs.stage_B) + self.summary(pooled)
        )
        if self.timbre is not None and inputs.timbre_BD is not None:
            timbre_BD = inputs.timbre_BD[:, -self.config.timbre_channels :]
            told_B1 = (timbre_BD != 0).any(-1, keepdim=True)
            condition = condition + self.timbre(timbre_BD) * told_B1
        patch, (size, length) = self.config.patch, frames_BLE.shape[:2]
        extra = -length % patch
        patches = nn.functional.pad(frames_BLE, (0, 0, 0, extra)).reshape(
            size, -1, patch * frames_BLE.shape[-1]
        )
        keep_BQ = nn.functional.pad(inputs.keep_BL, (0, extra)).reshape(size, -1, patch).any(-1)
        keep_BQ1 = keep_BQ[..., None].float()
        h = self.into(patches)
        h = (h + self.stage(inputs.stage_B)[:, None]) * keep_BQ1
        for number, block in enumerate(self.blocks):
            h = block(h, condition, keep_BQ1)
            if number % 2 == 1:
                h = self.attention[number // 2](h, condition, keep_BQ)
        # Not a slice, whose length torch.compile cannot tell from that of the frames.
        back = self.back(self.norm(h)).reshape(size, length + extra, -1).narrow(1, 0, length)
        hidden: Tensor = back + frames_BLE
        return hidden

    def logits(self, hidden_ME: Tensor, codes_KM: Tensor, codebook: int, first: int) -> Tensor:
        """`logits_MV` of a codebook of the stage whose first codebook is `first`.

        `codes_KM` has the codes of all codebooks; those from `first` to before `codebook` are
        looked at.
        """
        earlier = None
        for k in range(first, codebook):
            table_ME = self.code[k](codes_KM[k])
            earlier = table_ME if earlier is None else earlier + table_ME
        logits: Tensor = self.predictors[codebook](hidden_ME, earlier)
        return logits


def _waves(time_B: Tensor) -> Tensor:
    """Sines and cosines of the diffusion time, [B, 64]."""
    rates = torch.exp(torch.arange(32, device=time_B.device) * (-math.log(1000.0) / 32)) * 1000.0
    angles = time_B[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
