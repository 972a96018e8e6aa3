"""Long sequences in pieces that see their neighbours, so that memory does not grow with length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Span:
    """A piece of a sequence, `start` to `end`, with the context it is computed from."""

    start: int
    """First index of the piece."""

    end: int
    """One past its last index."""

    low: int
    """First index of what is looked at: `start` less the context, at least 0."""

    high: int
    """One past the last index of what is looked at, at most the sequence's length."""

    def times(self, factor: int) -> Span:
        """The same piece on a grid that is `factor` times as fine."""
        return Span(
            start=self.start * factor,
            end=self.end * factor,
            low=self.low * factor,
            high=self.high * factor,
        )

    @property
    def own(self) -> slice:
        """Where the piece lies in what is computed over `low` to `high`."""
        return slice(self.start - self.low, self.end - self.low)

    @property
    def seen(self) -> slice:
        """`low` to `high`, in the sequence."""
        return slice(self.low, self.high)


def spans(length: int, piece: int, context: int) -> Iterator[Span]:
    """Pieces of `piece` indices, the last one shorter, that cover 0 to `length` without a gap."""
    for start in range(0, length, piece):
        end = min(start + piece, length)
        yield Span(
            start=start, end=end, low=max(0, start - context), high=min(length, end + context)
        )
