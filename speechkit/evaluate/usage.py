"""How much of each code book a codec uses.

K code books, F frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from speechkit.core.errors import DataError


@dataclass(frozen=True, kw_only=True)
class BookUsage:
    """Use of one code book over a set of clips."""

    book: int
    """Position of the book."""
    entries: int
    """Entries the book has."""
    used: int
    """Entries seen at least once."""
    perplexity: float
    """Exponential of the entropy: how many equally likely entries it amounts to."""

    @property
    def used_share(self) -> float:
        """Entries seen, as a share of all."""
        return self.used / self.entries


def code_usage(codes: Iterable[Tensor], entries: Sequence[int]) -> tuple[BookUsage, ...]:
    """Use of each book over clips of codes_KF; ``entries`` has the size of each of the K books.

    Raises DataError where a clip has another number of books, or a code lies outside its book.
    """
    counts = [np.zeros(size, np.int64) for size in entries]
    for codes_KF in codes:
        if codes_KF.ndim != 2 or codes_KF.shape[0] != len(counts):
            raise DataError(
                f"Codes of shape {tuple(codes_KF.shape)} do not fit {len(counts)} code books: "
                "give one row for each book."
            )
        for k, count in enumerate(counts):
            seen = torch.bincount(codes_KF[k].cpu().long(), minlength=len(count)).numpy()
            if len(seen) > len(count):
                raise DataError(
                    f"Book {k} holds a code of {len(seen) - 1} but has {len(count)} entries: "
                    "give the sizes of this codec's books."
                )
            count += seen
    return tuple(_usage(k, count) for k, count in enumerate(counts))


def _usage(book: int, count_V: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> BookUsage:
    """Statistics of one book from the count of each of its entries."""
    seen = count_V[count_V > 0]
    share = seen / max(1, seen.sum())
    entropy = -float(np.sum(share * np.log(share)))
    return BookUsage(
        book=book, entries=len(count_V), used=len(seen), perplexity=float(np.exp(entropy))
    )
