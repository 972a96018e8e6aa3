"""A packed corpus: what training reads without any audio library.

A corpus is a folder of shards with an index (`prepare` makes it), or one shard alone. A program
that is given several corpora, with weights, reads them as one: `A.corpus:2` and `B.corpus`, or a
TOML list of them.

    [[corpus]]
    path = "A.corpus"   # from the folder of the list
    weight = 2.0

Names of speakers are taken at their word: the same name in two corpora is one speaker.

Shapes: N clips, T samples of a clip, F pitch frames of a clip, S shards.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
from torch import Tensor

from speechkit.core.config import load_toml
from speechkit.core.errors import ConfigError, DataError
from speechkit.core.timebase import SAMPLE_RATE_HZ
from speechkit.data.index import LABELS, Index, index_of, read_index, write_index
from speechkit.data.shard import SHARD_CLIPS, SHARD_SUFFIX, ClipInfo, PackedClip, Shard, write_shard

__all__ = [
    "PACKED_SAMPLE_RATE_HZ", "ClipInfo", "Data", "PackedClip", "PackedCorpus", "Shard", "Source",
    "read_sources", "write_packed",
]  # fmt: skip

PACKED_SAMPLE_RATE_HZ = SAMPLE_RATE_HZ


@dataclass(frozen=True, kw_only=True)
class Source:
    """One corpus among those that are read as one."""

    path: str
    """Its folder, or a shard alone."""
    weight: float = 1.0
    """How often its clips are drawn, each second of speech, against a corpus of weight 1."""

    def __post_init__(self) -> None:
        if not (self.weight > 0 and math.isfinite(self.weight)):
            raise ConfigError(f"The weight of {self.path} is {self.weight}: give one above 0.")


@dataclass(frozen=True, kw_only=True)
class SourceList:
    """A TOML list of corpora."""

    corpus: tuple[Source, ...] = field(default_factory=tuple)
    """A table `[[corpus]]` each."""


Data = str | Path | Sequence[str | Path | Source]
"""What a program takes for a corpus: a path, with `:WEIGHT` or without, a TOML list, or several."""


def read_sources(data: Data) -> tuple[Source, ...]:
    """The corpora that are meant; raises ConfigError for none, twice the same, or a bad weight."""
    sources: list[Source] = []
    for item in [data] if isinstance(data, str | Path) else data:
        if isinstance(item, Source):
            sources.append(item)
        elif Path(item).suffix == ".toml":
            listed = load_toml(item, SourceList).corpus
            home = Path(item).parent
            sources += [
                Source(path=str(home / source.path), weight=source.weight) for source in listed
            ]
        else:
            sources.append(_with_weight(str(item)))
    paths = [Path(source.path).resolve() for source in sources]
    if not paths:
        raise ConfigError("No corpus is given: give the folder that prepare made.")
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise ConfigError(f"The corpus {twice[0]} is given twice: give it once, with a weight.")
    return tuple(sources)


def _with_weight(text: str) -> Source:
    """The source that `PATH` or `PATH:WEIGHT` means."""
    path, colon, weight = text.rpartition(":")
    if not colon or Path(text).exists():
        return Source(path=text)
    try:
        return Source(path=path, weight=float(weight))
    except ValueError:
        # A colon in the name of a corpus that is not there.
        return Source(path=text)


class PackedCorpus:
    """Read access to one corpus or several; audio stays on disk until a clip is asked for."""

    def __init__(self, data: Data) -> None:
        """Open the index; raises DataError where it is missing or damaged, and as `read_sources`.

        A damaged shard is found when it is first read.
        """
        self.sources = read_sources(data)
        indexes = [_open(Path(source.path)) for source in self.sources]
        self.shards = tuple(shard for index in indexes for shard in index.shards)
        """All shards, in order."""
        self.ends_S = np.cumsum(np.concatenate([index.clips_S for index in indexes]))
        """Clips up to the end of each shard."""
        self._ends = self.ends_S.tolist()
        self.samples_N: npt.NDArray[np.int64] = np.concatenate([i.samples_N for i in indexes])
        """Length of each clip at 16 kHz."""
        self.text_N: npt.NDArray[np.bool_] = np.concatenate([i.text_N for i in indexes])
        """True for clips that have a transcript."""
        self.names, self.label_N = _joined(indexes)
        self.speaker_N: npt.NDArray[np.int32] = self.label_N["speaker"]
        """Speaker of each clip, as an index into `speakers`."""
        self.weight_N = np.repeat(
            [source.weight for source in self.sources], [len(i.samples_N) for i in indexes]
        ).astype(np.float64)
        """How often each clip is drawn, each second, against one of weight 1."""
        self.clips: Sequence[ClipInfo] = _Infos(self)
        """Descriptions of the clips; each is read when it is asked for."""

    def __reduce__(self) -> tuple[type[PackedCorpus], tuple[tuple[Source, ...]]]:
        """Worker processes open the corpus for themselves."""
        return PackedCorpus, (self.sources,)

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.samples_N)

    def __str__(self) -> str:
        """The paths, for messages."""
        return ", ".join(source.path for source in self.sources)

    @property
    def path(self) -> Path:
        """Folder or file of the first corpus."""
        return Path(self.sources[0].path)

    @property
    def ids(self) -> list[str]:
        """Names of the clips, in order; reads all descriptions."""
        return [clip["id"] for clip in self.clips]

    @property
    def speakers(self) -> tuple[str, ...]:
        """Names of the speakers."""
        return self.names["speaker"]

    @cached_property
    def sha256(self) -> str:
        """What ties a training run to its data: the clips' ids, in order, and the weights."""
        parts = [shard.ids_sha256 for shard in self.shards]
        weights = [source.weight for source in self.sources]
        if any(weight != 1 for weight in weights):
            parts.append(json.dumps([weights, [int(end) for end in self.ends_S]]))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def place(self, clip: int) -> tuple[int, int]:
        """The number of a clip's shard, and its place there; raises IndexError outside."""
        if not 0 <= clip < len(self):
            raise IndexError(f"clip {clip} of {len(self)} in {self}")
        shard = bisect.bisect_right(self._ends, clip)
        return shard, clip - (self._ends[shard - 1] if shard else 0)

    def clips_of(self, shard: int) -> range:
        """The clips of a shard."""
        return range(self._ends[shard - 1] if shard else 0, self._ends[shard])

    def samples(self, clip: int) -> int:
        """Length of a clip in samples at 16 kHz."""
        self.place(clip)
        return int(self.samples_N[clip])

    def speaker(self, clip: int) -> int:
        """Speaker of a clip as an index into `speakers`."""
        self.place(clip)
        return int(self.speaker_N[clip])

    def wave(self, clip: int, start: int = 0, stop: int | None = None) -> Tensor:
        """wave_T float32 in [-1, 1): samples start to stop of a clip, cut at its ends."""
        shard, place = self.place(clip)
        return self.shards[shard].wave(place, start, stop)

    @property
    def has_pitch(self) -> bool:
        """Whether the pitch of all clips is known."""
        return all(shard.has_pitch for shard in self.shards)

    def require_pitch(self) -> None:
        """Raise DataError where a shard has no pitch."""
        for shard in self.shards:
            if not shard.has_pitch:
                raise DataError(
                    f"'{shard.path}' was prepared without pitch, which this training needs: "
                    "prepare the corpus again without --no-pitch."
                )

    def f0(self, clip: int, start: int = 0, stop: int | None = None) -> Tensor:
        """f0_F float32 in Hz (0 = unvoiced), 10 ms frames start to stop of a clip; none where the
        corpus was prepared without pitch."""
        shard, place = self.place(clip)
        return self.shards[shard].f0(place, start, stop)


