"""The paper's factorised quantiser: looked up by cosine, but with the length of the entries kept.

Shapes: B batch, F frames, D channels, C code channels, K codebooks, V entries.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from speechkit.core.devices import in_float32
from speechkit.facodec.quantizer import Codebook


@dataclass(frozen=True, kw_only=True)
class PaperQuantized:
    """What a residual quantiser makes of a sequence."""

    z_BDF: Tensor
    """Sum of the chosen codes, projected back; gradients pass straight through."""

    codes_BKF: Tensor
    """Chosen entries, int64."""

    commitment_K: Tensor
    """Mean square by which the projections miss the chosen entries, pulling the projections."""

    codebook_K: Tensor
    """The same number, pulling the entries."""


class PaperVectorQuantizer(Codebook):
    """One codebook (NS3 §3.2.1), projections weight-normalised, entries of any length."""

    def __init__(self, channels: int, codebook_size: int, code_channels: int) -> None:
        super().__init__(channels, channels, codebook_size, code_channels)
        weight_norm(self.down)
        weight_norm(self.up)

    def embed(self, codes_BF: Tensor) -> Tensor:
        """`z_BFD` of given entries."""
        z: Tensor = self.up(self.codebook_VC[codes_BF])
        return z

    def forward(self, x_BFD: Tensor) -> PaperQuantized:
        """The nearest entries of `x_BFD`, of one codebook."""
        with in_float32(x_BFD):
            e_BFC = self.down(x_BFD.float())
            directions_BFC = nn.functional.normalize(e_BFC.detach(), dim=-1)
            codebook_VC = nn.functional.normalize(self.codebook_VC.detach(), dim=-1)
            codes_BF = (directions_BFC @ codebook_VC.T).argmax(dim=-1)
            q_BFC = self.codebook_VC[codes_BF]
            commitment = nn.functional.mse_loss(e_BFC, q_BFC.detach())
            codebook = nn.functional.mse_loss(q_BFC, e_BFC.detach())
            if self.training:
                self.count(codes_BF, e_BFC)
            z_BFD = self.up(e_BFC + (q_BFC - e_BFC).detach())
        return PaperQuantized(
            z_BDF=z_BFD.transpose(1, 2),
            codes_BKF=codes_BF[:, None],
            commitment_K=commitment[None],
            codebook_K=codebook[None],
        )


class PaperResidualQuantizer(nn.Module):
    """Codebooks in sequence, each on what the ones before left over."""

    def __init__(
        self, channels: int, codebooks: int, codebook_size: int, code_channels: int
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            PaperVectorQuantizer(channels, codebook_size, code_channels) for _ in range(codebooks)
        )

    def quantizers(self) -> list[PaperVectorQuantizer]:
        """The levels in order, with their type."""
        return [level for level in self.levels if isinstance(level, PaperVectorQuantizer)]

    def forward(self, x_BDF: Tensor, codebooks: int | None = None) -> PaperQuantized:
        """All levels' codes and their sum, or those of the first `codebooks` levels.

        What is left over keeps its gradient, as in the public code: later levels teach earlier
        ones.
        """
        residual = x_BDF
        parts: list[PaperQuantized] = []
        for level in self.quantizers()[:codebooks]:
            part = level(residual.transpose(1, 2))
            residual = residual - part.z_BDF
            parts.append(part)
        return PaperQuantized(
            z_BDF=torch.stack([part.z_BDF for part in parts]).sum(0),
            codes_BKF=torch.cat([part.codes_BKF for part in parts], dim=1),
            commitment_K=torch.cat([part.commitment_K for part in parts]),
            codebook_K=torch.cat([part.codebook_K for part in parts]),
        )

    def embed(self, codes_BKF: Tensor) -> Tensor:
        """`z_BDF` of given codes."""
        levels = [level.embed(codes_BKF[:, k]) for k, level in enumerate(self.quantizers())]
        return torch.stack(levels).sum(0).transpose(1, 2)
