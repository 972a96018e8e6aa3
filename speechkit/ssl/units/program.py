"""Units of a corpus: sample frames and fit k-means, then assign the clips shard by shard.

Both passes over the corpus run here or in worker processes; the result does not depend on which.

Shapes: F frames of a clip, N frames of the sample, R rows drawn from a clip, D channels, C clips.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechkit.core.checkpoint import MODEL_FILE
from speechkit.core.config import to_dict
from speechkit.core.errors import CheckpointError, ConfigError, DataError
from speechkit.core.files import is_partial
from speechkit.core.rng import derive, generator
from speechkit.data.alignment import ALIGNMENT, Alignment
from speechkit.data.packed import Data, PackedCorpus, Source
from speechkit.data.sidecar import Kind, has_sidecars, is_made, read_sidecar, write_sidecar
from speechkit.data.work import ALONE, Crew, Report, run_shards, run_tasks
from speechkit.ssl.selection import Selection
from speechkit.ssl.units.features import (
    SAMPLE_RATE_HZ,
    Features,
    encoder_features,
    mfcc_features,
)
from speechkit.ssl.units.file import (
    MAX_CLUSTERS,
    UNITS,
    UNITS_FILE,
    Units,
    begin_units,
    units_path,
    write_units,
)
from speechkit.ssl.units.kmeans import KMeans, KMeansConfig, fit_kmeans
from speechkit.ssl.units.quality import corpus_quality, usage
from speechkit.ssl.units.report import UnitsReport

KMEANS_FOLDER, SAMPLE_FOLDER = "kmeans", "sample"
SAMPLE = Kind(
    name="sample",
    format="speechkit-sample-1",
    dtypes={"features_RD": (torch.float32, 2)},
    verb="ssl units",
)
_CLIPS_TOGETHER = 16

Rows = list[tuple[int, npt.NDArray[np.int64]]]
"""Places of clips in a shard, and rows to draw from the features of each."""


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
        if self.kmeans.clusters > MAX_CLUSTERS:
            raise ConfigError(f"At most {MAX_CLUSTERS} clusters can be named.")

    def load_features(self, device: str | torch.device = "cpu") -> Features:
        """The features; raises as `encoder_features` does."""
        if self.layer is None:
            return mfcc_features()
        return encoder_features(self.features, self.layer, device)


def make_units(
    data: Data,
    out: str | Path,
    config: UnitsConfig | None = None,
    *,
    kmeans: str | Path | None = None,
    features: Features | None = None,
    crew: Crew = ALONE,
) -> UnitsReport:
    """Write the units of a corpus into the folder `out` and return a report.

    `kmeans` is a folder of centroids to use; without it they are fitted and saved in `out/kmeans`,
    or taken from there where they were fitted on the same. Shards that have these units stay;
    of a crew that makes a part of them the first fits the centroids. Units are compared with the
    alignment of the corpus where there is one. `features` stands in for what the config names.
    Raises SpeechkitErrors for bad input before anything is computed.
    """
    config, folder = config or UnitsConfig(), Path(out)
    corpus = PackedCorpus(data)
    chosen = config.selection.of(corpus)
    if has_sidecars(corpus, ALIGNMENT):
        # Damage is told before anything is computed.
        Alignment(corpus)
    given = None if kmeans is None else KMeans.load(kmeans)
    _check_place(folder)
    if features is not None and not crew.is_here:
        raise ConfigError("Features in memory stay in their process: use one worker.")
    own = features or config.load_features(crew.device if crew.is_here else "cpu")
    frames_C = own.frames_of(corpus.samples_N[chosen])
    work = UnitsWork(
        sources=corpus.sources,
        folder=folder,
        config=config,
        chosen=tuple(chosen),
        device=crew.device,
        kmeans=None if kmeans is None else Path(kmeans),
        features=own if crew.is_here else None,
    )
    started = time.perf_counter()
    fitted_frames = 0
    if given is None:
        given, fitted_frames = _fitted(corpus, work, own, frames_C, crew)
    elif given[0].notes.get("features") != own.source:
        raise ConfigError(
            f"{kmeans} clusters {given[0].notes.get('features')} and not {own.source}: "
            "give the same features, layer and encoder."
        )
    elif not frames_C.sum():
        raise _all_too_short()
    model, sha256 = given
    fitted = time.perf_counter()
    begin_units(
        folder,
        rate_hz=own.rate_hz,
        clusters=model.clusters,
        kmeans_sha256=sha256,
        features=own.source,
    )

    def is_assigned(number: int) -> bool:
        shard = corpus.shards[number]
        return is_made(units_path(folder, shard), UNITS, shard, work.made_by(sha256))

    done = run_shards("units", work, corpus, is_assigned, crew)
    seconds = (fitted - started, time.perf_counter() - fitted)
    whole = len(done) == len(corpus.shards)
    report = _report(
        corpus if whole else PackedCorpus(done), work, fitted_frames=fitted_frames, seconds=seconds
    )
    return replace(report, missing_shards=len(corpus.shards) - len(done))


def _report(
    corpus: PackedCorpus, work: UnitsWork, *, fitted_frames: int, seconds: tuple[float, float]
) -> UnitsReport:
    """What is there of a corpus."""
    units = Units(work.folder, corpus)
    chosen = work.config.selection.of(corpus)
    lengths_C = units.lengths()[chosen]
    too_short = [chosen[place] for place in np.flatnonzero(lengths_C == 0).tolist()]
    aligned = has_sidecars(corpus, ALIGNMENT)
    return UnitsReport(
        out=str(work.folder),
        kmeans=str(work.kmeans or work.folder / KMEANS_FOLDER),
        kmeans_sha256=units.kmeans_sha256,
        rate_hz=units.rate_hz,
        clusters=units.clusters,
        clips=len(chosen),
        too_short=tuple(corpus.clips[clip]["id"] for clip in too_short),
        seconds_of_speech=float(corpus.samples_N[chosen].sum()) / SAMPLE_RATE_HZ,
        units=int(lengths_C.sum()),
        fitted_frames=fitted_frames,
        inertia=units.distance() / max(1, int(lengths_C.sum())),
        usage=usage((units.of(n) for n in chosen if units.has(n)), units.clusters),
        quality=corpus_quality(units, Alignment(corpus)) if aligned else None,
        seconds_fit=seconds[0],
        seconds_assign=seconds[1],
    )


def _fitted(
    corpus: PackedCorpus,
    work: UnitsWork,
    features: Features,
    frames_C: npt.NDArray[np.int64],
    crew: Crew,
) -> tuple[tuple[KMeans, str], int]:
    """The centroids in the folder, fitted now unless they were fitted on the same; and on what."""
    config, folder = work.config, work.folder
    places = _sampled(len(frames_C), config)
    _check_material(frames_C, places, config)
    fit = {
        "corpus": corpus.sha256,
        "features": features.source,
        "selection": to_dict(config.selection),
        "kmeans": to_dict(config.kmeans),
        "sample": [config.percent, config.max_frames, config.seed],
    }
    before = _kmeans_in(folder / KMEANS_FOLDER)
    if before is not None and before[0].notes.get("fit") == fit:
        return before, int(before[0].notes["fitted_frames"])
    if crew.part[0] > 1:
        raise ConfigError(
            f"There are no centroids in {folder} yet: begin with --shard 1/{crew.part[1]}, which "
            "fits them, or give --kmeans."
        )
    sample_ND = _sample(corpus, work, frames_C, places, fit, crew)
    model = fit_kmeans(sample_ND, config.kmeans, derive(config.seed, "k-means"))
    model.notes |= {"features": features.source, "rate_hz": features.rate_hz, "fit": fit}
    model.notes |= {"fitted_frames": len(sample_ND), "fitted_clips": len(places)}
    sha256 = model.save(folder / KMEANS_FOLDER)
    shutil.rmtree(folder / SAMPLE_FOLDER, ignore_errors=True)
    return (model, sha256), len(sample_ND)


def _kmeans_in(folder: Path) -> tuple[KMeans, str] | None:
    """The centroids of a folder, or None."""
    try:
        return KMeans.load(folder) if (folder / MODEL_FILE).is_file() else None
    except CheckpointError:
        return None


def _sample(
    corpus: PackedCorpus,
    work: UnitsWork,
    frames_C: npt.NDArray[np.int64],
    places: Sequence[int],
    fit: dict[str, Any],
    crew: Crew,
) -> Tensor:
    """`features_ND` of at most `max_frames` frames, spread evenly over the sampled clips."""
    config = work.config
    ends = np.cumsum(frames_C[places])
    rng = generator(derive(config.seed, "frames"))
    rows_N = draw_evenly(int(ends[-1]), config.max_frames, rng).numpy()
    of_shard: dict[int, Rows] = {}
    for place, end in zip(places, ends, strict=True):
        start, stop = np.searchsorted(rows_N, (end - frames_C[place], end))
        if stop > start:
            number, inside = corpus.place(work.chosen[place])
            rows_R = rows_N[start:stop] - (end - frames_C[place])
            of_shard.setdefault(number, []).append((inside, rows_R))
    folder = work.folder / SAMPLE_FOLDER
    folder.mkdir(parents=True, exist_ok=True)

    def path(number: int) -> Path:
        return units_path(folder, corpus.shards[number])

    missing = [n for n in of_shard if not is_made(path(n), SAMPLE, corpus.shards[n], fit)]
    run_tasks(
        "sampling",
        SampleWork(units=work, fit=fit),
        [((number, of_shard[number]), len(of_shard[number])) for number in missing],
        crew=crew,
        done=sum(len(rows) for number, rows in of_shard.items() if number not in set(missing)),
    )
    parts = [
        read_sidecar(path(n), SAMPLE, corpus.shards[n], len(corpus.clips_of(n))) for n in of_shard
    ]
    return torch.cat([part.tensors["features_RD"] for part in parts])


@dataclass(frozen=True, kw_only=True)
class UnitsWork:
    """How the units of a shard are made."""

    sources: tuple[Source, ...]
    folder: Path
    config: UnitsConfig
    chosen: tuple[int, ...]
    device: str
    kmeans: Path | None
    features: Features | None

    def made_by(self, kmeans_sha256: str) -> dict[str, Any]:
        """What units follow from."""
        return {"kmeans": kmeans_sha256, "selection": to_dict(self.config.selection)}

    def load(self) -> Callable[[int, Report], None]:
        """Open the corpus and load features and centroids."""
        corpus = PackedCorpus(self.sources)
        features = self.features or self.config.load_features(self.device)
        kmeans, sha256 = KMeans.load(self.kmeans or self.folder / KMEANS_FOLDER)
        chosen_C = np.array(self.chosen)

        def assign(number: int, report: Report) -> None:
            clips, shard = corpus.clips_of(number), corpus.shards[number]
            inside = np.searchsorted(chosen_C, (clips.start, clips.stop))
            places = [
                clip - clips.start
                for clip in chosen_C[slice(*inside)].tolist()
                if features.frames(corpus.samples(clip))
            ]
            units: dict[int, Tensor] = {}
            distance = 0.0
            for first in range(0, len(places), _CLIPS_TOGETHER):
                together = places[first : first + _CLIPS_TOGETHER]
                states = features.of_many([shard.wave(place) for place in together])
                for place, features_FD in zip(together, states, strict=True):
                    units[place], distance_F = kmeans.assign(features_FD)
                    distance += float(distance_F.double().sum())
                report(len(together))
            report(len(clips) - len(places))
            write_units(
                self.folder,
                shard,
                units,
                clusters=kmeans.clusters,
                kmeans_sha256=sha256,
                distance=distance,
                made_by=self.made_by(sha256),
            )

        return assign


@dataclass(frozen=True, kw_only=True)
class SampleWork:
    """How frames of a shard are drawn."""

    units: UnitsWork
    fit: dict[str, Any]

    def load(self) -> Callable[[tuple[int, Rows], Report], None]:
        """Open the corpus and load the features."""
        corpus = PackedCorpus(self.units.sources)
        features = self.units.features or self.units.config.load_features(self.units.device)

        def draw(task: tuple[int, Rows], report: Report) -> None:
            number, rows = task
            shard, parts = corpus.shards[number], []
            for first in range(0, len(rows), _CLIPS_TOGETHER):
                together = rows[first : first + _CLIPS_TOGETHER]
                states = features.of_many([shard.wave(place) for place, _ in together])
                for (_, rows_R), features_FD in zip(together, states, strict=True):
                    parts.append(features_FD[torch.from_numpy(rows_R)])
                report(len(together))
            path = units_path(self.units.folder / SAMPLE_FOLDER, shard)
            tensors = {"features_RD": torch.cat(parts)}
            write_sidecar(path, SAMPLE, shard, tensors, {"made_by": self.fit})

        return draw


def _sampled(count: int, config: UnitsConfig) -> list[int]:
    """Which of so many chosen clips k-means sees."""
    share = max(1, round(count * config.percent / 100.0))
    order = torch.randperm(count, generator=generator(derive(config.seed, "clips")))
    return sorted(order[:share].tolist())


def _check_place(folder: Path) -> None:
    """Raise ConfigError where the results could not be written."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file, and units are a folder: give another --out.")
    ours = {UNITS_FILE, KMEANS_FOLDER, SAMPLE_FOLDER}
    found = {path.name for path in folder.glob("*") if not is_partial(path)}
    if found and not ours & found:
        raise ConfigError(f"{folder} holds something else than units: give another --out.")


def _check_material(
    frames_C: npt.NDArray[np.int64], places: Sequence[int], config: UnitsConfig
) -> None:
    """Raise DataError where there is too little to do."""
    if not frames_C.sum():
        raise _all_too_short()
    clusters, found = config.kmeans.clusters, int(frames_C[places].sum())
    if found < clusters:
        raise DataError(
            f"The {len(places)} sampled clips have {found} frames, fewer than {clusters} "
            "clusters: take more clips, more percent or fewer clusters."
        )


def _all_too_short() -> DataError:
    return DataError("All chosen clips are shorter than 25 ms: they have no units.")


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
