"""Rows of scores, their summary with confidence intervals, and the table printed from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from speechkit.core.errors import DataError
from speechkit.core.files import write_text
from speechkit.core.metrics import Interval, bootstrap


@dataclass(frozen=True, kw_only=True)
class Column:
    """One figure of the table."""

    title: str
    """Heading."""
    scale: float = 1.0
    """Factor for print (100 for per cent)."""
    digits: int = 3
    """Digits after the point."""

    def show(self, value: float, sign: str = "") -> str:
        """A figure as it is printed; ``sign`` is "+" or empty."""
        return f"{value * self.scale:{sign}.{self.digits}f}"


COLUMNS: Mapping[str, Column] = {
    "kbps": Column(title="kb/s", digits=2),
    "wer": Column(title="WER%", scale=100, digits=2),
    "cer": Column(title="CER%", scale=100, digits=2),
    "nll": Column(title="NLL"),
    "wer2": Column(title="WER2%", scale=100, digits=2),
    "nll2": Column(title="NLL2"),
    "sim": Column(title="SIM"),
    "sim_wrong": Column(title="wrong"),
    "margin": Column(title="margin"),
    "sim_r": Column(title="SIM-R"),
    "margin_r": Column(title="marg-R"),
    "ovrl": Column(title="OVRL"),
    "sig": Column(title="SIG"),
    "bak": Column(title="BAK"),
    "p808": Column(title="P808"),
    "pesq": Column(title="PESQ"),
    "stoi": Column(title="STOI"),
    "estoi": Column(title="ESTOI"),
    "mel": Column(title="mel", digits=2),
    "mcd": Column(title="MCD", digits=2),
    "f0_rmse": Column(title="F0Hz", digits=2),
    "f0_cent": Column(title="F0ct", digits=1),
    "f0_corr": Column(title="F0corr"),
    "vuv": Column(title="VUV%", scale=100, digits=2),
    "level": Column(title="dBFS", digits=1),
    "seconds": Column(title="sec", digits=2),
}
"""Columns by the name of their figure in a row's values."""

# Over the whole set, as the field reports them, and not means of each clip's rate.
RATES = {
    "wer": ("word_edits", "words"),
    "cer": ("character_edits", "characters"),
    "wer2": ("word_edits2", "words"),
    "kbps": ("kilobits", "seconds"),
}
"""Columns that are one sum over another, by the values they are made of."""

WITH_INTERVAL = ("wer", "nll", "wer2", "nll2", "margin", "margin_r")
"""Columns whose 95 % interval over speakers is printed."""


