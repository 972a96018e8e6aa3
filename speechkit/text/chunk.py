"""Long text in pieces short enough to synthesise one at a time: where they end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

WORD_END, CLAUSE, SENTENCE = range(3)
"""How strong a break is; pieces end at the strongest that fits."""

FIRST_CLAUSE_CHARACTERS = (8, 30)
"""Shortest and longest first clause that is spoken by itself, so that the first sound comes soon."""

FIRST_WORDS_CHARACTERS = 20
"""Longest first piece where no clause ends in time: about 1.5 s."""

SECOND_CHARACTERS = 90
"""Longest second piece: it is made while the first one plays."""


def pack(lengths: Sequence[int], breaks: Sequence[int], limit: int) -> list[slice]:
    """Runs of items, in order, whose lengths with a space between two sum to at most `limit`.

    Item i is `lengths[i]` long and followed by a break of strength `breaks[i]`. A run ends at the
    strongest breaks that fit; only an item longer than the limit makes a longer run.
    """
    return list(_pack(lengths, breaks, limit, slice(0, len(lengths)), SENTENCE))


def pack_soon(lengths: Sequence[int], breaks: Sequence[int], limit: int) -> list[slice]:
    """`pack` for somebody who waits: the first run is the first clause, the second is short."""
    runs = [_first_run(lengths, breaks, limit)]
    second = pack(lengths[runs[0].stop :], breaks[runs[0].stop :], min(SECOND_CHARACTERS, limit))
    runs += [slice(run.start + runs[0].stop, run.stop + runs[0].stop) for run in second[:1]]
    done = runs[-1].stop
    rest = pack(lengths[done:], breaks[done:], limit)
    return [*runs, *(slice(run.start + done, run.stop + done) for run in rest)]


def _first_run(lengths: Sequence[int], breaks: Sequence[int], limit: int) -> slice:
    """The first clause, where one of a good length ends in time, else a few words."""
    least, most = FIRST_CLAUSE_CHARACTERS
    characters = -1
    for index, (length, strength) in enumerate(zip(lengths, breaks, strict=True)):
        characters += length + 1
        if characters > min(most, limit):
            break
        ends = strength >= CLAUSE and characters >= least
        if ends or index == len(lengths) - 1:
            return slice(0, index + 1)
    return pack(lengths, breaks, min(FIRST_WORDS_CHARACTERS, limit))[0]


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
