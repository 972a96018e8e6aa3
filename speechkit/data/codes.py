"""The sidecar of codes: every clip as codes with its timbre and the phones read off it.

`00000.codes.safetensors` holds `codes_KS` int16 (all clips end to end), `phones_S` int16 (the phone
that a recogniser heard in each frame), `timbre_ND` float32 and `offsets_N1` int64 (an empty range
for a clip that was left out); metadata names the codec's weights.

Shapes: K codebooks, S frames of all clips, F frames of one clip, N clips, D timbre channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.data.packed import PackedCorpus
from speechkit.data.shard import Shard
from speechkit.data.sidecar import Kind, Sidecars, write_sidecar

CODES = Kind(
    name="codes",
    format="speechkit-codes-3",
    dtypes={
        "codes_KS": (torch.int16, 2),
        "phones_S": (torch.int16, 1),
        "timbre_ND": (torch.float32, 2),
        "offsets_N1": (torch.int64, 1),
    },
    verb="encode",
)


REDRAWN = replace(CODES, name="redrawn", verb="train redraw")
"""Codes that a generator drew for clips, see `diffusion.redraw`; the others are left out."""


@dataclass(frozen=True, kw_only=True)
class ClipCodes:
    """One clip as a codec encodes it."""

    codes_KF: Tensor
    """Codes of all codebooks."""

    phone_F: Tensor
    """Phone id of each frame as recognised from the codes; pauses are word boundaries."""

    timbre_D: Tensor
    """Timbre vector."""

    @property
    def frames(self) -> int:
        """Frames F."""
        return int(self.codes_KF.shape[-1])


def empty_codes(codebooks: int, timbre_channels: int) -> ClipCodes:
    """What stands for a clip that was left out."""
    return ClipCodes(
        codes_KF=torch.zeros(codebooks, 0, dtype=torch.long),
        phone_F=torch.zeros(0, dtype=torch.long),
        timbre_D=torch.zeros(timbre_channels),
    )


def write_codes(
    shard: Shard,
    clips: Iterable[ClipCodes],
    codec_sha256: str,
    made_by: Any = None,
    kind: Kind = CODES,
) -> None:
    """Write all clips of a shard, in order; a clip left out is an `empty_codes`.

    `made_by` says what the codes follow from. Raises DataError for another number of clips.
    """
    items = list(clips)
    if len(items) != len(shard):
        raise DataError(f"{len(items)} clips were encoded of the {len(shard)} in '{shard.path}'.")
    lengths = torch.tensor([0, *(clip.frames for clip in items)])
    tensors = {
        "codes_KS": torch.cat([clip.codes_KF.to(torch.int16) for clip in items], dim=-1)
        if items
        else torch.zeros(0, 0, dtype=torch.int16),
        "phones_S": torch.cat(
            [torch.zeros(0, dtype=torch.int16), *(clip.phone_F.to(torch.int16) for clip in items)]
        ),
        "timbre_ND": torch.stack([clip.timbre_D.float() for clip in items])
        if items
        else torch.zeros(0, 0),
        "offsets_N1": torch.cumsum(lengths, 0),
    }
    metadata = {"codec": codec_sha256, "made_by": made_by}
    write_sidecar(shard.sidecar(kind.name), kind, shard, tensors, metadata)


class CorpusCodes(Sidecars):
    """Read access to the codes of a corpus."""

    kind = CODES

    def __init__(self, corpus: PackedCorpus) -> None:
        """Open all shards' files.

        Raises DataError where one is missing, damaged, of other clips or made by another codec.
        """
        super().__init__(corpus)
        self.codec_sha256 = str(self._common("codec") or "")

    @property
    def codebooks(self) -> int:
        """Codebooks K; 0 where no clip has codes."""
        return max((len(part.tensors["codes_KS"]) for part in self.parts), default=0)

    def frames(self, clip: int) -> int:
        """Frames of one clip."""
        _, first, end = self._span(clip)
        return end - first

    def clip(self, clip: int) -> ClipCodes:
        """One clip, codes and phones as int64."""
        part, first, end = self._span(clip)
        return ClipCodes(
            codes_KF=part.tensors["codes_KS"][:, first:end].long(),
            phone_F=part.tensors["phones_S"][first:end].long(),
            timbre_D=part.tensors["timbre_ND"][self._row(clip)[1]],
        )


class RedrawnCodes(CorpusCodes):
    """Read access to codes that a generator drew."""

    kind = REDRAWN
