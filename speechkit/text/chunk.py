"""Long text in pieces short enough to synthesise one at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from speechkit.core.errors import TextError

WORD_END, CLAUSE, SENTENCE = range(3)
"""How strong a break is; pieces end at the strongest that fits."""

_WORD = re.compile(r"(?:\[\[[^\[\]]*\]\]|\S)+")
_INLINE = re.compile(r"\[\[[^\[\]]*\]\]")
_SENTENCE_END = re.compile(r"[.!?\u2026][\"')\]}\u2019\u201d]*$")
_CLAUSE_END = re.compile(r"[,;:\u2014\u2013)\]][\"')\]}\u2019\u201d]*$|^-+$")
_ABBREVIATION = re.compile(
    r"^[\"'(\[]*(?:[A-Z]|Mrs?|Ms|Dr|Prof|St|Rev|Gen|Col|Capt|Lt|Sgt|Gov|Sen|Rep|No|Mt|Ft|vs|e\.g|"
    r"i\.e)\.$"
)


def pack(lengths: Sequence[int], breaks: Sequence[int], limit: int) -> list[slice]:
    """Runs of items, in order, whose lengths with a space between two sum to at most `limit`.

    Item i is `lengths[i]` long and followed by a break of strength `breaks[i]`. A run ends at the
    strongest breaks that fit; only an item longer than the limit makes a longer run.
    """
    return list(_pack(lengths, breaks, limit, slice(0, len(lengths)), SENTENCE))


def chunk(text: str, max_chars: int) -> tuple[str, ...]:
    """The text in pieces of at most `max_chars` characters, in order, no word lost.

    Pieces end at sentence ends where they can, else at clause marks, else between words. Only a
    word longer than `max_chars` is cut; inline phones `[[...]]` are never cut and may be longer.
    Spaces between words become single. Raises TextError when `max_chars` is below 1.
    """
    if max_chars < 1:
        raise TextError("Chunks of text need room for at least one character: raise max_chars.")
    words = [piece for word in _WORD.findall(text) for piece in _cut(word, max_chars)]
    runs = pack([len(word) for word in words], [_break_after(word) for word in words], max_chars)
    return tuple(" ".join(words[run]) for run in runs)


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


def _break_after(word: str) -> int:
    """How strong a break the end of the word is."""
    if _SENTENCE_END.search(word[-8:]) and not _ABBREVIATION.match(word):
        return SENTENCE
    return CLAUSE if _CLAUSE_END.search(word[-8:]) else WORD_END


def _cut(word: str, max_chars: int) -> Iterator[str]:
    """The word, in pieces when it is too long; inline phones in it stay whole."""
    if len(word) <= max_chars:
        yield word
        return
    start = 0
    for inline in [*_INLINE.finditer(word), None]:
        end = inline.start() if inline else len(word)
        yield from (word[at : min(at + max_chars, end)] for at in range(start, end, max_chars))
        if inline:
            yield inline.group()
            start = inline.end()
