"""Long text in pieces short enough to synthesise one at a time: where they end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

WORD_END, CLAUSE, SENTENCE = range(3)
"""How strong a break is; pieces end at the strongest that fits."""

SOON_CHARACTERS = (90, 120)
"""Longest first pieces for somebody who waits: each is made while the one before it plays, and
before the very first sound the lengths of all phones of the first piece are drawn."""


def pack(lengths: Sequence[int], breaks: Sequence[int], limit: int) -> list[slice]:
    """Runs of items, in order, whose lengths with a space between two sum to at most `limit`.

    Item i is `lengths[i]` long and followed by a break of strength `breaks[i]`. A run ends at the
    strongest breaks that fit; only an item longer than the limit makes a longer run.
    """
    return list(_pack(lengths, breaks, limit, slice(0, len(lengths)), SENTENCE))


def pack_soon(lengths: Sequence[int], breaks: Sequence[int], limit: int) -> list[slice]:
    """`pack` for somebody who waits: the first runs are shorter."""
    runs: list[slice] = []
    done = 0
    for most in (*SOON_CHARACTERS, limit):
        rest = pack(lengths[done:], breaks[done:], min(most, limit))
        if most < limit:
            rest = rest[:1]
        runs += [slice(run.start + done, run.stop + done) for run in rest]
        done = runs[-1].stop if runs else 0
    return runs


def _pack(
    lengths: Sequence[int], breaks: Sequence[int], limit: int, within: slice, strength: int
) -> Iterator[slice]:
    """Runs filled with whole segments that end at breaks of the strength or more.

    A segment too long for a run of its own is packed at the next weaker breaks.
    """
    start, length = within.start, 0
    for segment in _segments(breaks, within, strength):
        needed = sum(lengths[segment]) + segment.stop - segment.start - 1
        if start < segment.start and length + 1 + needed > limit:
            yield slice(start, segment.start)
            start, length = segment.start, 0
        if needed > limit and strength > WORD_END:
            yield from _pack(lengths, breaks, limit, segment, strength - 1)
            start, length = segment.stop, 0
        else:
            length += needed + (1 if start < segment.start else 0)
    if start < within.stop:
        yield slice(start, within.stop)


def _segments(breaks: Sequence[int], within: slice, strength: int) -> Iterator[slice]:
    """The items in runs, each but the last ending at a break of the strength or more."""
    start = within.start
    for index in range(within.start, within.stop):
        if breaks[index] >= strength:
            yield slice(start, index + 1)
            start = index + 1
    if start < within.stop:
        yield slice(start, within.stop)
