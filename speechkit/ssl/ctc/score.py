"""Word and letter error rates of a corpus, with the interval that its speakers allow.

Errors are counted on a shortest edit path (Levenshtein 1966). The interval is the bootstrap of
Bisani and Ney (2004): speakers, or sentences, are drawn with replacement and the rate is taken
anew; sentences of one speaker are not independent, so speakers are the honest choice.

Shapes: N reference tokens, M hypothesis tokens, G groups, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from speechkit.core.errors import DataError
from speechkit.core.rng import generator

RESAMPLES = 2000
"""Draws of the bootstrap; the ends of the interval then move by about a hundredth of it."""


@dataclass(frozen=True, kw_only=True)
class Edits:
    """What a shortest edit path from reference to hypothesis does."""

    hits: int
    substitutions: int
    insertions: int
    deletions: int

    @property
    def errors(self) -> int:
        """Return the edit distance."""
        return self.substitutions + self.insertions + self.deletions

    @property
    def reference_tokens(self) -> int:
        """Return the length of the reference."""
        return self.hits + self.substitutions + self.deletions

    def __add__(self, other: Edits) -> Edits:
        """Return the sum of two counts."""
        return Edits(
            hits=self.hits + other.hits,
            substitutions=self.substitutions + other.substitutions,
            insertions=self.insertions + other.insertions,
            deletions=self.deletions + other.deletions,
        )


NO_EDITS = Edits(hits=0, substitutions=0, insertions=0, deletions=0)


@dataclass(frozen=True, kw_only=True)
class ErrorRate:
    """A rate over a corpus, as shares of the reference (more than 1 is possible)."""

    rate: float
    low: float
    """Lower end of the 95 % bootstrap interval."""
    high: float
    """Upper end."""
    edits: Edits
    """Sums over the corpus."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """How well a corpus was recognised."""

    words: ErrorRate
    """WER."""
    letters: ErrorRate
    """CER; spaces between words count as letters, as in jiwer."""
    sentences: int
    """Sentences scored."""
    sentences_right: int
    """Those without any error."""
    groups: int
    """What the bootstrap drew from: speakers, or sentences where none are given."""

    def table(self) -> str:
        """Return a table for a terminal."""
        head = f"{'':8}{'%':>7}{'95 % interval':>16}{'sub':>7}{'ins':>7}{'del':>7}{'of':>8}"
        rows = [_row("WER", self.words), _row("CER", self.letters)]
        foot = f"{self.sentences_right} of {self.sentences} sentences without an error"
        return "\n".join([head, *rows, f"{foot}; interval over {self.groups} groups"])

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def _row(name: str, rate: ErrorRate) -> str:
    interval = f"{100 * rate.low:.1f} to {100 * rate.high:.1f}"
    edits = rate.edits
    counts = (edits.substitutions, edits.insertions, edits.deletions)
    columns = "".join(f"{count:>7}" for count in counts)
    return f"{name:8}{100 * rate.rate:>7.2f}{interval:>16}{columns}{edits.reference_tokens:>8}"


def edits(reference: Sequence[str], hypothesis: Sequence[str]) -> Edits:
    """Return the edits of one shortest path that turns the reference into the hypothesis."""
    index: dict[str, int] = {}
    reference_N, hypothesis_M = (
        np.array([index.setdefault(token, len(index)) for token in tokens], dtype=np.int64)
        for tokens in (reference, hypothesis)
    )
    cost = _distances(reference_N, hypothesis_M)
    row, column = len(reference), len(hypothesis)
    hits = substitutions = insertions = deletions = 0
    while row or column:
        here = cost[row, column]
        equal = row and column and reference_N[row - 1] == hypothesis_M[column - 1]
        if equal and here == cost[row - 1, column - 1]:
            hits, row, column = hits + 1, row - 1, column - 1
        elif row and column and here == cost[row - 1, column - 1] + 1:
            substitutions, row, column = substitutions + 1, row - 1, column - 1
        elif row and here == cost[row - 1, column] + 1:
            deletions, row = deletions + 1, row - 1
        else:
            insertions, column = insertions + 1, column - 1
    return Edits(hits=hits, substitutions=substitutions, insertions=insertions, deletions=deletions)


def _distances(
    reference_N: npt.NDArray[np.int64], hypothesis_M: npt.NDArray[np.int64]
) -> npt.NDArray[np.int32]:
    """Return the edit distance of every prefix to every prefix, [N + 1, M + 1]."""
    steps = np.arange(len(hypothesis_M) + 1, dtype=np.int32)
    cost = np.empty((len(reference_N) + 1, len(steps)), dtype=np.int32)
    cost[0] = steps
    for row, token in enumerate(reference_N, start=1):
        best = cost[row - 1] + 1
        np.minimum(best[1:], cost[row - 1, :-1] + (hypothesis_M != token), out=best[1:])
        # An insertion costs 1 a column: a running minimum of what is left without that slope.
        cost[row] = np.minimum.accumulate(best - steps) + steps
    return cost


def score(
    references: Sequence[str],
    hypotheses: Sequence[str],
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> Score:
    """Return the error rates of hypotheses, texts already normalised, in the references' order.

    Raises DataError for lists of different lengths and for references without a word.
    """
    if len(references) != len(hypotheses) or (groups and len(groups) != len(references)):
        raise DataError(
            f"There are {len(hypotheses)} hypotheses for {len(references)} references: score the "
            "same clips in the same order."
        )
    words = [edits(r.split(), h.split()) for r, h in zip(references, hypotheses, strict=True)]
    if not any(edit.reference_tokens for edit in words):
        raise DataError("The references hold no words, so there is no error rate.")
    letters = [
        edits(" ".join(r.split()), " ".join(h.split()))
        for r, h in zip(references, hypotheses, strict=True)
    ]
    names = [str(number) for number in range(len(references))] if groups is None else groups
    return Score(
        words=_rate(words, names, seed),
        letters=_rate(letters, names, seed),
        sentences=len(references),
        sentences_right=sum(edit.errors == 0 for edit in words),
        groups=len(set(names)),
    )


def _rate(sentences: Sequence[Edits], groups: Sequence[str], seed: int) -> ErrorRate:
    """Return the rate over all sentences, with groups drawn for the interval."""
    sums: dict[str, Edits] = {}
    for group, edit in zip(groups, sentences, strict=True):
        sums[group] = sums.get(group, NO_EDITS) + edit
    total = sum(sums.values(), NO_EDITS)
    errors_G = np.array([edit.errors for edit in sums.values()], dtype=np.float64)
    lengths_G = np.array([edit.reference_tokens for edit in sums.values()], dtype=np.float64)
    drawn_RG = torch.randint(len(sums), (RESAMPLES, len(sums)), generator=generator(seed)).numpy()
    lengths_R = lengths_G[drawn_RG].sum(axis=1)
    rates_R = errors_G[drawn_RG].sum(axis=1)[lengths_R > 0] / lengths_R[lengths_R > 0]
    low, high = np.quantile(rates_R, (0.025, 0.975))
    rate = total.errors / total.reference_tokens
    return ErrorRate(rate=rate, low=float(low), high=float(high), edits=total)