@dataclass(frozen=True, kw_only=True)
class ClipRow:
    """Scores of one clip of one system."""

    system: str
    """Which row of the table it belongs to: recordings, codec, tts."""
    id: str
    """The clip."""
    speaker: str
    """Its speaker: the unit that intervals resample."""
    values: Mapping[str, float]
    """Figures by column, and the counts behind the rates."""
    heard: str = ""
    """Transcript."""
    digest: str = ""
    """Checksum of all that the figures depend on."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One column over the rows that have it: a rate of sums, or a mean."""

    tops: tuple[float, ...]
    """Numerator of each row."""
    bottoms: tuple[float, ...]
    """Denominator of each row; 1 for a mean."""
    speakers: tuple[str, ...]
    """Speaker of each row."""

    @classmethod
    def of(cls, rows: Iterable[ClipRow], key: str) -> Figure:
        """The column ``key`` of the rows that have it, maybe of none."""
        having = [row for row in rows if key in row.values]
        top, bottom = RATES.get(key, (key, ""))
        return cls(
            tops=tuple(row.values[top] for row in having),
            bottoms=tuple(row.values[bottom] if bottom else 1.0 for row in having),
            speakers=tuple(row.speaker for row in having),
        )

    @property
    def value(self) -> float:
        """The figure of all rows."""
        return sum(self.tops) / (sum(self.bottoms) or 1.0)

    def interval(self, seed: int = 0) -> Interval:
        """Its 95 % interval over speakers."""
        return bootstrap(self.tops, self.bottoms, self.speakers, seed=seed)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Scores of one system."""

    clips: int
    """Clips behind the figures."""
    values: dict[str, float]
    """Figures by column."""
    intervals: dict[str, Interval]
    """95 % intervals of WITH_INTERVAL."""


def by_system(rows: Iterable[ClipRow]) -> dict[str, list[ClipRow]]:
    """Rows of each system, in the order of first appearance."""
    systems: dict[str, list[ClipRow]] = {}
    for row in rows:
        systems.setdefault(row.system, []).append(row)
    return systems


def summarise(rows: Iterable[ClipRow], seed: int = 0) -> dict[str, Summary]:
    """Means, corpus-level rates and intervals of each system."""
    summaries = {}
    for name, members in by_system(rows).items():
        figures = {key: Figure.of(members, key) for key in COLUMNS}
        figures = {key: figure for key, figure in figures.items() if figure.tops}
        summaries[name] = Summary(
            clips=len(members),
            values={key: figure.value for key, figure in figures.items()},
            intervals={key: figures[key].interval(seed) for key in WITH_INTERVAL if key in figures},
        )
    return summaries


def render(summary: Mapping[str, Summary]) -> str:
    """The table as text: a line a system, then the intervals; a column nobody has is left out."""
    columns = {
        key: one for key, one in COLUMNS.items() if any(key in s.values for s in summary.values())
    }
    width = max([6, *map(len, summary)])
    titles = (one.title.rjust(7) for one in columns.values())
    lines = [" ".join(["system".ljust(width), "   n", *titles])]
    for name, system in summary.items():
        cells = [
            (one.show(system.values[key]) if key in system.values else "-").rjust(7)
            for key, one in columns.items()
        ]
        lines.append(" ".join([name.ljust(width), f"{system.clips:4d}", *cells]))
    for name, system in summary.items():
        for key, interval in system.intervals.items():
            one = COLUMNS[key]
            low, high = one.show(interval.low), one.show(interval.high)
            lines.append(f"{name}: {one.title} 95 % {low} to {high}")
    return "\n".join(lines)


class Section(Protocol):
    """What every report can do: tell itself to people and to machines."""

    def text(self) -> str:
        """Lines for a terminal."""

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""


@dataclass(kw_only=True)
class Report:
    """What a suite hands back: a table, and sections below it."""

    rows: list[ClipRow]
    """Every clip."""
    summary: dict[str, Summary]
    """Every system."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What the figures depend on: models, seed, numbers of clips."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further figures of the suite, such as the share of the margin."""
    sections: dict[str, Section] = field(default_factory=dict)
    """Reports of their own that belong to it, by name; their JSON stands in `extra`."""
    notes: list[str] = field(default_factory=list)
    """What is off, and other remarks."""

    def text(self) -> str:
        """The table and, below it, further figures, section by section, and notes."""
        lines = [render(self.summary)] if self.summary else []
        lines += [f"{name}: {value}" for name, value in self.extra.items()]
        for heading, section in self.sections.items():
            lines += ["", heading, *(f"  {line}" for line in section.text().splitlines())]
        lines += ["", *(f"note: {note}" for note in self.notes)]
        return "\n".join(lines).strip("\n")

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        sections = {name: section.to_json() for name, section in self.sections.items()}
        return {
            "settings": self.settings,
            "summary": {name: asdict(one) for name, one in self.summary.items()},
            "extra": self.extra | sections,
            "notes": self.notes,
            "clips": [asdict(row) for row in self.rows],
        }

    def save(self, path: str | Path) -> None:
        """Write ``to_json`` to ``path``, whole or not at all."""
        write_text(path, json.dumps(self.to_json(), indent=1))


def load_rows(path: str | Path) -> list[ClipRow]:
    """Rows of a saved report. Raises DataError where ``path`` holds none."""
    try:
        clips = json.loads(Path(path).read_text(encoding="utf-8"))["clips"]
        return [ClipRow(**clip) for clip in clips]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a saved evaluation report: {error}") from error
