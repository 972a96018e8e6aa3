"""The closed set of symbols a phone sequence is written in, and their integer ids.

Phones are the 39 of the CMU pronouncing dictionary in ARPAbet; every vowel carries a stress digit
(0 none, 1 primary, 2 secondary). Boundary symbols stand between words and carry pauses; any of
them may last 0 frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from speechkit.core.errors import TextError

PAD = "<pad>"
START = "^"
END = "$"
WORD_BOUNDARY = " "
MARKS = (",", ";", ":", ".", "?", "!", "-")
"""Punctuation that a boundary between two words, or the end of a text, can carry."""

VOWELS = (
    "AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW",
)  # fmt: skip
CONSONANTS = (
    "B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N", "NG", "P", "R", "S", "SH",
    "T", "TH", "V", "W", "Y", "Z", "ZH",
)  # fmt: skip
STRESSES = ("0", "1", "2")

PHONES = tuple(sorted((*CONSONANTS, *(vowel + stress for vowel in VOWELS for stress in STRESSES))))
"""The 69 symbols a word is spelled in."""

BOUNDARIES = frozenset((START, END, WORD_BOUNDARY, *MARKS))

_PHONE_SET = frozenset(PHONES)


def is_boundary(symbol: str) -> bool:
    """True when the symbol stands between words (or at an end) and may last 0 frames."""
    return symbol in BOUNDARIES


def nearest(symbol: str, valid: Iterable[str]) -> str:
    """The valid symbol that looks most like the given one."""
    candidates = sorted(valid)
    symbol = symbol.upper()
    extensions = [candidate for candidate in candidates if candidate[:-1] == symbol]
    close = extensions or get_close_matches(symbol, candidates, n=1, cutoff=0.0)
    return close[0] if close else candidates[0]


def check_phones(phones: Sequence[str], where: str) -> tuple[str, ...]:
    """The phones as a tuple when each can stand in a word.

    `where` names the source in the message. Raises TextError for an empty pronunciation or an
    unknown symbol, naming the nearest valid one.
    """
    if not phones:
        raise TextError(f"{where} has no phones; write ARPAbet such as HH AH0 L OW1.")
    for phone in phones:
        if phone not in _PHONE_SET:
            raise TextError(
                f"{where} uses the unknown phone {phone[:20]!r}; "
                f"the nearest valid one is {nearest(phone[:20], PHONES)!r} "
                "(ARPAbet; vowels carry a stress digit 0, 1 or 2)."
            )
    return tuple(phones)


class PhoneVocabulary:
    """A fixed, ordered list of symbols; a symbol's id is its position.

    The order is stored with every model, so ids of a saved model keep their meaning.
    """

    def __init__(self, symbols: Sequence[str]) -> None:
        """Keep the symbols; raises TextError unless they are unique and start with `<pad>`."""
        if not symbols or symbols[0] != PAD:
            raise TextError(f"A phone vocabulary must start with {PAD!r}.")
        self.symbols = tuple(symbols)
        self._id_of = {symbol: index for index, symbol in enumerate(self.symbols)}
        if len(self._id_of) != len(self.symbols):
            raise TextError("A phone vocabulary must not list a symbol twice.")

    def __len__(self) -> int:
        """The number of symbols, padding included."""
        return len(self.symbols)

    def __contains__(self, symbol: object) -> bool:
        """True when the symbol has an id."""
        return symbol in self._id_of

    def __eq__(self, other: object) -> bool:
        """True when both list the same symbols in the same order."""
        return isinstance(other, PhoneVocabulary) and self.symbols == other.symbols

    def __hash__(self) -> int:
        """A hash of the symbols."""
        return hash(self.symbols)

    def ids(self, phones: Iterable[str]) -> list[int]:
        """The id of each symbol; raises TextError naming the nearest known one otherwise."""
        try:
            return [self._id_of[phone] for phone in phones]
        except KeyError as error:
            symbol = str(error.args[0])
            raise TextError(
                f"The phone vocabulary has no symbol {symbol[:20]!r}; "
                f"the nearest is {nearest(symbol[:20], self.symbols)!r}."
            ) from None

    def phones(self, ids: Iterable[int]) -> list[str]:
        """The symbol of each id; raises TextError for an id outside the vocabulary."""
        found = []
        for index in ids:
            if not 0 <= index < len(self.symbols):
                raise TextError(f"There is no phone {index}; ids run to {len(self.symbols) - 1}.")
            found.append(self.symbols[index])
        return found


DEFAULT_VOCABULARY = PhoneVocabulary((PAD, START, END, WORD_BOUNDARY, *MARKS, *PHONES))
"""80 symbols: padding, 10 boundaries, 69 phones."""
