"""Which clips get units, and how the units are made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from speechkit.core.errors import ConfigError, DataError
from speechkit.data.packed import ClipInfo, PackedCorpus
from speechkit.ssl.units.file import MAX_CLUSTERS
from speechkit.ssl.units.kmeans import KMeansConfig


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which clips of the corpus get units; None takes all."""

    languages: tuple[str, ...] | None = None
    """Language codes."""
    sources: tuple[str, ...] | None = None
    """Starts of the clip ids or of the `source` of the clips, such as `librispeech`."""
    splits: tuple[str, ...] | None = None
    """Splits, such as `train`."""

    def of(self, corpus: PackedCorpus) -> list[int]:
        """Indices of the clips; raises DataError where nothing fits, naming what there is."""

        def takes(clip: ClipInfo) -> bool:
            starts = self.sources
            return (
                (self.languages is None or clip["language"] in self.languages)
                and (self.splits is None or clip["split"] in self.splits)
                and (
                    starts is None
                    or clip["id"].startswith(starts)
                    or clip["source"].startswith(starts)
                )
            )

        chosen = [index for index, clip in enumerate(corpus.clips) if takes(clip)]
        if not chosen:
            known = [
                f"{what} {', '.join(sorted(values)[:20])}"
                for what, values in (
                    ("languages", {clip["language"] for clip in corpus.clips}),
                    ("sources", {clip["source"] for clip in corpus.clips}),
                    ("splits", {clip["split"] for clip in corpus.clips}),
                )
            ]
            raise DataError(
                f"No clip of '{corpus.path}' fits the selection; it has {'; '.join(known)}."
            )
        return chosen


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
            raise ConfigError("An encoder needs a layer, and mfcc has none: mend --layer.")
        if not 0.0 < self.percent <= 100.0:
            raise ConfigError(f"percent is above 0 and at most 100, not {self.percent}.")
        if self.max_frames < self.kmeans.clusters:
            raise ConfigError(
                f"max_frames {self.max_frames} is less than {self.kmeans.clusters} clusters."
            )
        if self.kmeans.clusters > MAX_CLUSTERS or self.processes < 1:
            raise ConfigError(f"At most {MAX_CLUSTERS} clusters and at least one process.")