class _Infos(Sequence[ClipInfo]):
    """Descriptions of clips, read from their shards."""

    def __init__(self, corpus: PackedCorpus) -> None:
        self._corpus = corpus

    def __len__(self) -> int:
        return len(self._corpus)

    @overload
    def __getitem__(self, clip: int) -> ClipInfo: ...

    @overload
    def __getitem__(self, clip: slice) -> Sequence[ClipInfo]: ...

    def __getitem__(self, clip: int | slice) -> ClipInfo | Sequence[ClipInfo]:
        if isinstance(clip, slice):
            return [self[n] for n in range(*clip.indices(len(self)))]
        shard, place = self._corpus.place(clip)
        return self._corpus.shards[shard].info(place)

    def __iter__(self) -> Iterator[ClipInfo]:
        for shard in self._corpus.shards:
            yield from map(shard.info, range(len(shard)))


def write_packed(
    path: str | Path, clips: Iterable[PackedClip], shard_clips: int = SHARD_CLIPS
) -> None:
    """Write a corpus of clips at hand: one shard, or a folder for a path without `.safetensors`.

    `prepare` makes corpora of recordings. Raises DataError for no clips, and as `write_shard` does.
    """
    path, remaining = Path(path), iter(clips)
    first = next(remaining, None)
    if first is None:
        raise DataError("There is no clip to pack; check the source folder and the limits.")
    whole = chain([first], remaining)
    if path.suffix == SHARD_SUFFIX:
        write_shard(path, whole)
        return
    path.mkdir(parents=True, exist_ok=True)
    shards: list[Shard] = []
    for clip in whole:
        shards.append(Shard(path / f"{len(shards):05d}{SHARD_SUFFIX}"))
        write_shard(shards[-1].path, chain([clip], islice(whole, shard_clips - 1)))
    write_index(path, shards)


def _open(path: Path) -> Index:
    """The index of a corpus folder, or of a shard alone."""
    if path.is_dir():
        return read_index(path)
    if not path.is_file() or path.suffix != SHARD_SUFFIX:
        raise DataError(f"There is no packed corpus at '{path}'; make one with prepare.")
    return index_of([Shard(path)])


def _joined(
    indexes: Sequence[Index],
) -> tuple[dict[str, tuple[str, ...]], dict[str, npt.NDArray[np.int32]]]:
    """Names and labels over all corpora: equal names have one number."""
    names: dict[str, tuple[str, ...]] = {}
    label_N: dict[str, npt.NDArray[np.int32]] = {}
    for label in LABELS:
        known: dict[str, int] = {}
        columns = []
        for index in indexes:
            own = [known.setdefault(name, len(known)) for name in index.names[label]]
            columns.append(np.array(own, dtype=np.int32)[index.label_N[label]])
        names[label], label_N[label] = tuple(known), np.concatenate(columns)
    return names, label_N
