"""Sidecar of a packed corpus: every clip as codes with its timbre and the phones read off it.

`x.codes.safetensors` beside `x.safetensors`: `codes_KS` int16 (all clips end to end), `phones_S`
int16 (the phone that a recogniser heard in each frame), `timbre_ND` float32, `offsets_N1` int64;
metadata names the codec's weights and the corpus.

Shapes: K codebooks, S frames of all clips, F frames of one clip, N clips, D timbre channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.files import write_atomically
from speechkit.data.alignment import corpus_hash

FORMAT = "speechkit-codes-2"


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


def codes_path(corpus: str | Path) -> Path:
    """Where the codes of a packed corpus belong."""
    return Path(corpus).with_suffix(".codes.safetensors")


def redrawn_path(corpus: str | Path) -> Path:
    """Where codes that a generator drew for clips of a packed corpus belong."""
    return Path(corpus).with_suffix(".redrawn.safetensors")


def empty_codes(codebooks: int, timbre_channels: int) -> ClipCodes:
    """What stands for a clip that was left out."""
    return ClipCodes(
        codes_KF=torch.zeros(codebooks, 0, dtype=torch.long),
        phone_F=torch.zeros(0, dtype=torch.long),
        timbre_D=torch.zeros(timbre_channels),
    )


def write_codes(
    path: str | Path, clips: Iterable[ClipCodes], clip_ids: list[str], codec_sha256: str
) -> None:
    """Write all clips, in order; a clip left out is an `empty_codes`."""
    items = list(clips)
    lengths = torch.tensor([0, *(clip.frames for clip in items)])
    tensors = {
        "codes_KS": torch.cat([clip.codes_KF.to(torch.int16) for clip in items], dim=-1),
        "phones_S": torch.cat([clip.phone_F.to(torch.int16) for clip in items]),
        "timbre_ND": torch.stack([clip.timbre_D.float() for clip in items]),
        "offsets_N1": torch.cumsum(lengths, 0),
    }
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    metadata = {"format": FORMAT, "corpus": corpus_hash(clip_ids), "codec": codec_sha256}
    write_atomically(Path(path), lambda part: save_file(tensors, part, metadata=metadata))


class CorpusCodes:
    """Read access to the codes of a corpus."""

    def __init__(self, path: str | Path, clip_ids: list[str]) -> None:
        """Read the file; raises DataError where it is missing, broken or of another corpus."""
        try:
            with safe_open(str(path), "pt") as stored:
                metadata = stored.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise DataError(
                        f"{path} is no file of codes of this version; encode the corpus again."
                    )
                self._codes_KS: Tensor = stored.get_tensor("codes_KS")
                self._phones_S: Tensor = stored.get_tensor("phones_S")
                self._timbre_ND: Tensor = stored.get_tensor("timbre_ND")
                self._offsets_N1: Tensor = stored.get_tensor("offsets_N1")
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path} cannot be read as codes ({error}); encode again.") from error
        if metadata.get("corpus") != corpus_hash(clip_ids):
            raise DataError(f"{path} does not belong to this corpus; encode the corpus again.")
        self.codec_sha256 = metadata.get("codec", "")

    @property
    def codebooks(self) -> int:
        """Codebooks K."""
        return len(self._codes_KS)

    def __len__(self) -> int:
        """Number of clips of the corpus, encoded or not."""
        return len(self._offsets_N1) - 1

    def has(self, clip: int) -> bool:
        """True when the clip was encoded."""
        return bool(self._offsets_N1[clip + 1] > self._offsets_N1[clip])

    def frames(self, clip: int) -> int:
        """Frames of one clip."""
        return int(self._offsets_N1[clip + 1] - self._offsets_N1[clip])

    def clip(self, clip: int) -> ClipCodes:
        """One clip, codes and phones as int64."""
        first, end = int(self._offsets_N1[clip]), int(self._offsets_N1[clip + 1])
        return ClipCodes(
            codes_KF=self._codes_KS[:, first:end].long(),
            phone_F=self._phones_S[first:end].long(),
            timbre_D=self._timbre_ND[clip],
        )
