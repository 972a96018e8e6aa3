"""The alignment sidecar: phones and their durations, clip by clip.

`00000.alignment.safetensors` holds `phones_P` int16 (ids in the stored vocabulary), `frames_P`
int16 (durations at 50 Hz; boundary symbols may have 0), `offsets_N1` int64 (an empty range where a
clip has no alignment) and `score_N` float32 (mean log posterior a frame; NaN where there is none).

Shapes: N clips, P phones.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.data.packed import PackedCorpus
from speechkit.data.shard import Shard
from speechkit.data.sidecar import Kind, Sidecars, broken, write_sidecar

ALIGNMENT = Kind(
    name="alignment",
    format="speechkit-alignment-2",
    dtypes={
        "phones_P": (torch.int16, 1),
        "frames_P": (torch.int16, 1),
        "offsets_N1": (torch.int64, 1),
        "score_N": (torch.float32, 1),
    },
    verb="align",
)


@dataclass(frozen=True)
class ClipAlignment:
    """Phones of one clip and how long each lasts."""

    ids_P: Tensor
    """Phone ids, integers."""

    frames_P: Tensor
    """Duration of each phone in 20 ms frames, integers; the sum is the clip's length."""

    score: float
    """Mean log posterior a frame along the path; near 0 is good."""


def write_alignment(
    shard: Shard,
    symbols: Sequence[str],
    clips: Mapping[int, ClipAlignment],
    *,
    skipped: Mapping[str, int] | None = None,
    made_by: Any = None,
) -> None:
    """Write a shard's sidecar; `clips` maps places in the shard to alignments, others stay empty.

    `skipped` counts by reason what was left out; `made_by` says what the alignment follows from.
    Raises DataError for durations that are negative or not one for each phone.
    """
    offsets = [0]
    for index in range(len(shard)):
        found = clips.get(index)
        if found is not None and found.ids_P.shape != found.frames_P.shape:
            raise DataError(f"Clip {shard.info(index)['id']} needs one duration for each phone.")
        if found is not None and bool((found.frames_P < 0).any()):
            raise DataError(f"Clip {shard.info(index)['id']} has a negative duration.")
        offsets.append(offsets[-1] + (0 if found is None else len(found.ids_P)))
    order = sorted(clips)
    empty = torch.zeros(0, dtype=torch.int16)
    score_N = torch.full((len(shard),), float("nan"))
    for index in order:
        score_N[index] = clips[index].score
    tensors = {
        "phones_P": torch.cat([empty, *(clips[index].ids_P.to(torch.int16) for index in order)]),
        "frames_P": torch.cat([empty, *(clips[index].frames_P.to(torch.int16) for index in order)]),
        "offsets_N1": torch.tensor(offsets),
        "score_N": score_N,
    }
    metadata = {"symbols": list(symbols), "skipped": dict(skipped or {}), "made_by": made_by}
    write_sidecar(shard.sidecar(ALIGNMENT.name), ALIGNMENT, shard, tensors, metadata)


class Alignment(Sidecars):
    """Read access to the alignment of a corpus."""

    kind = ALIGNMENT

    def __init__(self, corpus: PackedCorpus) -> None:
        """Open all shards' files.

        Raises DataError where one is missing, damaged, of other clips or has other phones.
        """
        super().__init__(corpus)
        symbols = self._common("symbols")
        if not isinstance(symbols, list):
            raise broken(self._path(corpus.shards[0]), ALIGNMENT, "it has no phones")
        self.symbols: tuple[str, ...] = tuple(map(str, symbols))
        self.skipped: Counter[str] = Counter()
        """How many clips were left out, by reason."""
        for part in self.parts:
            self.skipped.update(json.loads(part.metadata.get("skipped", "{}")))

    def require_symbols(self, symbols: Sequence[str]) -> None:
        """Raise DataError unless its phone ids stand for these symbols, those of a model."""
        if tuple(symbols) != self.symbols:
            raise DataError(
                f"The alignment of {self.corpus} has other phones than the model; align the "
                "corpus again with an aligner that was trained with the same phones."
            )

    @property
    def sha256(self) -> str:
        """Hash of all phones and durations: two alignments that agree have the same."""
        digest = hashlib.sha256(json.dumps(self.symbols).encode())
        for part in self.parts:
            for name in ("phones_P", "frames_P", "offsets_N1"):
                digest.update(part.tensors[name].numpy().tobytes())
        return digest.hexdigest()

    def phones(self, clip: int) -> Tensor:
        """Phone ids `[P]` of a clip, int64; empty without an alignment.

        Raises DataError where one lies outside the vocabulary.
        """
        ids_P = self._cut("phones_P", clip)
        if len(ids_P) and not 0 <= int(ids_P.min()) <= int(ids_P.max()) < len(self.symbols):
            path = self._path(self.corpus.shards[self.corpus.place(clip)[0]])
            raise broken(path, ALIGNMENT, "a phone id lies outside its vocabulary")
        return ids_P

    def frames(self, clip: int) -> Tensor:
        """Durations `[P]` of a clip in 20 ms frames, int64; the sum is ceil(samples / 320)."""
        return self._cut("frames_P", clip)

    def _cut(self, name: str, clip: int) -> Tensor:
        part, first, end = self._span(clip)
        cut_P: Tensor = part.tensors[name][first:end].long()
        return cut_P

    def score(self, clip: int) -> float:
        """Mean log posterior a frame; NaN without an alignment."""
        part, row = self._row(clip)
        return float(part.tensors["score_N"][row])
