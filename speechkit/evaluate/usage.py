"""How much of each code book a codec uses.

K code books, F frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.facodec import quantizer


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
    clips = [codes_KF.cpu().long() for codes_KF in codes]
    for codes_KF in clips:
        if codes_KF.ndim != 2 or codes_KF.shape[0] != len(entries):
            raise DataError(
                f"Codes of shape {tuple(codes_KF.shape)} do not fit {len(entries)} code books: "
                "give one row for each book."
            )
        for k, size in enumerate(entries):
            if codes_KF.shape[1] and int(codes_KF[k].max()) >= size:
                raise DataError(
                    f"Book {k} holds a code of {int(codes_KF[k].max())} but has {size} entries: "
                    "give the sizes of this codec's books."
                )
    return tuple(_usage(k, size, clips) for k, size in enumerate(entries))


def _usage(book: int, entries: int, clips: Sequence[Tensor]) -> BookUsage:
    """Statistics of one book."""
    codes_N = torch.cat([codes_KF[book] for codes_KF in clips])
    (use,) = quantizer.code_usage(codes_N[None], entries)
    return BookUsage(
        book=book,
        entries=entries,
        used=round(use["used"] * entries),
        perplexity=use["perplexity"],
    )
