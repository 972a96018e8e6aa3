"""The two passes over a corpus, here or in worker processes: draw frames, assign units.

Shapes: F frames of a clip, N frames of the sample, R rows drawn from a clip, D channels.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.data.packed import PackedCorpus
from speechkit.ssl.units.features import Features, encoder_features, mfcc_features
from speechkit.ssl.units.kmeans import KMeans

_CLIPS_A_TASK = 16

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class FeatureChoice:
    """What a worker process has to load."""

    kind: str | Path
    """`mfcc`, or the folder of an encoder."""
    layer: int | None
    """Layer of the encoder."""

    def load(self) -> Features:
        """The features; raises as `encoder_features` does."""
        if self.layer is None:
            return mfcc_features()
        return encoder_features(self.kind, self.layer)


@dataclass(frozen=True)
class _Draw:
    """Rows to draw from the features of one clip."""

    clip: int
    rows_R: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Assigned:
    """Units of one clip and the sum of their squared distances."""

    units_F: npt.NDArray[np.int16]
    distance: float


@dataclass(frozen=True)
class _Loaded:
    """What the work on a clip needs."""

    corpus: PackedCorpus
    features: Features
    kmeans: KMeans | None

    def draw(self, task: _Draw) -> npt.NDArray[np.float32]:
        """`features_RD` of the rows."""
        features_FD = self.features.of(self.corpus.wave(task.clip))
        drawn_RD: npt.NDArray[np.float32] = features_FD[torch.from_numpy(task.rows_R)].numpy()
        return drawn_RD

    def assign(self, clip: int) -> _Assigned:
        """Units of a clip."""
        assert self.kmeans is not None
        features_FD = self.features.of(self.corpus.wave(clip))
        units_F, distance_F = self.kmeans.assign_with_distance(features_FD)
        return _Assigned(units_F.to(torch.int16).numpy(), float(distance_F.double().sum()))


class Passes:
    """Passes over chosen clips of a corpus."""

    def __init__(
        self, corpus: PackedCorpus, features: Features, choice: FeatureChoice, processes: int
    ) -> None:
        """Work on `corpus`; with more than one process each loads what `choice` names."""
        self._corpus, self._features = corpus, features
        self._choice, self._processes = choice, processes

    def sample(
        self, clips: Sequence[int], frames: Sequence[int], count: int, rng: torch.Generator
    ) -> Tensor:
        """`features_ND` of at most `count` frames, spread evenly over clips of `frames` each."""
        ends = np.cumsum(frames)
        rows_N = draw_evenly(int(ends[-1]), count, rng).numpy()
        starts = np.searchsorted(rows_N, ends - frames)
        stops = np.searchsorted(rows_N, ends)
        tasks = [
            _Draw(clip, rows_N[start:stop] - (end - length))
            for clip, start, stop, end, length in zip(
                clips, starts, stops, ends, frames, strict=True
            )
            if stop > start
        ]
        here = _Loaded(self._corpus, self._features, None).draw
        return torch.from_numpy(np.concatenate(list(self._map(here, _draw, tasks, None))))

    def assign(
        self, clips: Sequence[int], frames: Sequence[int], kmeans: KMeans
    ) -> tuple[dict[str, Tensor], float]:
        """Units `[F]` of the clips by id (none for too short ones), and mean squared distance."""
        units = {
            self._corpus.clips[clip]["id"]: torch.zeros(0, dtype=torch.int16) for clip in clips
        }
        long = [clip for clip, length in zip(clips, frames, strict=True) if length]
        here = _Loaded(self._corpus, self._features, kmeans).assign
        total = 0.0
        for clip, done in zip(long, self._map(here, _assign, long, kmeans), strict=True):
            units[self._corpus.clips[clip]["id"]] = torch.from_numpy(done.units_F)
            total += done.distance
        return units, total / sum(frames)

    def _map(
        self,
        here: Callable[[Task], Result],
        there: Callable[[Task], Result],
        tasks: Sequence[Task],
        kmeans: KMeans | None,
    ) -> Iterator[Result]:
        """Yield the results in the order of the tasks: `here`, or `there` in worker processes."""
        if self._processes == 1:
            yield from map(here, tasks)
            return
        # spawn: a fork of a process whose torch has threads can hang.
        context = multiprocessing.get_context("spawn")
        centroids_KD = None if kmeans is None else kmeans.centroids_KD.numpy()
        with ProcessPoolExecutor(
            self._processes,
            context,
            initializer=_start_worker,
            initargs=(self._corpus.path, self._choice, centroids_KD),
        ) as pool:
            try:
                yield from pool.map(there, tasks, chunksize=_CLIPS_A_TASK)
            except BrokenProcessPool as error:
                raise DataError(
                    "A worker process died, perhaps for want of memory: use fewer processes."
                ) from error


def draw_evenly(total: int, count: int, rng: torch.Generator) -> Tensor:
    """`rows_N` int64, ascending: one random row of each of `count` equal parts of `total` rows.

    All rows where there are no more than `count`. Needs memory for the drawn rows alone.
    """
    if total <= count:
        return torch.arange(total)
    edges = torch.arange(count + 1) * total // count
    width_N = edges.diff()
    inside_N = (torch.rand(count, generator=rng, dtype=torch.float64) * width_N).long()
    rows_N: Tensor = edges[:-1] + torch.minimum(inside_N, width_N - 1)
    return rows_N


_worker: list[_Loaded] = []
"""What a worker process has loaded; stays empty in the process that started it."""


def _start_worker(
    corpus: Path, choice: FeatureChoice, centroids_KD: npt.NDArray[np.float32] | None
) -> None:
    """Load once what all tasks of this process need."""
    torch.set_num_threads(1)
    kmeans = None if centroids_KD is None else KMeans(torch.from_numpy(centroids_KD))
    _worker.append(_Loaded(PackedCorpus(corpus), choice.load(), kmeans))


def _draw(task: _Draw) -> npt.NDArray[np.float32]:
    return _worker[0].draw(task)


def _assign(clip: int) -> _Assigned:
    return _worker[0].assign(clip)
