"""Long text in pieces short enough to synthesise one at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from speechkit.core.errors import TextError

_WORD = re.compile(r"(?:\[\[[^\[\]]*\]\]|\S)+")
_INLINE = re.compile(r"\[\[[^\[\]]*\]\]")
_SENTENCE_END = re.compile(r"[.!?\u2026][\"')\]}\u2019\u201d]*$")
_CLAUSE_END = re.compile(r"[,;:\u2014\u2013)\]][\"')\]}\u2019\u201d]*$|^-+$")
_ABBREVIATION = re.compile(
    r"^[\"'(\[]*(?:[A-Z]|Mrs?|Ms|Dr|Prof|St|Rev|Gen|Col|Capt|Lt|Sgt|Gov|Sen|Rep|No|Mt|Ft|vs|e\.g|"
    r"i\.e)\.$"
)
_WORD_END, _CLAUSE, _SENTENCE = range(3)


def chunk(text: str, max_chars: int) -> tuple[str, ...]:
    """The text in pieces of at most `max_chars` characters, in order, no word lost.

    Pieces end at sentence ends where they can, else at clause marks, else between words. Only a
    word longer than `max_chars` is cut; inline phones `[[...]]` are never cut and may be longer.
    Spaces between words become single. Raises TextError when `max_chars` is below 1.
    """
    if max_chars < 1:
        raise TextError("Chunks of text need room for at least one character: raise max_chars.")
    words = [piece for word in _WORD.findall(text) for piece in _cut(word, max_chars)]
    return tuple(_pack(words, max_chars, _SENTENCE))


def _pack(words: Sequence[str], max_chars: int, strength: int) -> Iterator[str]:
    """Pieces filled with whole segments that end at breaks of the strength or more.

    A segment too long for a piece of its own is packed at the next weaker breaks.
    """
    piece: list[str] = []
    length = 0
    for segment in _segments(words, strength):
        needed = sum(map(len, segment)) + len(segment) - 1
        if piece and length + 1 + needed > max_chars:
            yield " ".join(piece)
            piece, length = [], 0
        if needed > max_chars and strength > _WORD_END:
            yield from _pack(segment, max_chars, strength - 1)
        else:
            length += needed + (1 if piece else 0)
            piece += segment
    if piece:
        yield " ".join(piece)


def _segments(words: Sequence[str], strength: int) -> Iterator[list[str]]:
    """The words in runs, each but the last ending at a break of the strength or more."""
    segment: list[str] = []
    for word in words:
        segment.append(word)
        if _break_after(word) >= strength:
            yield segment
            segment = []
    if segment:
        yield segment


def _break_after(word: str) -> int:
    """How strong a break the end of the word is."""
    if _SENTENCE_END.search(word[-8:]) and not _ABBREVIATION.match(word):
        return _SENTENCE
    return _CLAUSE if _CLAUSE_END.search(word[-8:]) else _WORD_END


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
