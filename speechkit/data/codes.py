"""Sidecar of a packed corpus: every clip as codes, made by one codec.

`x.codes.safetensors` beside `x.safetensors`: `codes_KS` int16 (all clips end to end),
`offsets_N1` int64; metadata names the codec's weights and the corpus.

Shapes: K codebooks, S frames of all clips, F frames of one clip, N clips.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.files import write_atomically
from speechkit.data.alignment import corpus_hash

FORMAT = "speechkit-codes-1"


def codes_path(corpus: str | Path) -> Path:
    """Where the codes of a packed corpus belong."""
    return Path(corpus).with_suffix(".codes.safetensors")


def write_codes(
    path: str | Path, codes: Iterable[Tensor], clip_ids: list[str], codec_sha256: str
) -> None:
    """Write the codes `[K, F]` of all clips, in order; a clip left out is an empty `[K, 0]`."""
    clips = [clip.to(torch.int16) for clip in codes]
    lengths = torch.tensor([0, *(clip.shape[-1] for clip in clips)])
    tensors = {
        "codes_KS": torch.cat(clips, dim=-1).contiguous(),
        "offsets_N1": torch.cumsum(lengths, 0),
    }
    metadata = {"format": FORMAT, "corpus": corpus_hash(clip_ids), "codec": codec_sha256}
    write_atomically(Path(path), lambda part: save_file(tensors, part, metadata=metadata))


class CorpusCodes:
    """Read access to the codes of a corpus."""

    def __init__(self, path: str | Path, clip_ids: list[str]) -> None:
        """Read the file; raises DataError where it is missing, broken or of another corpus."""
        try:
            with safe_open(str(path), "pt") as stored:
                metadata = stored.metadata() or {}
                self._codes_KS: Tensor = stored.get_tensor("codes_KS")
                self._offsets_N1: Tensor = stored.get_tensor("offsets_N1")
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path} cannot be read as codes ({error}); encode again.") from error
        if metadata.get("format") != FORMAT or metadata.get("corpus") != corpus_hash(clip_ids):
            raise DataError(f"{path} does not belong to this corpus; encode the corpus again.")
        self.codec_sha256 = metadata.get("codec", "")

    def __len__(self) -> int:
        """Number of clips of the corpus, encoded or not."""
        return len(self._offsets_N1) - 1

    def has(self, clip: int) -> bool:
        """True when the clip was encoded."""
        return bool(self._offsets_N1[clip + 1] > self._offsets_N1[clip])

    def codes(self, clip: int) -> Tensor:
        """`codes_KF` int64 of one clip."""
        first, end = int(self._offsets_N1[clip]), int(self._offsets_N1[clip + 1])
        return self._codes_KS[:, first:end].long()
