"""Factorised residual vector quantisation with usage counts and dead-code restarts.

Shapes: B batch, F frames, D channels, C code channels, K codebooks, V entries.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechkit.core.config import require_range
from speechkit.core.devices import in_float32


@dataclass(frozen=True, kw_only=True)
class QuantizerConfig:
    """Factorised vector quantisation (NS3 §3.2; Yu et al. 2022, improved VQGAN)."""

    codebook_size: int = 1024
    """Entries of each codebook."""

    code_channels: int = 8
    """Width of a code: the information bottleneck."""

    prosody_codebooks: int = 1
    """Codebooks of the prosody part."""

    content_codebooks: int = 2
    """Codebooks of the content part."""

    detail_codebooks: int = 3
    """Codebooks of the detail part."""

    def __post_init__(self) -> None:
        require_range(
            self,
            codebook_size=(2, 65_536),
            code_channels=(1, 1024),
            prosody_codebooks=(1, 16),
            content_codebooks=(1, 16),
            detail_codebooks=(1, 16),
        )

    @property
    def counts(self) -> tuple[int, int, int]:
        """Codebooks of each part: prosody, content, detail."""
        return self.prosody_codebooks, self.content_codebooks, self.detail_codebooks

    @property
    def codebooks(self) -> int:
        """Codebooks in all."""
        return sum(self.counts)


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """What a residual quantiser makes of a sequence."""

    z_BFD: Tensor
    """Sum of the chosen codes, projected back; gradients pass straight through."""

    codes_BKF: Tensor
    """Chosen entries, int64."""

    commitment: Tensor
    """Pull of the encoder towards the chosen entries, a scalar."""

    codebook: Tensor
    """Pull of the chosen entries towards the encoder, a scalar."""


class Codebook(nn.Module):
    """A table of entries between two projections; knows how often each entry was chosen."""

    counts_V: Tensor

    def __init__(
        self, in_channels: int, channels: int, codebook_size: int, code_channels: int
    ) -> None:
        super().__init__()
        self.down = nn.Linear(in_channels, code_channels)
        self.up = nn.Linear(code_channels, channels)
        self.codebook_VC = nn.Parameter(torch.randn(codebook_size, code_channels))
        self.register_buffer("counts_V", torch.zeros(codebook_size, device="cpu"), persistent=False)
        self._recent: Tensor | None = None

    def count(self, codes_BF: Tensor, e_BFC: Tensor) -> None:
        """Remember what was chosen for which projections."""
        codes_N = codes_BF.reshape(-1)
        self.counts_V.index_add_(0, codes_N, torch.ones_like(codes_N, dtype=self.counts_V.dtype))
        self._recent = e_BFC.detach().reshape(-1, e_BFC.shape[-1])

    @torch.no_grad()
    def restart_unused(self, rng: torch.Generator, share: float = 0.1) -> int:
        """Re-seed rarely used entries from the last batch; returns how many.

        An entry is dead when it was drawn less than `share` of its fair part since the last call
        (Dhariwal et al. 2020, "Jukebox", §3.2 random restarts).
        """
        if self._recent is None or self.counts_V.sum() == 0:
            return 0
        fair = self.counts_V.sum() / self.counts_V.numel()
        dead = torch.nonzero(self.counts_V < share * fair)[:, 0]
        picks = torch.randint(len(self._recent), (len(dead),), generator=rng)
        self.codebook_VC[dead] = self._recent[picks.to(self._recent.device)].to(
            self.codebook_VC.dtype
        )
        self.counts_V.zero_()
        return len(dead)


class VectorQuantizer(Codebook):
    """One codebook looked up by cosine in a narrow space (Yu et al. 2022; NS3 §3.2.1)."""

    def embed(self, codes_BF: Tensor) -> Tensor:
        """`z_BFD` of given entries."""
        z: Tensor = self.up(nn.functional.normalize(self.codebook_VC, dim=-1)[codes_BF])
        return z

    def forward(self, x_BFI: Tensor) -> Quantized:
        """The nearest entries of `x_BFI`."""
        with in_float32(x_BFI):
            e_BFC = nn.functional.normalize(self.down(x_BFI.float()), dim=-1)
            codebook_VC = nn.functional.normalize(self.codebook_VC, dim=-1)
            codes_BF = (e_BFC.detach() @ codebook_VC.detach().T).argmax(dim=-1)
            q_BFC = codebook_VC[codes_BF]
            commitment = (e_BFC - q_BFC.detach()).pow(2).sum(-1).mean()
            codebook = (e_BFC.detach() - q_BFC).pow(2).sum(-1).mean()
            if self.training:
                self.count(codes_BF, e_BFC)
            z_BFD = self.up(e_BFC + (q_BFC - e_BFC).detach())
        return Quantized(
            z_BFD=z_BFD, codes_BKF=codes_BF[:, None], commitment=commitment, codebook=codebook
        )


class ResidualVectorQuantizer(nn.Module):
    """Codebooks in sequence, each on what the ones before left over."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        codebooks: int,
        codebook_size: int,
        code_channels: int,
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            VectorQuantizer(in_channels, channels, codebook_size, code_channels)
            for _ in range(codebooks)
        )
        if codebooks > 1 and in_channels != channels:
            raise ValueError("residual levels need equal widths")

    def quantizers(self) -> list[VectorQuantizer]:
        """The levels in order, with their type."""
        return [level for level in self.levels if isinstance(level, VectorQuantizer)]

    @property
    def codebooks(self) -> int:
        """Codebooks."""
        return len(self.levels)

    def forward(self, x_BFI: Tensor) -> Quantized:
        """All levels' codes and their sum."""
        residual = x_BFI
        parts: list[Quantized] = []
        for level in self.levels:
            part = level(residual)
            parts.append(part)
            if len(parts) < self.codebooks:
                residual = residual - part.z_BFD.detach()
        return Quantized(
            z_BFD=torch.stack([part.z_BFD for part in parts]).sum(0),
            codes_BKF=torch.cat([part.codes_BKF for part in parts], dim=1),
            commitment=torch.stack([part.commitment for part in parts]).mean(),
            codebook=torch.stack([part.codebook for part in parts]).mean(),
        )

    def embed(self, codes_BKF: Tensor) -> Tensor:
        """`z_BFD` of given codes."""
        levels = [level.embed(codes_BKF[:, k]) for k, level in enumerate(self.quantizers())]
        return torch.stack(levels).sum(0)


def code_usage(codes_KN: Tensor, codebook_size: int) -> list[dict[str, float]]:
    """For each codebook: share of entries used, and perplexity of their use."""
    report = []
    for codes_N in codes_KN:
        counts = torch.bincount(codes_N.reshape(-1), minlength=codebook_size).double()
        share = counts / counts.sum().clamp_min(1)
        entropy = -(share * share.clamp_min(1e-12).log()).sum()
        report.append(
            {
                "used": float((counts > 0).double().mean()),
                "perplexity": float(entropy.exp()),
                "bits": float(entropy / torch.log(torch.tensor(2.0))),
            }
        )
    return report
