"""Figures that several parts report: edits between token sequences, and intervals over speakers.

Legend: N tokens or clips, M hypothesis tokens, G groups, R draws.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechkit.core.errors import DataError

RESAMPLES = 2000
"""Draws of the bootstrap; the ends of the interval then move by about a hundredth of it."""


@dataclass(frozen=True, kw_only=True)
class Edits:
    """What a shortest edit path from a reference to a hypothesis does (Levenshtein 1966)."""

    hits: int
    """Tokens that agree."""
    substitutions: int
    """Tokens that were taken for others."""
    insertions: int
    """Tokens of the hypothesis alone."""
    deletions: int
    """Tokens of the reference alone."""

    @property
    def errors(self) -> int:
        """The edit distance."""
        return self.substitutions + self.insertions + self.deletions

    @property
    def reference_tokens(self) -> int:
        """Length of the reference."""
        return self.hits + self.substitutions + self.deletions

    def __add__(self, other: Edits) -> Edits:
        """The sum of two counts."""
        return Edits(
            hits=self.hits + other.hits,
            substitutions=self.substitutions + other.substitutions,
            insertions=self.insertions + other.insertions,
            deletions=self.deletions + other.deletions,
        )


def edits(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> Edits:
    """Count the edits of one shortest path that turns the reference into the hypothesis.

    Example: ``edits("the cat sat".split(), "the hat sat down".split())`` has one substitution and
    one insertion. A string is a sequence of its characters.
    """
    index: dict[Hashable, int] = {}
    reference_N, hypothesis_M = (
        np.array([index.setdefault(token, len(index)) for token in tokens], dtype=np.int64)
        for tokens in (reference, hypothesis)
    )
    slope = np.arange(len(hypothesis) + 1)
    cost = np.empty((len(reference) + 1, len(slope)), dtype=np.int64)
    cost[0] = slope
    for row, token in enumerate(reference_N, start=1):
        best = cost[row - 1] + 1
        np.minimum(best[1:], cost[row - 1, :-1] + (hypothesis_M != token), out=best[1:])
        # An insertion costs 1 a column: a running minimum of what is left without that slope.
        cost[row] = np.minimum.accumulate(best - slope) + slope
    row, column = len(reference), len(hypothesis)
    hits = substitutions = insertions = deletions = 0
    while row or column:
        here = cost[row, column]
        same = row and column and reference_N[row - 1] == hypothesis_M[column - 1]
        if row and column and here == cost[row - 1, column - 1] + (not same):
            hits, substitutions = hits + bool(same), substitutions + (not same)
            row, column = row - 1, column - 1
        elif row and here == cost[row - 1, column] + 1:
            deletions, row = deletions + 1, row - 1
        else:
            insertions, column = insertions + 1, column - 1
    return Edits(hits=hits, substitutions=substitutions, insertions=insertions, deletions=deletions)


def edit_distance(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> int:
    """Fewest substitutions, deletions and insertions between two sequences."""
    return edits(reference, hypothesis).errors


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    """2.5th percentile."""
    high: float
    """97.5th percentile."""


def bootstrap(
    numerators: ArrayLike,
    denominators: ArrayLike,
    groups: Sequence[str],
    *,
    minus: tuple[ArrayLike, ArrayLike] | None = None,
    seed: int = 0,
) -> Interval:
    """95 % interval of sum(numerators) / sum(denominators) by the percentile bootstrap.

    ``groups`` names the speaker of each clip: whole speakers are drawn with replacement, since
    clips of one speaker are not independent (Bisani and Ney 2004); with one speaker only, clips
    are drawn. With ``minus``, numerators and denominators of a second system on the same clips, it
    is the interval of the paired difference of both rates: both get the same draws. A mean is a
    rate whose denominators are 1. Raises DataError when empty.
    """
    member_N = np.unique(np.asarray(groups), return_inverse=True)[1]
    if len(member_N) and member_N.max() == 0:
        member_N = np.arange(len(member_N))

    def sums(values: ArrayLike) -> NDArray[np.float64]:
        value_N = np.asarray(values, np.float64)
        if value_N.shape != member_N.shape or not len(value_N):
            raise DataError("An interval wants as many groups as figures, and at least one.")
        sums_G: NDArray[np.float64] = np.bincount(member_N, value_N).astype(np.float64)
        return sums_G

    tops_G, bottoms_G = sums(numerators), sums(denominators)
    drawn_RG = np.random.default_rng(seed).integers(len(tops_G), size=(RESAMPLES, len(tops_G)))
    rate_R = tops_G[drawn_RG].sum(1) / np.maximum(bottoms_G[drawn_RG].sum(1), 1e-9)
    if minus is not None:
        tops_G, bottoms_G = sums(minus[0]), sums(minus[1])
        rate_R = rate_R - tops_G[drawn_RG].sum(1) / np.maximum(bottoms_G[drawn_RG].sum(1), 1e-9)
    low, high = np.percentile(rate_R, [2.5, 97.5])
    return Interval(low=float(low), high=float(high))
