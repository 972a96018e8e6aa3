"""Units of a packed corpus: sample frames and fit k-means, then assign every clip and write."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from speechkit.core.errors import ConfigError, DataError
from speechkit.core.rng import derive, generator
from speechkit.data.alignment import Alignment, sidecar_path
from speechkit.data.packed import PackedCorpus
from speechkit.ssl.units.features import Features
from speechkit.ssl.units.file import Units, write_units
from speechkit.ssl.units.kmeans import KMeans, fit_kmeans
from speechkit.ssl.units.mfcc import SAMPLE_RATE_HZ
from speechkit.ssl.units.options import UnitsConfig
from speechkit.ssl.units.passes import FeatureChoice, Passes
from speechkit.ssl.units.quality import CorpusQuality, UnitUsage, corpus_quality, usage

_NAMES_SHOWN = 5


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

    def lines(self) -> list[str]:
        """The report for a terminal."""
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
        return lines


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
    sidecar = _alignment(corpus, alignment)
    given = None if kmeans is None else KMeans.load(kmeans)
    folder = Path(kmeans or kmeans_out or Path(out).with_suffix(".kmeans"))
    _check_places(Path(out), folder)
    job = _Job(corpus, chosen, config, features)
    job.check(None if given is None else given[0], folder)

    started = time.perf_counter()
    model, sha256 = given or job.fit(folder)
    fitted = time.perf_counter()
    units, inertia = job.passes.assign(chosen, job.frames, model)
    write_units(
        out,
        units,
        rate_hz=job.features.rate_hz,
        clusters=model.clusters,
        kmeans_sha256=sha256,
        features=job.features.source,
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
        units=sum(job.frames),
        fitted_frames=job.fitted_frames,
        inertia=inertia,
        usage=usage(map(written.of, with_units), written.clusters),
        quality=None if sidecar is None else corpus_quality(written, sidecar, _ids(corpus)),
        seconds_fit=fitted - started,
        seconds_assign=assigned - fitted,
    )


class _Job:
    """The clips, their features and what is to be done with them."""

    def __init__(
        self,
        corpus: PackedCorpus,
        chosen: Sequence[int],
        config: UnitsConfig,
        features: Features | None,
    ) -> None:
        choice = FeatureChoice(config.features, config.layer)
        if features is not None and config.processes > 1:
            raise ConfigError("Features in memory stay in their process: use processes=1.")
        self.features = features or choice.load()
        self.frames = [self.features.frames(corpus.samples(clip)) for clip in chosen]
        self.passes = Passes(corpus, self.features, choice, config.processes)
        self.fitted_frames = 0
        self._config = config
        count = max(1, round(len(chosen) * config.percent / 100.0))
        order = torch.randperm(len(chosen), generator=generator(derive(config.seed, "clips")))
        places = sorted(order[:count].tolist())
        self._sampled = [chosen[place] for place in places]
        self._sampled_frames = [self.frames[place] for place in places]

    def check(self, given: KMeans | None, folder: Path) -> None:
        """Raise a SpeechkitError where there is too little to do, or `given` does not fit."""
        if not sum(self.frames):
            raise DataError("All chosen clips are shorter than 25 ms: they have no units.")
        clusters, frames = self._config.kmeans.clusters, sum(self._sampled_frames)
        if given is None and frames < clusters:
            raise DataError(
                f"The {len(self._sampled)} sampled clips have {frames} frames, fewer than "
                f"{clusters} clusters: take more clips, more percent or fewer clusters."
            )
        if given is not None and given.notes.get("features") != self.features.source:
            raise ConfigError(
                f"{folder} clusters {given.notes.get('features')} and not {self.features.source}: "
                "give the same features, layer and encoder."
            )

    def fit(self, folder: Path) -> tuple[KMeans, str]:
        """Fit the centroids and save them; returns them and the hash of their weights."""
        config = self._config
        rng = generator(derive(config.seed, "frames"))
        sample_ND = self.passes.sample(self._sampled, self._sampled_frames, config.max_frames, rng)
        self.fitted_frames = len(sample_ND)
        fit = fit_kmeans(sample_ND, config.kmeans, generator(derive(config.seed, "k-means")))
        notes = {
            "features": self.features.source,
            "rate_hz": self.features.rate_hz,
            "fitted_frames": len(sample_ND),
            "fitted_clips": len(self._sampled),
            "seed": config.seed,
            "inertia": fit.inertia,
            "steps": fit.steps,
        }
        model = KMeans(fit.kmeans.centroids_KD, notes)
        return model, model.save(folder)


def _check_places(out: Path, folder: Path) -> None:
    """Raise ConfigError where the results could not be written."""
    if out.is_dir() or not out.parent.is_dir():
        raise ConfigError(f"{out} cannot be written: give a file in a folder that exists.")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: give another folder for the centroids.")


def _alignment(corpus: PackedCorpus, path: str | Path | None) -> Alignment | None:
    """The sidecar to compare with; raises DataError for one of another corpus."""
    if path is None:
        path = sidecar_path(corpus.path)
        if not path.is_file():
            return None
    return Alignment(path, _ids(corpus))


def _ids(corpus: PackedCorpus) -> list[str]:
    return [clip["id"] for clip in corpus.clips]
