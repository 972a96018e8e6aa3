"""Predictions of the next code from those before it, learnt while coding or from a corpus.

A code is predicted from how often it came at all (order 0), after the last code of its book, and
beside the code of the book below in the same frame (order 1). Counts of a context are backed off
to order 0 by adding `BACKOFF` times its distribution (Witten and Bell 1991; MacKay and Peto 1995),
so nothing is impossible. The three are mixed by weights that move to whichever predicted best, one
set of weights for each familiarity of the two contexts. Encoder and decoder do the same arithmetic.

Legend: V entries, F frames, K code books, N codes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Counts = NDArray[np.float64]

Context = tuple[int, int]
"""The last code of the book, and the code of the book below in this frame; -1 for none."""

BACKOFF = 100.0
"""Imaginary observations in every context: of order 0, and in order 0 of an even use."""
FORGET = 0.01
"""How fast the mixing weights forget."""


class _Table:
    """Counts of the codes that came in each context."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._rows: dict[int, Counts] = {}
        self._totals: dict[int, float] = {}

    def seen(self, context: int) -> int:
        """How often the context came, as a power of two."""
        return int(self._totals.get(context, 0)).bit_length()

    def chance(self, context: int, code: int, base: float) -> float:
        """Chance of a code after a context; `base` is its chance at order 0."""
        row_V = self._rows.get(context)
        if row_V is None:
            return base
        return float((row_V[code] + BACKOFF * base) / (self._totals[context] + BACKOFF))

    def chances(self, context: int, base_V: Counts) -> Counts:
        """`chance` of every code."""
        row_V = self._rows.get(context)
        if row_V is None:
            return base_V
        mixed_V: Counts = (row_V + BACKOFF * base_V) / (self._totals[context] + BACKOFF)
        return mixed_V

    def add(self, context: int, code: int, count: float = 1.0) -> None:
        """Take note of a code."""
        if context not in self._rows:
            self._rows[context] = np.zeros(self._entries)
        self._rows[context][code] += count
        self._totals[context] = self._totals.get(context, 0.0) + count

    def add_all(self, context_N: NDArray[np.int64], code_N: NDArray[np.int64]) -> None:
        """Take note of many codes."""
        pairs, counts = np.unique((context_N + 1) * self._entries + code_N, return_counts=True)
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
            context, code = divmod(pair, self._entries)
            self.add(context - 1, code, count)


class BookModel:
    """Predicts the codes of one book."""

    def __init__(self, entries: int, *, order: int, has_lower: bool) -> None:
        """`order` is 0 or 1; `has_lower` says whether there is a book below."""
        self.entries = entries
        self.adaptive = True
        self._all = _Table(entries)
        self._tables = [_Table(entries) for _ in range(order * (1 + has_lower))]
        self._weights: dict[tuple[int, ...], list[float]] = {}

    def train(self, books: Sequence[tuple[NDArray[np.int64], NDArray[np.int64] | None]]) -> None:
        """Count clips of (codes of this book, codes of the book below) `[F]`; then stop learning.

        The mixing weights go on learning: they are few and cost nothing to send.
        """
        for own_F, lower_F in books:
            self._all.add_all(np.zeros_like(own_F), own_F)
            for table, context_F in zip(self._tables, (_previous(own_F), lower_F), strict=False):
                if context_F is not None:
                    table.add_all(context_F, own_F)
        self.adaptive = False

    def chance(self, code: int, context: Context) -> float:
        """Probability of a code; as in `chances`, but for the one code and so much faster."""
        experts = self._experts(code, context)
        weights = self._weight(context)
        return sum(weight * expert for weight, expert in zip(weights, experts, strict=True))

    def chances(self, context: Context) -> Counts:
        """`probability_V` of the next code."""
        base_V = self._all.chances(0, np.full(self.entries, 1 / self.entries))
        experts = [
            base_V,
            *(t.chances(c, base_V) for t, c in zip(self._tables, context, strict=False)),
        ]
        weights = self._weight(context)
        mixed_V: Counts = sum(
            (weight * expert_V for weight, expert_V in zip(weights, experts, strict=True)),
            np.zeros(self.entries),
        )
        return mixed_V

    def learn(self, code: int, context: Context) -> None:
        """Take note of the code that came."""
        experts = self._experts(code, context)
        products = [w * e for w, e in zip(self._weight(context), experts, strict=True)]
        total = sum(products)
        even = FORGET / len(products)
        self._weights[self._familiarity(context)] = [
            (1 - FORGET) * product / total + even for product in products
        ]
        if self.adaptive:
            self._all.add(0, code)
            for table, one in zip(self._tables, context, strict=False):
                table.add(one, code)

    def _experts(self, code: int, context: Context) -> list[float]:
        base = self._all.chance(0, code, 1 / self.entries)
        return [
            base,
            *(t.chance(c, code, base) for t, c in zip(self._tables, context, strict=False)),
        ]

    def _weight(self, context: Context) -> list[float]:
        experts = 1 + len(self._tables)
        return self._weights.get(self._familiarity(context), [1 / experts] * experts)

    def _familiarity(self, context: Context) -> tuple[int, ...]:
        return tuple(t.seen(c) for t, c in zip(self._tables, context, strict=False))


def _previous(own_F: NDArray[np.int64]) -> NDArray[np.int64]:
    """The code before each."""
    return np.concatenate([[-1], own_F[:-1]]).astype(np.int64)


def build_models(entries: Sequence[int], order: int) -> list[BookModel]:
    """A fresh model for each book, in the order of the books."""
    return [BookModel(size, order=order, has_lower=k > 0) for k, size in enumerate(entries)]


def train_models(models: Sequence[BookModel], clips: Sequence[Tensor]) -> None:
    """Count the codes `[K, F]` of training clips."""
    arrays = [codes_KF.numpy().astype(np.int64) for codes_KF in clips if codes_KF.shape[1]]
    for k, model in enumerate(models):
        model.train([(codes[k], codes[k - 1] if k else None) for codes in arrays])
