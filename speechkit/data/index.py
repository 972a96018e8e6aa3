"""The index of a corpus: what is asked of all clips at once, without opening a shard.

`index.safetensors` in the corpus folder, written when all shards are there: for each clip its
length, speaker, language, licence, split and whether it has a text; for each shard its name, clips
and size. It says nothing that the shards do not say, and can be made again from them. Transcripts
and ids stay in the shards. It takes about 24 bytes a clip, on the disk and in memory.

Shapes: N clips, S shards, U bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from speechkit.core.errors import DataError
from speechkit.core.files import write_atomically
from speechkit.data.shard import Shard

INDEX_FILE = "index.safetensors"
INDEX_FORMAT = "speechkit-corpus-1"
LABELS = ("speaker", "language", "license", "split")
"""What clips are told apart by; each clip has a number for each, which counts its names."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Index:
    """The tables of a corpus."""

    shards: tuple[Shard, ...]
    """Its shards, in order."""
    clips_S: npt.NDArray[np.int64]
    """Clips of each shard."""
    samples_N: npt.NDArray[np.int64]
    """Length of each clip at 16 kHz."""
    text_N: npt.NDArray[np.bool_]
    """True for clips that have a transcript."""
    names: dict[str, tuple[str, ...]]
    """The different names of each of `LABELS`, in order of their first clip."""
    label_N: dict[str, npt.NDArray[np.int32]]
    """Which of them each clip has."""


def index_of(shards: Sequence[Shard]) -> Index:
    """The index of these shards, by reading all their descriptions."""
    found: dict[str, dict[str, int]] = {label: {} for label in LABELS}
    rows: dict[str, list[int]] = {label: [] for label in LABELS}
    texts: list[bool] = []
    for shard in shards:
        for info in map(shard.info, range(len(shard))):
            texts.append(bool(info["text"]))
            for label, name in zip(
                LABELS, (info["speaker"], info["language"], info["license"], info["split"]),
                strict=True,
            ):  # fmt: skip
                rows[label].append(found[label].setdefault(name, len(found[label])))
    return Index(
        shards=tuple(shards),
        clips_S=np.array([len(shard) for shard in shards], dtype=np.int64),
        samples_N=np.concatenate([np.zeros(0, np.int64), *(shard.lengths() for shard in shards)]),
        text_N=np.array(texts, dtype=bool),
        names={label: tuple(names) for label, names in found.items()},
        label_N={label: np.array(numbers, dtype=np.int32) for label, numbers in rows.items()},
    )


def write_index(folder: Path, shards: Sequence[Shard]) -> Index:
    """Write the index of shards that lie in `folder`, and return it."""
    index = index_of(shards)
    tables = {
        "names": index.names,
        "shards": [
            {
                "name": shard.path.name,
                "clips": len(shard),
                "bytes": shard.path.stat().st_size,
                "ids_sha256": shard.ids_sha256,
            }
            for shard in shards
        ],
    }
    arrays: dict[str, npt.NDArray[Any]] = {
        # As a tensor, because headers have an end.
        "tables_U": np.frombuffer(json.dumps(tables).encode(), dtype=np.uint8),
        "samples_N": index.samples_N,
        "text_N": index.text_N.astype(np.uint8),
        **{f"{label}_N": index.label_N[label] for label in LABELS},
    }
    path = folder / INDEX_FILE
    write_atomically(path, lambda part: save_file(arrays, part, {"format": INDEX_FORMAT}))
    return index


def read_index(folder: Path) -> Index:
    """The index of a corpus folder.

    Raises DataError where it is missing or damaged, or where a shard is missing or has another
    size than the index says.
    """
    path = folder / INDEX_FILE
    if not path.is_file():
        more = " yet: run prepare again, it goes on" if (folder / "plan.json").is_file() else ""
        raise DataError(
            f"There is no packed corpus at '{folder}'{more or '; make one with prepare'}."
        )
    try:
        with safe_open(str(path), "np") as stored:
            if (stored.metadata() or {}).get("format") != INDEX_FORMAT:
                raise ValueError(f"its format is not {INDEX_FORMAT}")
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        tables = json.loads(bytes(arrays["tables_U"]))
        rows = [(str(r["name"]), int(r["clips"]), int(r["bytes"]), str(r["ids_sha256"]))
                for r in tables["shards"]]  # fmt: skip
        index = Index(
            shards=tuple(Shard(folder / Path(name).name, ids) for name, _, _, ids in rows),
            clips_S=np.array([clips for _, clips, _, _ in rows], dtype=np.int64),
            samples_N=arrays["samples_N"].astype(np.int64, copy=False),
            text_N=arrays["text_N"].astype(bool),
            names={label: tuple(map(str, tables["names"][label])) for label in LABELS},
            label_N={label: arrays[f"{label}_N"].astype(np.int32, copy=False) for label in LABELS},
        )
        _check(index)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"'{path}' is no usable index ({error}): delete it and run prepare again."
        ) from error
    for name, _, size, _ in rows:
        shard = folder / name
        if not shard.is_file() or shard.stat().st_size != size:
            raise DataError(
                f"'{shard}' is missing or is not the shard that the index lists: delete it and "
                "run prepare again."
            )
    return index


def _check(index: Index) -> None:
    """Raise ValueError where the tables disagree."""
    clips = int(index.clips_S.sum())
    columns = (index.samples_N, index.text_N, *index.label_N.values())
    if any(column_N.shape != (clips,) for column_N in columns):
        raise ValueError("its tables do not list the same number of clips")
    if clips and (index.clips_S.min() < 0 or index.samples_N.min() < 0):
        raise ValueError("it has negative lengths")
    for label, label_N in index.label_N.items():
        if clips and not 0 <= label_N.min() <= label_N.max() < len(index.names[label]):
            raise ValueError(f"it names a {label} that it does not list")
