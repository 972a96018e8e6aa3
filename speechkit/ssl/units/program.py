"""Units of a packed corpus: sample frames and fit k-means, then assign every clip and write.

Both passes over the corpus run here or in worker processes; the result does not depend on which.

Shapes: F frames of a clip, N frames of the sample, R rows drawn from a clip, D channels.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechkit.core.errors import ConfigError, DataError
from speechkit.core.rng import derive, generator
from speechkit.data.alignment import Alignment, sidecar_path
from speechkit.data.packed import PackedCorpus
from speechkit.ssl.selection import Selection
from speechkit.ssl.units.features import (
    SAMPLE_RATE_HZ,
    Features,
    encoder_features,
    mfcc_features,
)
from speechkit.ssl.units.file import MAX_CLUSTERS, Units, write_units
from speechkit.ssl.units.kmeans import KMeans, KMeansConfig, fit_kmeans
from speechkit.ssl.units.quality import CorpusQuality, UnitUsage, corpus_quality, usage

_NAMES_SHOWN = 5
_CLIPS_A_TASK = 16

Task = TypeVar("Task")
Result = TypeVar("Result")
Rows = tuple[int, npt.NDArray[np.int64]]
"""A clip, and rows to draw from its features."""


@dataclass(frozen=True, kw_only=True)
class UnitsConfig:
    """How units are made."""

    features: str | Path = "mfcc"
    """`mfcc`, or the folder of a pre-trained encoder."""
    layer: int | None = None
    """Layer of the encoder: 0 = input of the first block, k = output of block k."""
    kmeans: KMeansConfig = KMeansConfig()
    """How the clusters are found."""
    selection: Selection = Selection()
    """Which clips."""
    percent: float = 100.0
    """Share of the clips that k-means sees, drawn at random (HuBERT: 10 for the layers)."""
    max_frames: int = 200_000
    """Frames k-means learns from, spread evenly over these clips."""
    seed: int = 0
    """All draws follow from it."""
    processes: int = 1
    """Worker processes that make features; the result does not depend on it."""

    def __post_init__(self) -> None:
        """Raise ConfigError for what cannot be run."""
        if (self.features == "mfcc") != (self.layer is None):
            raise ConfigError("An encoder needs a layer, and mfcc has none: change --layer.")
        if not 0.0 < self.percent <= 100.0:
            raise ConfigError(f"percent is above 0 and at most 100, not {self.percent}.")
        if self.max_frames < self.kmeans.clusters:
            raise ConfigError(
                f"max_frames {self.max_frames} is less than {self.kmeans.clusters} clusters."
            )
        if self.kmeans.clusters > MAX_CLUSTERS or self.processes < 1:
            raise ConfigError(f"At most {MAX_CLUSTERS} clusters and at least one process.")

    def load_features(self) -> Features:
        """The features; raises as `encoder_features` does."""
        if self.layer is None:
            return mfcc_features()
        return encoder_features(self.features, self.layer)


@dataclass(frozen=True, kw_only=True)
class UnitsReport:
    """What making units came to."""

    out: str
    """The file of units."""
    kmeans: str
    """The folder of the centroids."""
    kmeans_sha256: str
    """Their hash."""
    rate_hz: int
    """Units a second."""
    clusters: int
    """K."""
    clips: int
    """Clips in the file, too short ones included."""
    too_short: tuple[str, ...]
    """Ids of the clips that are shorter than one frame and got no units."""
    seconds_of_speech: float
    """Length of the clips."""
    units: int
    """Units written."""
    fitted_frames: int
    """Frames k-means learnt from; 0 where the centroids were given."""
    inertia: float
    """Mean squared distance of a frame to its centroid over all units written."""
    usage: UnitUsage
    """How the units are used."""
    quality: CorpusQuality | None
    """Agreement with phones; None without an alignment of these clips."""
    seconds_fit: float
    """Time of sampling and fitting."""
    seconds_assign: float
    """Time of assigning and writing."""

    def text(self) -> str:
        """Lines for a terminal."""
        lines = [
            f"{self.units} units at {self.rate_hz} Hz of {self.clips} clips "
            f"({self.seconds_of_speech / 3600:.2f} h) in {self.out}",
            f"k-means {self.kmeans}: {self.clusters} clusters, inertia {self.inertia:.4g}, "
            + (f"fitted on {self.fitted_frames} frames" if self.fitted_frames else "as given"),
            f"{self.usage.used} of {self.clusters} units used, perplexity "
            f"{self.usage.perplexity:.1f}, {self.usage.repeats:.1%} repeat the one before",
        ]
        if self.quality is not None:
            lines += [
                f"{what}: PNMI {found.pnmi:.3f}, phone purity {found.phone_purity:.3f}, "
                f"cluster purity {found.cluster_purity:.3f} ({found.frames} frames)"
                for what, found in (
                    ("all frames", self.quality.everything),
                    ("without silence", self.quality.speech),
                )
            ]
        if self.too_short:
            more = len(self.too_short) - _NAMES_SHOWN
            lines.append(
                f"{len(self.too_short)} clips are too short for a unit: "
                + ", ".join(self.too_short[:_NAMES_SHOWN])
                + (f" and {more} more" if more > 0 else "")
            )
        lines.append(f"fit {self.seconds_fit:.1f} s, assign {self.seconds_assign:.1f} s")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def make_units(
    corpus_path: str | Path,
    out: str | Path,
    config: UnitsConfig | None = None,
    *,
    kmeans: str | Path | None = None,
    kmeans_out: str | Path | None = None,
    alignment: str | Path | None = None,
    features: Features | None = None,
) -> UnitsReport:
    """Write the units of a corpus to `out` and return a report.

    `kmeans` is a folder of centroids to use; without it they are fitted and saved in `kmeans_out`
    (default: `x.kmeans` beside `x.safetensors`). `alignment` is the sidecar to compare with
    (default: the one beside the corpus if there is one). `features` stands in for what the config
    names. Raises SpeechkitErrors for bad input before anything is computed.
    """
    config = config or UnitsConfig()
    corpus = PackedCorpus(corpus_path)
    chosen = config.selection.of(corpus)
    ids = [clip["id"] for clip in corpus.clips]
    if alignment is None and sidecar_path(corpus.path).is_file():
        alignment = sidecar_path(corpus.path)
    sidecar = None if alignment is None else Alignment(alignment, ids)
    given = None if kmeans is None else KMeans.load(kmeans)
    folder = Path(kmeans or kmeans_out or Path(out).with_suffix(".kmeans"))
    _check_places(Path(out), folder)
    if features is not None and config.processes > 1:
        raise ConfigError("Features in memory stay in their process: use processes=1.")
    features = features or config.load_features()
    frames = {clip: features.frames(corpus.samples(clip)) for clip in chosen}
    sampled = _sampled(chosen, config)
    _check_material(frames, sampled, config, features, None if given is None else given[0], folder)

    started = time.perf_counter()
    fitted_frames = 0
    if given is None:
        sample_ND = sample_frames(
            corpus, features, {clip: frames[clip] for clip in sampled}, config
        )
        fitted_frames = len(sample_ND)
        model = fit_kmeans(sample_ND, config.kmeans, derive(config.seed, "k-means"))
        model.notes |= {"features": features.source, "rate_hz": features.rate_hz}
        model.notes |= {"fitted_frames": fitted_frames, "fitted_clips": len(sampled)}
        model.notes |= {"seed": config.seed}
        sha256 = model.save(folder)
    else:
        model, sha256 = given
    fitted = time.perf_counter()
    units, inertia = _assign_all(corpus, features, frames, model, config)
    write_units(
        out,
        units,
        rate_hz=features.rate_hz,
        clusters=model.clusters,
        kmeans_sha256=sha256,
        features=features.source,
    )
    assigned = time.perf_counter()
    written = Units(out)
    with_units = [name for name in written.clip_ids if written.has(name)]
    return UnitsReport(
        out=str(out),
        kmeans=str(folder),
        kmeans_sha256=sha256,
        rate_hz=written.rate_hz,
        clusters=written.clusters,
        clips=len(written),
        too_short=tuple(written.missing(written.clip_ids)),
        seconds_of_speech=sum(map(corpus.samples, chosen)) / SAMPLE_RATE_HZ,
        units=sum(frames.values()),
        fitted_frames=fitted_frames,
        inertia=inertia,
        usage=usage(map(written.of, with_units), written.clusters),
        quality=None if sidecar is None else corpus_quality(written, sidecar, ids),
        seconds_fit=fitted - started,
        seconds_assign=assigned - fitted,
    )


def _sampled(chosen: Sequence[int], config: UnitsConfig) -> list[int]:
    """The clips that k-means sees."""
    count = max(1, round(len(chosen) * config.percent / 100.0))
    order = torch.randperm(len(chosen), generator=generator(derive(config.seed, "clips")))
    return [chosen[place] for place in sorted(order[:count].tolist())]


def _check_places(out: Path, folder: Path) -> None:
    """Raise ConfigError where the results could not be written."""
    if out.is_dir() or not out.parent.is_dir():
        raise ConfigError(f"{out} cannot be written: give a file in a folder that exists.")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: give another folder for the centroids.")


def _check_material(
    frames: dict[int, int],
    sampled: Sequence[int],
    config: UnitsConfig,
    features: Features,
    given: KMeans | None,
    folder: Path,
) -> None:
    """Raise a SpeechkitError where there is too little to do, or `given` does not fit."""
    if not sum(frames.values()):
        raise DataError("All chosen clips are shorter than 25 ms: they have no units.")
    clusters, found = config.kmeans.clusters, sum(frames[clip] for clip in sampled)
    if given is None and found < clusters:
        raise DataError(
            f"The {len(sampled)} sampled clips have {found} frames, fewer than {clusters} "
            "clusters: take more clips, more percent or fewer clusters."
        )
    if given is not None and given.notes.get("features") != features.source:
        raise ConfigError(
            f"{folder} clusters {given.notes.get('features')} and not {features.source}: "
            "give the same features, layer and encoder."
        )


def sample_frames(
    corpus: PackedCorpus, features: Features, frames: dict[int, int], config: UnitsConfig
) -> Tensor:
    """`features_ND` of at most `max_frames` frames, spread evenly over clips of so many each."""
    ends = np.cumsum(list(frames.values()))
    rng = generator(derive(config.seed, "frames"))
    rows_N = draw_evenly(int(ends[-1]), config.max_frames, rng).numpy()
    tasks: list[Rows] = []
    for clip, end, length in zip(frames, ends, frames.values(), strict=True):
        start, stop = np.searchsorted(rows_N, (end - length, end))
        if stop > start:
            tasks.append((clip, rows_N[start:stop] - (end - length)))
    loaded = _Loaded(corpus, features, None)
    parts = _map(_draw, tasks, loaded, config)
    return torch.from_numpy(np.concatenate(list(parts)))


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


def _assign_all(
    corpus: PackedCorpus,
    features: Features,
    frames: dict[int, int],
    kmeans: KMeans,
    config: UnitsConfig,
) -> tuple[dict[str, Tensor], float]:
    """Units `[F]` of the clips by id (none for too short ones), and mean squared distance."""
    units = {corpus.clips[clip]["id"]: torch.zeros(0, dtype=torch.int16) for clip in frames}
    long = [clip for clip, length in frames.items() if length]
    total = 0.0
    done = _map(_assign, long, _Loaded(corpus, features, kmeans), config)
    for clip, (units_F, distance) in zip(long, done, strict=True):
        units[corpus.clips[clip]["id"]] = torch.from_numpy(units_F)
        total += distance
    return units, total / sum(frames.values())


@dataclass(frozen=True)
class _Loaded:
    """What the work on a clip needs."""

    corpus: PackedCorpus
    features: Features
    kmeans: KMeans | None


def _draw(loaded: _Loaded, task: Rows) -> npt.NDArray[np.float32]:
    """`features_RD` of rows of a clip."""
    clip, rows_R = task
    features_FD = loaded.features.of(loaded.corpus.wave(clip))
    drawn_RD: npt.NDArray[np.float32] = features_FD[torch.from_numpy(rows_R)].numpy()
    return drawn_RD


def _assign(loaded: _Loaded, clip: int) -> tuple[npt.NDArray[np.int16], float]:
    """Units of a clip and the sum of their squared distances."""
    assert loaded.kmeans is not None
    units_F, distance_F = loaded.kmeans.assign(loaded.features.of(loaded.corpus.wave(clip)))
    return units_F.to(torch.int16).numpy(), float(distance_F.double().sum())


def _map(
    work: Callable[[_Loaded, Task], Result],
    tasks: Sequence[Task],
    loaded: _Loaded,
    config: UnitsConfig,
) -> Iterator[Result]:
    """Yield the results in the order of the tasks, made here or in worker processes."""
    if config.processes == 1:
        for task in tasks:
            yield work(loaded, task)
        return
    # spawn: a fork of a process whose torch has threads can hang.
    context = multiprocessing.get_context("spawn")
    centroids_KD = None if loaded.kmeans is None else loaded.kmeans.centroids_KD.numpy()
    with ProcessPoolExecutor(
        config.processes,
        context,
        initializer=_start_worker,
        initargs=(loaded.corpus.path, config, centroids_KD),
    ) as pool:
        try:
            yield from pool.map(_there, [work] * len(tasks), tasks, chunksize=_CLIPS_A_TASK)
        except BrokenProcessPool as error:
            raise DataError(
                "A worker process died, perhaps for want of memory: use fewer processes."
            ) from error


_worker: list[_Loaded] = []
"""What a worker process has loaded; stays empty in the process that started it."""


def _start_worker(
    corpus: Path, config: UnitsConfig, centroids_KD: npt.NDArray[np.float32] | None
) -> None:
    """Load once what all tasks of this process need."""
    torch.set_num_threads(1)
    kmeans = None if centroids_KD is None else KMeans(torch.from_numpy(centroids_KD))
    _worker.append(_Loaded(PackedCorpus(corpus), config.load_features(), kmeans))


def _there(work: Callable[[_Loaded, Task], Result], task: Task) -> Result:
    """Do one task in a worker process."""
    return work(_worker[0], task)
