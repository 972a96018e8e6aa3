"""What came out of preparing a corpus, for people and for machines."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class PrepareReport:
    """Counts over the clips that were packed and those that were not."""

    clips: int
    """Packed clips."""
    hours: float
    """Packed speech."""
    hours_with_text: float
    """Packed speech that has a transcript."""
    speakers: int
    """Different speaker names."""
    voiced_share: float | None
    """Share of 10 ms frames with a pitch; None where no pitch was worked out."""
    clips_by_language: Mapping[str, int]
    """Packed clips of each language."""
    clips_by_license: Mapping[str, int]
    """Packed clips of each licence."""
    hours_by_language: Mapping[str, float]
    """Packed speech of each language."""
    skipped_clips: int
    """Clips of splits and languages that were not asked for."""
    rejected: Mapping[str, int]
    """Rejected clips by reason."""
    examples: Mapping[str, str]
    """The first rejected clip's sentence, by reason."""
    wall_seconds: float
    """How long it took."""
    megabytes: float
    """Size of the shards, in 10^6 bytes."""
    shards: int = 1
    """Shards of the corpus."""
    missing_shards: int = 0
    """Shards that others have still to make: only without them is the corpus complete."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON-ready mapping."""
        return asdict(self)

    def table(self) -> str:
        """Return the report as lines of text for a terminal."""
        voiced = self.voiced_share
        rows = [
            ("clips", f"{self.clips}"),
            ("hours", f"{self.hours:.2f} ({self.hours_with_text:.2f} with text)"),
            ("speakers", f"{self.speakers}"),
            ("voiced", "not worked out" if voiced is None else f"{voiced:.0%} of frames"),
            ("languages", _counts(self.clips_by_language)),
            ("licences", _counts(self.clips_by_license)),
            ("rejected", _counts(self.rejected) or "none"),
            *(("", f"{reason}: {detail}") for reason, detail in self.examples.items()),
            ("not asked for", f"{self.skipped_clips}"),
            ("size", f"{self.megabytes:.1f} MB in {self.shards - self.missing_shards} shards"),
            *([("missing", f"{self.missing_shards} shards")] if self.missing_shards else []),
            ("took", f"{self.wall_seconds:.1f} s"),
        ]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


class ReportCounter:
    """Adds clips up to a `PrepareReport`."""

    def __init__(self) -> None:
        """Start with nothing counted."""
        self.clips = 0
        self.skipped_clips = 0
        self.rejected: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self._clips_by_license: Counter[str] = Counter()
        self._clips_by_language: Counter[str] = Counter()
        self._seconds_by_language: defaultdict[str, float] = defaultdict(float)
        self._text_seconds = 0.0
        self._speakers: set[str] = set()
        self._frames = 0
        self._voiced_frames = 0

    def add(
        self,
        *,
        speaker: str,
        language: str,
        license: str,
        has_text: bool,
        seconds: float,
        frames: int,
        voiced_frames: int,
    ) -> None:
        """Count one packed clip."""
        self.clips += 1
        self._clips_by_license[license] += 1
        self._clips_by_language[language] += 1
        self._seconds_by_language[language] += seconds
        self._text_seconds += seconds if has_text else 0.0
        self._speakers.add(speaker)
        self._frames += frames
        self._voiced_frames += voiced_frames

    def reject(self, reason: str, detail: str) -> None:
        """Count one rejected clip."""
        self.rejected[reason] += 1
        self.examples.setdefault(reason, detail)

    def report(
        self, *, wall_seconds: float, packed_bytes: int, shards: int = 1, missing: int = 0
    ) -> PrepareReport:
        """Return the sums."""
        hours = {name: value / 3600 for name, value in self._seconds_by_language.items()}
        return PrepareReport(
            clips=self.clips,
            hours=sum(hours.values()),
            hours_with_text=self._text_seconds / 3600,
            speakers=len(self._speakers),
            voiced_share=self._voiced_frames / self._frames if self._frames else None,
            clips_by_language=dict(self._clips_by_language.most_common()),
            clips_by_license=dict(self._clips_by_license.most_common()),
            hours_by_language=hours,
            skipped_clips=self.skipped_clips,
            rejected=dict(self.rejected.most_common()),
            examples=dict(self.examples),
            wall_seconds=wall_seconds,
            megabytes=packed_bytes / 1e6,
            shards=shards,
            missing_shards=missing,
        )


def _counts(counts: Mapping[str, int]) -> str:
    """Return counts as one line."""
    return ", ".join(f"{name} {count}" for name, count in counts.items())
