"""Two systems on the same clips: their difference, with an interval over speakers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.core.errors import DataError
from speechkit.evaluate.table import COLUMNS, RATES, RESAMPLES, ClipRow, Column, Interval

LOWER_IS_BETTER = frozenset({"wer", "cer", "mel", "mcd"})
MEASURES = ("wer", "cer", "sim", "ovrl", "pesq", "stoi", "estoi", "mel", "mcd")
"""What systems are compared in."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Ours less theirs, in one measure."""

    measure: str
    """Key of the column."""
    other: str
    """The other system."""
    ours: float
    """Our figure on the clips that both have."""
    theirs: float
    """Theirs."""
    interval: Interval
    """95 % interval of the difference: whole speakers are drawn, the same for both."""

    @property
    def value(self) -> float:
        """Ours less theirs."""
        return self.ours - self.theirs

    @property
    def better(self) -> bool:
        """Whether our figure is the better one."""
        return self.value < 0 if self.measure in LOWER_IS_BETTER else self.value > 0

    @property
    def sure(self) -> bool:
        """Whether the interval leaves no doubt who is better."""
        return self.interval.low > 0 or self.interval.high < 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"value": self.value, "better": self.better, "sure": self.sure}


def paired_difference(
    rows: Sequence[ClipRow], ours: str, theirs: str, measure: str, seed: int = 0
) -> Difference | None:
    """The difference over the clips that both systems have `measure` of; None where none is.

    With one speaker only, clips are drawn in place of speakers.
    """
    first, second = (
        {row.id: row for row in rows if row.system == system and measure in row.values}
        for system in (ours, theirs)
    )
    shared = [name for name in first if name in second]
    if not shared:
        return None
    speakers = [first[name].speaker for name in shared]
    if len(set(speakers)) == 1:
        speakers = shared
    names = sorted(set(speakers))
    member = np.array([names.index(speaker) for speaker in speakers])
    drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
    whole = np.arange(len(names))[None]
    figures = [
        _Sums(table=[table[name] for name in shared], member=member, measure=measure)
        for table in (first, second)
    ]
    apart = figures[0].rate(drawn) - figures[1].rate(drawn)
    low, high = np.percentile(apart, [2.5, 97.5])
    return Difference(
        measure=measure,
        other=theirs,
        ours=float(figures[0].rate(whole)[0]),
        theirs=float(figures[1].rate(whole)[0]),
        interval=Interval(low=float(low), high=float(high)),
    )


class _Sums:
    """Numerators and denominators of one system's figure, summed for each speaker."""

    def __init__(self, *, table: list[ClipRow], member: NDArray[np.int64], measure: str) -> None:
        if measure in RATES:
            above, below = RATES[measure]
            top = [row.values[above] for row in table]
            bottom = [row.values[below] for row in table]
        else:
            top, bottom = [row.values[measure] for row in table], [1.0] * len(table)
        self._top = np.bincount(member, weights=np.asarray(top, np.float64))
        self._bottom = np.bincount(member, weights=np.asarray(bottom, np.float64))

    def rate(self, drawn: NDArray[np.int64]) -> NDArray[np.float64]:
        """The figure for each draw of speakers."""
        figure: NDArray[np.float64] = self._top[drawn].sum(1) / np.maximum(
            self._bottom[drawn].sum(1), 1e-9
        )
        return figure


def all_differences(rows: Sequence[ClipRow], ours: str, others: Sequence[str]) -> list[Difference]:
    """Every measure beside every other system, as far as both have it."""
    found = (paired_difference(rows, ours, other, m) for other in others for m in MEASURES)
    return [one for one in found if one is not None]


def column_of(measure: str) -> Column:
    """How a measure is printed. Raises DataError for an unknown one."""
    for column in COLUMNS:
        if column.key == measure:
            return column
    raise DataError(f"There is no measure {measure!r} in the table.")


def difference_lines(differences: Sequence[Difference]) -> list[str]:
    """A line a system: ours less theirs, with `+` or `-` where it is surely better or worse."""
    lines = []
    for other in dict.fromkeys(one.other for one in differences):
        cells = []
        for one in (d for d in differences if d.other == other):
            column = column_of(one.measure)
            low, high = (column.scale * x for x in (one.interval.low, one.interval.high))
            sign = ("better" if one.better else "worse") if one.sure else "open"
            cells.append(
                f"{column.title} {column.scale * one.value:+.{column.digits}f} "
                f"({low:+.{column.digits}f} to {high:+.{column.digits}f}, {sign})"
            )
        lines.append(f"codec less {other}: " + "; ".join(cells))
    return lines
