"""Text to the phone sequence the models read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from speechkit.core.errors import TextError, listed
from speechkit.text.chunk import CLAUSE, SENTENCE, WORD_END, pack, pack_soon
from speechkit.text.clean import tags_in
from speechkit.text.g2p import english_g2p, possessive
from speechkit.text.normalize import INLINE_PHONES, normalize
from speechkit.text.vocab import END, MARKS, START, WORD_BOUNDARY, check_phones

_TOKEN = re.compile(
    INLINE_PHONES.pattern + r"|'?[^\W\d_]+(?:'[^\W\d_]+)*|\s+|.",
    re.DOTALL,
)
_STRENGTH = ("?", "!", ".", ":", ";", "-", ",", WORD_BOUNDARY)
"""Boundary symbols, strongest first: of several marks in a row the strongest is kept."""
_MARK_OF = {mark: mark for mark in MARKS if mark != "-"} | {
    "\u2026": ".", "\u2013": "-", "\u2014": "-", "\u2015": "-",
    "(": "-", ")": "-", "[": "-", "]": "-", "{": "-", "}": "-",
}  # fmt: skip
_SILENT = frozenset("\"'`/_\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a")
_MOST_LISTED = 20
"""Skipped characters that a note names."""
_CLIPPED = frozenset(("'tis", "'twas", "'twere", "'twill", "'em", "'cause", "'til", "'bout"))
"""Words whose first apostrophe is no quotation mark."""
_LATIN = {
    "ß": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L",
    "đ": "d", "Đ": "D", "ð": "th", "Ð": "Th", "þ": "th", "Þ": "Th", "ı": "i", "ħ": "h", "Ħ": "H",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TextReport:
    """What became of a text on its way to phones."""

    normalized: str
    """The text as it is read out: no digits, abbreviations written out."""
    words: tuple[str, ...]
    """The words spoken, in order; inline phones stand as `[[...]]`."""
    phones: tuple[str, ...]
    """`^`, phones with one boundary symbol between two words, `$`; empty if nothing is spoken."""
    skipped: tuple[str, ...]
    """What cannot be spoken, once each: characters (other scripts, emoji, symbols), tags."""
    guessed: tuple[str, ...]
    """Words in neither dictionary nor lexicon, read by the network; once each."""


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """A long text in pieces to be spoken one after another."""

    phones: tuple[tuple[str, ...], ...]
    """The phone sequence of each piece; together they are the phones of the whole text."""
    words: tuple[str, ...]
    """All words, as they are read out."""
    notes: tuple[str, ...]
    """What to tell whoever wrote the text, one sentence each: what is not spoken."""


class TextFrontend(Protocol):
    """What the models need of a language: text to phones of the closed vocabulary."""

    def phones(self, text: str) -> tuple[str, ...]:
        """The phone sequence of a text; raises TextError when nothing in it can be spoken."""

    def report(self, text: str) -> TextReport:
        """The phones, and what became of the text; does not raise for unspeakable text."""

    def pieces(self, text: str, limit: int, *, soon: bool = False) -> Pieces:
        """The phones in pieces of at most `limit` characters as read out, and notes."""


class Frontend:
    """English text to phones, with a user lexicon and inline phones such as [[HH AH0 L OW1]]."""

    def __init__(self, lexicon: Mapping[str, Sequence[str]] | None = None) -> None:
        """Take a lexicon of word to phones, which wins over every other source.

        Words match whatever their case. Raises TextError for an unknown phone, or for an entry
        that is not a single word of letters and apostrophes.
        """
        self._lexicon: dict[str, tuple[str, ...]] = {}
        for word, phones in (lexicon or {}).items():
            if not re.fullmatch(r"[A-Za-z']*[A-Za-z][A-Za-z']*", word):
                raise TextError(
                    f"The lexicon entry {word[:40]!r} is not a single word of the letters A to Z "
                    "and apostrophes; write one entry a word."
                )
            self._lexicon[word.lower()] = check_phones(phones, f"The lexicon entry {word!r}")

    def phones(self, text: str) -> tuple[str, ...]:
        """The phone sequence of the text: `^`, words with one boundary between two, `$`.

        Raises TextError when nothing in the text can be spoken, or for a bad inline phone.
        """
        report = self.report(text)
        if not report.phones:
            self._refuse(report)
        return report.phones

    @staticmethod
    def _refuse(report: TextReport) -> NoReturn:
        """Raise TextError for a text without a word."""
        if report.skipped:
            skipped = " ".join(report.skipped[:10])
            raise TextError(f"Nothing in the text can be spoken in English: {skipped}")
        raise TextError("The text is empty: give at least one word.")

    def report(self, text: str) -> TextReport:
        """The phones with the normalised text, skipped characters and guessed words.

        Unlike `phones` it does not raise when nothing can be spoken.
        """
        return self._read(text)[0]

    def pieces(self, text: str, limit: int, *, soon: bool = False) -> Pieces:
        """The phones of a long text in pieces, each ending where a reader would pause.

        A piece has at most `limit` characters as it is read out ("five dollars", not "$5"), unless
        a single word has more; with `soon` the first ones are shorter, so that they are spoken
        soon. The text is read whole before it is cut, so no cut changes a reading. Raises
        TextError when nothing can be spoken, for a bad inline phone, or for a limit below 1.

        Example:
            >>> Frontend().pieces("Hello, Dr. Smith. How are you?", 20).phones
        """
        if limit < 1:
            raise TextError("Pieces of text need room for at least one character: raise the limit.")
        report, tokens, spoken = self._read(text)
        if not report.phones:
            self._refuse(report)
        lengths, breaks, ends = _groups(tokens)
        pieces = []
        for run in (pack_soon if soon else pack)(lengths, breaks, limit):
            span = slice(ends[run.start - 1] if run.start else 0, ends[run.stop - 1])
            pieces.append(_sequence(tokens[span], spoken[span]))
        skipped = listed(report.skipped, _MOST_LISTED, " ")
        notes = [f"Not spoken: {skipped}"] if skipped else []
        return Pieces(phones=tuple(pieces), words=report.words, notes=tuple(notes))

    def _read(self, text: str) -> tuple[TextReport, list[str], list[tuple[str, ...]]]:
        """The report, the words and marks, and the phones of each."""
        normalized = normalize(text, keep=self._lexicon)
        tokens, inline, skipped = _tokens(normalized)
        fixed = dict(inline)
        for position, token in enumerate(tokens):
            entry = self._entry(token.lower())
            if entry and position not in inline:
                fixed[position] = entry
        g2p = english_g2p() if len(fixed) < len(tokens) else None
        spoken = g2p.pronounce(tokens, fixed) if g2p else [fixed[i] for i in range(len(tokens))]
        words = [token for token in tokens if token not in MARKS]
        guessed = [word for word in words if g2p and g2p.is_guess(word)]
        report = TextReport(
            normalized=normalized,
            words=tuple(words),
            phones=_sequence(tokens, spoken),
            skipped=(*tags_in(text), *skipped),
            guessed=tuple(dict.fromkeys(guessed)),
        )
        return report, tokens, spoken

    def _entry(self, word: str) -> tuple[str, ...]:
        """The lexicon's phones of a word, or of the word its possessive is made from; or none."""
        entry = self._lexicon.get(word, ())
        owner = self._lexicon.get(word[:-2]) if word.endswith("'s") else None
        return possessive(owner) if owner and not entry else entry


