"""What making units came to, for people and for machines."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from speechkit.ssl.units.quality import CorpusQuality, UnitUsage

_NAMES_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class UnitsReport:
    """What making units came to."""

    out: str
    """The folder of units."""
    kmeans: str
    """The folder of the centroids."""
    kmeans_sha256: str
    """Their hash."""
    rate_hz: int
    """Units a second."""
    clusters: int
    """K."""
    clips: int
    """Clips that were chosen, too short ones included."""
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
    missing_shards: int = 0
    """Shards that others have still to make; what is counted above leaves them out."""

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
        if self.missing_shards:
            lines.append(f"{self.missing_shards} shards still to make")
        lines.append(f"fit {self.seconds_fit:.1f} s, assign {self.seconds_assign:.1f} s")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
