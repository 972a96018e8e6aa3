"""What a report found out about a codec, as JSON and as lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from speechkit.evaluate.codec.differences import Difference, difference_lines
from speechkit.evaluate.codec.leaks import find_leaks, probe_lines
from speechkit.evaluate.codec.probes import Probes
from speechkit.evaluate.codec.rate import RateReport, rate_lines
from speechkit.evaluate.codec.swaps import Swaps
from speechkit.evaluate.codec.verdicts import moved, summary_lines, swap_lines, usage_lines
from speechkit.evaluate.usage import BookUsage

BAND_NOTE = (
    "Codec 2 ends at 4 kHz and Opus at 6 kb/s does too: their log-mel distance and MCD count the "
    "missing band and cannot be compared."
)
"""What to know of the other codecs' figures."""


@dataclass(kw_only=True)
class Findings:
    """Everything but the rows; None and empty where it was not measured."""

    differences: list[Difference] = field(default_factory=list)
    """The codec beside every other system."""
    probes: Probes | None = None
    """What can be read off its parts."""
    swaps: Swaps | None = None
    """What its parts move."""
    usage: list[BookUsage] = field(default_factory=list)
    """Use of its books."""
    rate: RateReport | None = None
    """Its bit rate."""

    def summary(self) -> list[str]:
        """Where the codec stands, in words."""
        return summary_lines(self.differences, self.probes, self.swaps, self.usage, self.rate)

    def sections(self, books: Sequence[str]) -> dict[str, list[str]]:
        """Lines of text by heading; `books` names the code books."""
        lines: dict[str, list[str]] = {}
        if self.differences:
            lines["paired differences (95 % interval over speakers)"] = difference_lines(
                self.differences
            )
        if self.probes is not None:
            lines["probes"] = probe_lines(self.probes)
        if self.swaps is not None:
            lines["swaps"] = swap_lines(self.swaps)
        if self.usage:
            lines["usage"] = usage_lines(self.usage, books)
        if self.rate is not None:
            lines["bit rate"] = rate_lines(self.rate, books)
        if summary := self.summary():
            lines["summary"] = summary
        return lines

    def to_json(self) -> dict[str, Any]:
        """Plain values of what was measured."""
        found: dict[str, Any] = {"summary": self.summary()}
        if self.differences:
            found["differences"] = [one.to_json() for one in self.differences]
        if self.probes is not None:
            found["probes"] = self.probes.to_json()
            found["leaks"] = [
                asdict(leak) | {"share": leak.share, "size": leak.size}
                for leak in find_leaks(self.probes)
            ]
        if self.swaps is not None:
            found["swaps"] = self.swaps.to_json() | {"moved": moved(self.swaps)}
        if self.usage:
            found["usage"] = [asdict(one) | {"used_share": one.used_share} for one in self.usage]
        if self.rate is not None:
            found["rate"] = self.rate.to_json()
        return found
