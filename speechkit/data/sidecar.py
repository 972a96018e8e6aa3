"""Sidecars: what is known of the clips of a shard beyond the shard, in a file beside it.

`00000.alignment.safetensors` beside `00000.safetensors`. Tensors are rows of all clips end to end
with `offsets_N1` int64, or one row a clip. Metadata: `format`; `corpus`, the shard's hash of its
clip ids; `made_by`, JSON of what the content follows from: a file that says the same as a new run
would is not made again.

Shapes: N clips of a shard.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.files import write_bytes
from speechkit.data.packed import PackedCorpus
from speechkit.data.shard import Shard


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of sidecar."""

    name: str
    """What stands in file names."""
    format: str
    """What its metadata must say."""
    dtypes: Mapping[str, tuple[torch.dtype, int]]
    """Type and dimensions of each tensor."""
    verb: str
    """What makes it: `speechkit VERB`."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """The sidecar of one shard; its tensors are views of a memory map."""

    metadata: Mapping[str, str]
    tensors: Mapping[str, Tensor]


def write_sidecar(
    path: Path, kind: Kind, shard: Shard, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write a sidecar of a shard, whole or not at all; the same content gives the same bytes."""
    about = {name: json.dumps(value, sort_keys=True) for name, value in metadata.items()}
    about |= {"format": kind.format, "corpus": shard.ids_sha256}
    data = save({name: tensor.contiguous() for name, tensor in tensors.items()}, about)
    # safetensors writes metadata in an order that changes from run to run.
    length = int.from_bytes(data[:8], "little")
    text = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    write_bytes(path, len(text).to_bytes(8, "little") + text + data[8 + length :])


def is_made(path: Path, kind: Kind, shard: Shard, made_by: Any) -> bool:
    """Whether a sidecar is there, of these clips, made as it would be made now."""
    try:
        with safe_open(str(path), "pt") as stored:
            metadata = stored.metadata() or {}
    except (OSError, SafetensorError):
        return False
    return (
        metadata.get("format") == kind.format
        and metadata.get("corpus") == shard.ids_sha256
        and metadata.get("made_by") == json.dumps(made_by, sort_keys=True)
    )


def read_sidecar(path: Path, kind: Kind, shard: Shard, clips: int) -> Part:
    """The sidecar of a shard of so many clips.

    Raises DataError where it is missing, damaged or of other clips.
    """
    if not path.is_file():
        raise DataError(f"There is no {kind.name} at '{path}'; run `speechkit {kind.verb}`.")
    try:
        with safe_open(str(path), "pt") as stored:
            metadata = dict(stored.metadata() or {})
            if metadata.get("format") != kind.format:
                raise ValueError(f"its format is not {kind.format}")
            tensors = {name: stored.get_tensor(name) for name in kind.dtypes}
        for name, (dtype, dimensions) in kind.dtypes.items():
            if tensors[name].dtype != dtype or tensors[name].ndim != dimensions:
                raise ValueError(f"{name} is not {dtype} with {dimensions} dimensions")
        _check_offsets(tensors, clips)
    except (OSError, SafetensorError, ValueError) as error:
        raise broken(path, kind, str(error)) from error
    if metadata.get("corpus") != shard.ids_sha256:
        raise DataError(f"'{path}' was made for another corpus; run `speechkit {kind.verb}` again.")
    return Part(metadata=metadata, tensors=tensors)


def broken(path: Path, kind: Kind, why: str) -> DataError:
    """The error for a file that cannot be used."""
    return DataError(
        f"'{path}' is no usable {kind.name}: {why}. Delete it and run `speechkit {kind.verb}`."
    )


def _check_offsets(tensors: Mapping[str, Tensor], clips: int) -> None:
    """Raise ValueError where tables disagree with each other or with the number of clips.

    The last dimension of tensors `…_P`, `…_S` and `…_U` is all clips end to end, that of `…_N…`
    has one row a clip.
    """
    offsets_N1 = tensors.get("offsets_N1")
    for name, tensor in tensors.items():
        shape = name.rpartition("_")[2]
        if name == "offsets_N1":
            wanted, found = clips + 1, len(tensor)
        elif shape.startswith("N"):
            wanted, found = clips, len(tensor)
        elif offsets_N1 is not None and len(offsets_N1):
            wanted, found = int(offsets_N1[-1]), tensor.shape[-1]
        else:
            continue
        if wanted != found:
            raise ValueError(f"{name} has {found} entries instead of {wanted}")
    if offsets_N1 is not None and (int(offsets_N1[0]) or bool((offsets_N1.diff() < 0).any())):
        raise ValueError("its offsets do not rise from 0")


def has_sidecars(corpus: PackedCorpus, kind: Kind) -> bool:
    """Whether any shard has one."""
    return any(shard.sidecar(kind.name).is_file() for shard in corpus.shards)


class Sidecars:
    """The sidecars of one kind of all shards of a corpus, as if they were one."""

    kind: Kind

    def __init__(self, corpus: PackedCorpus) -> None:
        """Map the files; raises DataError where one is missing, damaged or of other clips."""
        missing = [s for s in corpus.shards if not self._path(s).is_file()]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(corpus.shards)} shards of {corpus} have no "
                f"{self.kind.name}, such as '{self._path(missing[0])}': run `speechkit "
                f"{self.kind.verb}` on it, which goes on where it stopped."
            )
        self.corpus = corpus
        self.parts = [
            read_sidecar(self._path(shard), self.kind, shard, len(corpus.clips_of(number)))
            for number, shard in enumerate(corpus.shards)
        ]

    def __reduce__(self) -> tuple[Any, ...]:
        """Worker processes map the files for themselves."""
        return type(self), (self.corpus,)

    def __len__(self) -> int:
        """Number of clips of the corpus, whether anything is known of them or not."""
        return len(self.corpus)

    def _path(self, shard: Shard) -> Path:
        return shard.sidecar(self.kind.name)

    def lengths(self) -> npt.NDArray[np.int64]:
        """Entries of each clip `[N]`; 0 where nothing is known."""
        lengths = [part.tensors["offsets_N1"].diff().numpy() for part in self.parts]
        return np.concatenate([np.zeros(0, np.int64), *lengths])

    def has(self, clip: int) -> bool:
        """True when something is known of the clip."""
        first, end = self._span(clip)[1:]
        return end > first

    def _span(self, clip: int) -> tuple[Part, int, int]:
        """The part that knows of a clip, and its entries there."""
        shard, place = self.corpus.place(clip)
        part = self.parts[shard]
        first, end = part.tensors["offsets_N1"][place : place + 2].tolist()
        return part, first, end

    def _row(self, clip: int) -> tuple[Part, int]:
        """The part that knows of a clip, and its row there."""
        shard, place = self.corpus.place(clip)
        return self.parts[shard], place

    def _common(self, name: str) -> Any:
        """A value of the metadata that all shards must share; raises DataError otherwise."""
        found = {part.metadata.get(name, "null") for part in self.parts}
        if len(found) > 1:
            raise DataError(
                f"The shards of {self.corpus} have different {self.kind.name} ({name}): run "
                f"`speechkit {self.kind.verb}` on all of them."
            )
        try:
            return json.loads(found.pop()) if found else None
        except ValueError as error:
            path = self._path(self.corpus.shards[0])
            raise broken(path, self.kind, f"its {name} is not JSON") from error
