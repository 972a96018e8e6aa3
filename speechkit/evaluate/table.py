"""Rows of scores, their summary with confidence intervals, and the table printed from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speechkit.core.errors import DataError
from speechkit.core.files import write_atomically

RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Column:
    """One figure of the table."""

    key: str
    """Name in a row's values."""
    title: str
    """Heading."""
    scale: float = 1.0
    """Factor for print (100 for per cent)."""
    digits: int = 3
    """Digits after the point."""


COLUMNS = (
    Column(key="kbps", title="kb/s", digits=2),
    Column(key="wer", title="WER%", scale=100, digits=2),
    Column(key="cer", title="CER%", scale=100, digits=2),
    Column(key="sim", title="SIM"),
    Column(key="sim_wrong", title="wrong"),
    Column(key="margin", title="margin"),
    Column(key="sim_r", title="SIM-R"),
    Column(key="ovrl", title="OVRL"),
    Column(key="sig", title="SIG"),
    Column(key="bak", title="BAK"),
    Column(key="p808", title="P808"),
    Column(key="pesq", title="PESQ"),
    Column(key="stoi", title="STOI"),
    Column(key="estoi", title="ESTOI"),
    Column(key="mel", title="mel", digits=2),
    Column(key="mcd", title="MCD", digits=2),
    Column(key="f0_rmse", title="F0Hz", digits=2),
    Column(key="f0_cent", title="F0ct", digits=1),
    Column(key="f0_corr", title="F0corr"),
    Column(key="vuv", title="VUV%", scale=100, digits=2),
    Column(key="seconds", title="sec", digits=2),
)

# Over the whole set, as the field reports them, and not means of each clip's rate.
RATES = {
    "wer": ("word_edits", "words"),
    "cer": ("character_edits", "characters"),
    "kbps": ("kilobits", "seconds"),
}
"""Columns that are one sum over another, by the values they are made of."""


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
    """Figures by column key, and the counts behind the rates."""
    heard: str = ""
    """Transcript."""
    digest: str = ""
    """Checksum of all that the figures depend on."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    """2.5th percentile."""
    high: float
    """97.5th percentile."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Scores of one system."""

    clips: int
    """Clips behind the figures."""
    values: dict[str, float]
    """Figures by column key."""
    intervals: dict[str, Interval]
    """95 % intervals of WER and margin."""


def bootstrap(
    numerators: Sequence[float],
    denominators: Sequence[float],
    groups: Sequence[str],
    seed: int = 0,
) -> Interval:
    """95 % interval of sum(numerators) / sum(denominators) by the percentile bootstrap.

    Whole groups are drawn with replacement (clips of one speaker are not independent); with one
    group only, its clips are. Efron and Tibshirani 1993, chapter 13. Raises DataError when empty.
    """
    if not len(numerators) == len(denominators) == len(groups) or not numerators:
        raise DataError("An interval wants as many groups as figures, and at least one.")
    names = sorted(set(groups))
    place = {name: i for i, name in enumerate(names)}
    member = np.array([place[name] for name in groups])
    if len(names) == 1:
        member = np.arange(len(groups))
    top = np.bincount(member, weights=np.asarray(numerators, np.float64))
    bottom = np.bincount(member, weights=np.asarray(denominators, np.float64))
    drawn = np.random.default_rng(seed).integers(len(top), size=(RESAMPLES, len(top)))
    figures = top[drawn].sum(1) / np.maximum(bottom[drawn].sum(1), 1e-9)
    low, high = np.percentile(figures, [2.5, 97.5])
    return Interval(low=float(low), high=float(high))


def summarise(rows: Iterable[ClipRow], seed: int = 0) -> dict[str, Summary]:
    """Summary of each system, in the order of first appearance."""
    systems: dict[str, list[ClipRow]] = {}
    for row in rows:
        systems.setdefault(row.system, []).append(row)
    return {name: _summary(members, seed) for name, members in systems.items()}


def _summary(rows: Sequence[ClipRow], seed: int) -> Summary:
    """Means, corpus-level rates and intervals of one system."""
    values: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    for column in COLUMNS:
        having = [row for row in rows if column.key in row.values]
        if not having:
            continue
        if column.key in RATES:
            above, below = RATES[column.key]
            top = [row.values[above] for row in having]
            bottom = [row.values[below] for row in having]
        else:
            top = [row.values[column.key] for row in having]
            bottom = [1.0] * len(having)
        values[column.key] = sum(top) / max(1.0, sum(bottom))
        if column.key in ("wer", "margin"):
            speakers = [row.speaker for row in having]
            intervals[column.key] = bootstrap(top, bottom, speakers, seed)
    return Summary(clips=len(rows), values=values, intervals=intervals)


def render(summary: Mapping[str, Summary]) -> str:
    """The table as text: a line a system, then the intervals; a column nobody has is left out."""
    columns = [c for c in COLUMNS if any(c.key in s.values for s in summary.values())]
    width = max([6, *map(len, summary)])
    lines = [" ".join(["system".ljust(width), "   n", *(c.title.rjust(7) for c in columns)])]
    for name, one in summary.items():
        cells = [
            f"{one.values[c.key] * c.scale:7.{c.digits}f}" if c.key in one.values else "      -"
            for c in columns
        ]
        lines.append(" ".join([name.ljust(width), f"{one.clips:4d}", *cells]))
    for name, one in summary.items():
        for c in columns:
            if (interval := one.intervals.get(c.key)) is not None:
                low, high = interval.low * c.scale, interval.high * c.scale
                lines.append(f"{name}: {c.title} 95 % {low:.{c.digits}f} to {high:.{c.digits}f}")
    return "\n".join(lines)


@dataclass(kw_only=True)
class Report:
    """What a suite hands back."""

    rows: list[ClipRow]
    """Every clip."""
    summary: dict[str, Summary]
    """Every system."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What the figures depend on: models, seed, numbers of clips."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further figures of the suite, such as code usage."""
    notes: list[str] = field(default_factory=list)
    """What is off, and other remarks."""

    def text(self) -> str:
        """The table and, below it, further figures and notes."""
        lines = [render(self.summary)]
        lines += [f"{name}: {value}" for name, value in self.extra.items()]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        return {
            "settings": self.settings,
            "summary": {name: asdict(one) for name, one in self.summary.items()},
            "extra": self.extra,
            "notes": self.notes,
            "clips": [asdict(row) for row in self.rows],
        }

    def save(self, path: str | Path) -> None:
        """Write ``to_json`` to ``path``, whole or not at all."""
        text = json.dumps(self.to_json(), indent=1)
        write_atomically(path, lambda temporary: _write_text(temporary, text))


def _write_text(path: Path, text: str) -> None:
    """Write UTF-8."""
    path.write_text(text, encoding="utf-8")


def load_rows(path: str | Path) -> list[ClipRow]:
    """Rows of a saved report. Raises DataError where ``path`` holds none."""
    try:
        clips = json.loads(Path(path).read_text(encoding="utf-8"))["clips"]
        return [ClipRow(**clip) for clip in clips]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a saved evaluation report: {error}") from error
