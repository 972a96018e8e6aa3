"""Letters: the symbols that a CTC model writes, and text turned into them and back.

The alphabet of wav2vec 2.0's fine-tuning (fairseq `libri_labels.py`): a word-end symbol after
every word, the last too, upper-case letters and the apostrophe; 0 is CTC's blank.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from speechkit.core.errors import CheckpointError, DataError, listed

BLANK = 0
"""Index of CTC's blank in every alphabet."""
WORD_END = "|"
"""Written after every word."""
APOSTROPHE = "'"

_MAX_SYMBOLS = 10_000
_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u02bc`\u00b4"), APOSTROPHE)
# Punctuation by its Unicode class, yet read aloud: dropping it would leave a wrong label.
_SPOKEN = frozenset("%&@#\u00a7\u2030")


@dataclass(frozen=True)
class Characters:
    """An alphabet: blank is 0, `symbols[i]` is i + 1, the first symbol ends words."""

    symbols: tuple[str, ...]
    """Single characters, the word end first; the blank is not among them."""

    def __post_init__(self) -> None:
        """Raise ValueError where this is no alphabet."""
        singles = all(len(symbol) == 1 and not symbol.isspace() for symbol in self.symbols)
        if not 2 <= len(self.symbols) <= _MAX_SYMBOLS or self.symbols[0] != WORD_END or not singles:
            raise ValueError(
                f"an alphabet is '{WORD_END}' and then up to {_MAX_SYMBOLS} single characters"
            )
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError("a character comes twice in the alphabet")

    @classmethod
    def english(cls) -> Characters:
        """Return the 29 symbols of LibriSpeech: blank, word end, A to Z, apostrophe."""
        return cls((WORD_END, *string.ascii_uppercase, APOSTROPHE))

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> Characters:
        """Return the alphabet of a training text, in code-point order.

        Takes letters with their marks and the apostrophe; digits and signs are no letters, so
        that they stay unknown. Raises DataError for texts without a letter.
        """
        seen = {character for text in texts for character in normalise(text)}
        found = sorted(c for c in seen if unicodedata.category(c)[0] in "LM" or c == APOSTROPHE)
        if not any(c != APOSTROPHE for c in found):
            raise DataError("The training text holds no letters: give transcripts of speech.")
        return cls((WORD_END, *found))

    @property
    def size(self) -> int:
        """Return the number of classes with the blank."""
        return len(self.symbols) + 1

    @property
    def word_end(self) -> int:
        """Return the class that ends a word."""
        return 1

    def unknown(self, text: str) -> tuple[str, ...]:
        """Return the characters of a text, once normalised, that are not in the alphabet."""
        return tuple(sorted(set(normalise(text)) - set(self.symbols) - {" "}))

    def encode(self, text: str) -> list[int]:
        """Return the classes of a text, normalised first; no text at all gives none.

        Raises DataError that names characters which are not in the alphabet.
        """
        unknown = self.unknown(text)
        if unknown:
            raise DataError(
                f"{_not_in_alphabet(unknown)} in {text[:60]!r}: spell it out in letters."
            )
        index = {symbol: number for number, symbol in enumerate(self.symbols, start=1)}
        return [index[character] for character in spelled(normalise(text))]

    def decode(self, labels: Sequence[int]) -> str:
        """Return the text of classes without repeats and blanks removed: words and spaces."""
        written = "".join(self.symbols[label - 1] for label in labels if label != BLANK)
        return " ".join(written.replace(WORD_END, " ").split())

    def require(self, texts: Iterable[tuple[str, str]]) -> None:
        """Raise DataError unless all (clip, text) pairs can be written with this alphabet."""
        characters: set[str] = set()
        clips: list[str] = []
        for clip, text in texts:
            unknown = self.unknown(text)
            if unknown:
                characters.update(unknown)
                clips.append(clip)
        if clips:
            raise DataError(
                f"{_not_in_alphabet(sorted(characters))} in the text of {listed(clips)}: spell "
                "such text out in letters, or have these clips skipped."
            )

    def to_json(self) -> list[str]:
        """Return the symbols for config.json."""
        return list(self.symbols)

    @classmethod
    def from_json(cls, value: Any) -> Characters:
        """Return the alphabet that config.json holds; raises CheckpointError."""
        try:
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise ValueError("it is not a list of characters")
            return cls(tuple(value))
        except ValueError as error:
            raise CheckpointError(
                f"The alphabet in the model's config.json is damaged: {error}."
            ) from error


def normalise(text: str) -> str:
    """Return upper-case words with single spaces, punctuation dropped but for apostrophes.

    Digits, symbols and signs that are read aloud ("&", "%") stay, for `Characters` to refuse.
    """
    text = unicodedata.normalize("NFC", text.translate(_APOSTROPHES)).upper()
    kept = (" " if _is_silent(character) else character for character in text)
    return " ".join("".join(kept).split())


def spelled(text: str) -> list[str]:
    """Return the letters of a text with the word end after every word."""
    return [character for word in text.split() for character in word + WORD_END]


def _is_silent(character: str) -> bool:
    """Return whether a character separates words at most: punctuation, blanks, controls."""
    if character == APOSTROPHE or character in _SPOKEN:
        return False
    # The word end is a sign ("Sm") by its class; in a text it is a separator.
    return unicodedata.category(character)[0] in "PZC" or character == WORD_END


def _not_in_alphabet(characters: Sequence[str]) -> str:
    """Return the start of a sentence on characters that are not in the alphabet."""
    shown = " ".join(characters[:20])
    return f"The alphabet has no {shown}{' ...' if len(characters) > 20 else ''}"