def fold_letters(word: str) -> str:
    """The word in the letters A to Z and apostrophes; a letter with no Latin base is left out."""
    if word.isascii():
        return word
    plain = "".join(_LATIN.get(letter, letter) for letter in word)
    decomposed = unicodedata.normalize("NFKD", plain)
    return "".join(x for x in decomposed if x.isascii() and (x.isalpha() or x == "'"))


def _tokens(text: str) -> tuple[list[str], dict[int, tuple[str, ...]], dict[str, None]]:
    """Words and marks, the phones of inline tokens by position, and the characters skipped.

    Between two words stands at most one mark, the strongest; none stands before the first.
    """
    tokens: list[str] = []
    inline: dict[int, tuple[str, ...]] = {}
    skipped: dict[str, None] = {}
    pending = WORD_BOUNDARY
    for match in _TOKEN.finditer(text):
        piece = match.group()
        word = ""
        phones: tuple[str, ...] = ()
        if match.group(1) is not None:
            word = piece
            phones = check_phones(match.group(1).upper().split(), f"The inline {piece[:40]!r}")
        elif piece[0].isalpha() or len(piece) > 1:
            word = fold_letters(piece)
            word = word if word.lower() in _CLIPPED else word.strip("'")
            skipped.update(dict.fromkeys(x for x in piece if not fold_letters(x)))
        if word.strip():
            if tokens and pending != WORD_BOUNDARY:
                tokens.append(pending)
            if phones:
                inline[len(tokens)] = phones
            tokens.append(word)
            pending = WORD_BOUNDARY
        elif piece == "-" and _stands_alone(text, match.start()):
            pending = _stronger(pending, "-")
        elif piece in _MARK_OF:
            pending = _stronger(pending, _MARK_OF[piece])
        elif not (piece.isspace() or piece == "-" or piece in _SILENT or piece in skipped):
            skipped.update(dict.fromkeys(piece))
    if tokens and pending != WORD_BOUNDARY:
        tokens.append(pending)
    return tokens, inline, skipped


def _groups(tokens: Sequence[str]) -> tuple[list[int], list[int], list[int]]:
    """Each word with the mark after it: its length, the break it ends with, where it ends."""
    lengths: list[int] = []
    breaks: list[int] = []
    ends: list[int] = []
    for position, token in enumerate(tokens):
        if token in MARKS:
            lengths[-1] += 1
            breaks[-1] = SENTENCE if token in ".!?" else CLAUSE
            ends[-1] = position + 1
        else:
            lengths.append(len(token))
            breaks.append(WORD_END)
            ends.append(position + 1)
    return lengths, breaks, ends


def _stands_alone(text: str, position: int) -> bool:
    """True when the hyphen at the position is a dash: no letter touches it."""
    before, after = text[position - 1 : position], text[position + 1 : position + 2]
    return not before.isalpha() and not after.isalpha()


def _stronger(first: str, second: str) -> str:
    """The stronger of two boundary symbols."""
    return min(first, second, key=_STRENGTH.index)


def _sequence(tokens: Sequence[str], spoken: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The phone sequence of tokens and their phones; empty without a word."""
    phones = [START]
    after_word = False
    for token, word_phones in zip(tokens, spoken, strict=True):
        if not word_phones:
            phones.append(token)
        elif after_word:
            phones.extend((WORD_BOUNDARY, *word_phones))
        else:
            phones.extend(word_phones)
        after_word = bool(word_phones)
    return (*phones, END) if tokens else ()
