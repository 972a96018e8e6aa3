"""The alignment sidecar of a packed corpus: phones and their durations, clip by clip.

`corpus.alignment.safetensors` stands beside `corpus.safetensors` and holds `phones_P` int16
(ids in the stored vocabulary), `frames_P` int16 (durations at 50 Hz; boundary symbols may
have 0), `offsets_N1` int64 (an empty range where a clip has no alignment) and `score_N`
float32 (mean log posterior a frame; NaN where there is none).

Shapes: N clips, P phones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.files import write_atomically

ALIGNMENT_FORMAT = "speechkit-alignment-1"
_DTYPES = {
    "phones_P": torch.int16,
    "frames_P": torch.int16,
    "offsets_N1": torch.int64,
    "score_N": torch.float32,
}


@dataclass(frozen=True)
class ClipAlignment:
    """Phones of one clip and how long each lasts."""

    ids_P: Tensor
    """Phone ids, integers."""

    frames_P: Tensor
    """Duration of each phone in 20 ms frames, integers; the sum is the clip's length."""

    score: float
    """Mean log posterior a frame along the path; near 0 is good."""


def sidecar_path(corpus: str | Path) -> Path:
    """Where the alignment of a packed corpus belongs: `x.alignment.safetensors` for `x.…`."""
    return Path(corpus).with_suffix(".alignment.safetensors")


def corpus_hash(clip_ids: Sequence[str]) -> str:
    """SHA-256 of the clip ids in order, which ties a sidecar to its corpus."""
    return hashlib.sha256("\n".join(clip_ids).encode()).hexdigest()


def write_alignment(
    path: str | Path,
    symbols: Sequence[str],
    clip_ids: Sequence[str],
    clips: Mapping[int, ClipAlignment],
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write a sidecar atomically; `clips` maps clip indices to alignments, others stay empty.

    `notes` are stored as JSON (which aligner, what was skipped). Raises DataError for
    durations that are negative or not one for each phone.
    """
    offsets = [0]
    for index in range(len(clip_ids)):
        found = clips.get(index)
        if found is not None and found.ids_P.shape != found.frames_P.shape:
            raise DataError(f"Clip {clip_ids[index]} needs one duration for each phone.")
        if found is not None and bool((found.frames_P < 0).any()):
            raise DataError(f"Clip {clip_ids[index]} has a negative duration.")
        offsets.append(offsets[-1] + (0 if found is None else len(found.ids_P)))
    order = sorted(clips)
    empty = torch.zeros(0, dtype=torch.int16)
    score_N = torch.full((len(clip_ids),), float("nan"))
    for index in order:
        score_N[index] = clips[index].score
    tensors = {
        "phones_P": torch.cat([empty, *(clips[index].ids_P.to(torch.int16) for index in order)]),
        "frames_P": torch.cat([empty, *(clips[index].frames_P.to(torch.int16) for index in order)]),
        "offsets_N1": torch.tensor(offsets),
        "score_N": score_N,
    }
    metadata = {
        "format": ALIGNMENT_FORMAT,
        "symbols": json.dumps(list(symbols)),
        "corpus_sha": corpus_hash(clip_ids),
        "notes": json.dumps(dict(notes or {})),
    }
    write_atomically(path, lambda place: save_file(tensors, str(place), metadata))


class Alignment:
    """Read access to a sidecar."""

    def __init__(self, path: str | Path, clip_ids: Sequence[str] | None = None) -> None:
        """Read the file; raises DataError where it is missing, damaged or of another corpus.

        `clip_ids` are those of the corpus it must belong to; None skips that check.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise DataError(f"There is no alignment at '{path}'; make one with `speechkit align`.")
        try:
            with safe_open(str(self.path), framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in _DTYPES}
            symbols = json.loads(metadata.get("symbols", "null"))
            self.notes: dict[str, Any] = json.loads(metadata.get("notes", "{}"))
        except (SafetensorError, OSError, ValueError) as error:
            raise self._broken(str(error)) from error
        if metadata.get("format") != ALIGNMENT_FORMAT or not isinstance(symbols, list):
            raise self._broken(f"its format is not {ALIGNMENT_FORMAT}")
        self.symbols: tuple[str, ...] = tuple(symbols)
        self._phones_P = tensors["phones_P"]
        self._frames_P = tensors["frames_P"]
        self._offsets_N1 = tensors["offsets_N1"]
        self._score_N = tensors["score_N"]
        self._check(tensors)
        if clip_ids is not None and metadata.get("corpus_sha") != corpus_hash(clip_ids):
            raise DataError(f"'{path}' was made for another corpus; run `speechkit align` again.")

    def _broken(self, why: str) -> DataError:
        return DataError(f"'{self.path}' is no usable alignment: {why}. Run `speechkit align`.")

    def _check(self, tensors: Mapping[str, Tensor]) -> None:
        for name, dtype in _DTYPES.items():
            if tensors[name].dtype != dtype or tensors[name].ndim != 1:
                raise self._broken(f"{name} is not a row of {dtype}")
        offsets = self._offsets_N1
        if (
            len(offsets) != len(self._score_N) + 1
            or len(self._phones_P) != len(self._frames_P)
            or int(offsets[0]) != 0
            or int(offsets[-1]) != len(self._phones_P)
            or bool((offsets.diff() < 0).any())
        ):
            raise self._broken("its tables disagree")
        ids = self._phones_P
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(self.symbols):
            raise self._broken("a phone id lies outside its vocabulary")

    def require_symbols(self, symbols: Sequence[str]) -> None:
        """Raise DataError unless its phone ids stand for these symbols, those of a model."""
        if tuple(symbols) != self.symbols:
            raise DataError(
                f"'{self.path}' has other phones than the model; align the corpus again with an "
                "aligner that was trained with the same phones."
            )

    @property
    def sha256(self) -> str:
        """Hash of all phones and durations: two alignments that agree have the same."""
        digest = hashlib.sha256(json.dumps(self.symbols).encode())
        for tensor in (self._phones_P, self._frames_P, self._offsets_N1):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        """Number of clips of the corpus, aligned or not."""
        return len(self._score_N)

    def has(self, clip: int) -> bool:
        """True when the clip has an alignment."""
        return bool(self._offsets_N1[clip + 1] > self._offsets_N1[clip])

    def phones(self, clip: int) -> Tensor:
        """Phone ids `[P]` of a clip, int64; empty without an alignment."""
        return self._cut(self._phones_P, clip)

    def frames(self, clip: int) -> Tensor:
        """Durations `[P]` of a clip in 20 ms frames, int64; the sum is ceil(samples / 320)."""
        return self._cut(self._frames_P, clip)

    def _cut(self, values_P: Tensor, clip: int) -> Tensor:
        first, end = self._offsets_N1[clip : clip + 2].tolist()
        cut_P: Tensor = values_P[first:end].long()
        return cut_P

    def score(self, clip: int) -> float:
        """Mean log posterior a frame; NaN without an alignment."""
        return float(self._score_N[clip])
