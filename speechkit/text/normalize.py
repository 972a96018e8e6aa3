"""Written English to words: numbers, dates, money and abbreviations as they are read out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

from speechkit.text.abbreviations import (
    expand_abbreviations,
    is_shouted,
    speak_roman,
    spell_acronyms,
)
from speechkit.text.clean import clean
from speechkit.text.codes import speak_codes, speak_links
from speechkit.text.dates import speak_dates, speak_times
from speechkit.text.quantities import speak_quantities

INLINE_PHONES = re.compile(r"\[\[([^\[\]]*)\]\]")
"""Phones written into the text, such as [[HH AH0 L OW1]]; group 1 holds them."""
_HOLE = "\ue000"
"""Stands for inline phones while the rules run; `clean` leaves none in a text."""

_MOST_PASSES = 8
"""What one rule writes an earlier one may read ("4K. Smith"), so passes go on until none does."""

_SYMBOLS = {
    "&": "and", "@": "at", "+": "plus", "=": "equals", "%": "percent", "°": "degrees",
    "§": "section", "$": "dollar", "£": "pound", "€": "euro", "¥": "yen", "₹": "rupee",
    "¢": "cent", "‰": "per mille", "¶": "paragraph", "₩": "won", "₽": "ruble", "₿": "bitcoin",
}  # fmt: skip
_SYMBOL = re.compile("|".join(map(re.escape, _SYMBOLS)))
_ABOUT = re.compile(r"~ ?(?=[$£€]?\d)")
_HASH_TAG = re.compile(r"(?<!\w)#(?=[^\W\d_])")
_COMPARED = re.compile(r"(?<= )(<=|>=|[<>])(?= )|([<>])=? ?(?=-?[$£€]?\d)")
_COMPARED_WORDS = {
    "<": "less than", ">": "greater than", "<=": "less than or equal to",
    ">=": "greater than or equal to",
}  # fmt: skip
_GREEK = re.compile(r"(?<![\u0370-\u03ff])[Α-ΡΣ-Ωα-ω](?![\u0370-\u03ff])")
_COMMA = re.compile(r",(?=[^\W\d_])")
_RUN_ON = re.compile(r"(?<=[a-z]{2}[.!?])(?=[A-Z][a-z])")
_SPACE_BEFORE_MARK = re.compile(r" +(?=[,.;:!?](?:\s|$))")


def normalize(text: str, keep: Collection[str] = ()) -> str:
    """The text as it is read out: no digit, abbreviations in full, single spaces.

    Idempotent, and linear in the length of the text. Inline phones `[[...]]` stay as they are, and
    so do characters that cannot be spoken, for the front end to report. Words in `keep`, in lower
    case, are not taken for acronyms.
    """
    spoken = _pass(text, keep)
    for _ in range(_MOST_PASSES):
        before, spoken = spoken, _pass(spoken, keep)
        if spoken == before:
            break
    return spoken


def _pass(text: str, keep: Collection[str]) -> str:
    """The text after every rule once, inline phones untouched."""
    cleaned = clean(text)
    inline = [match.group() for match in INLINE_PHONES.finditer(cleaned)]
    spoken = _speak(INLINE_PHONES.sub(f" {_HOLE} ", cleaned), keep)
    if inline:
        pieces = spoken.split(_HOLE)
        filled = [piece + phones for piece, phones in zip(pieces, [*inline, ""], strict=True)]
        spoken = "".join(filled)
    return _SPACE_BEFORE_MARK.sub("", " ".join(spoken.split()))


def _speak(text: str, keep: Collection[str]) -> str:
    """The text through every rule; each rule leaves what the ones before it made."""
    shouted = is_shouted(text)
    text = _RUN_ON.sub(" ", speak_links(text))
    text = speak_times(text)
    text = speak_dates(text)
    text = expand_abbreviations(text)
    text = _COMPARED.sub(lambda m: f" {_COMPARED_WORDS[m[1] or m[2]]} ", text)
    text = speak_codes(_ABOUT.sub("about ", text))
    text = speak_quantities(text)
    text = speak_roman(text)
    text = spell_acronyms(text, keep, shouted)
    text = _COMMA.sub(", ", text)
    text = _HASH_TAG.sub("hashtag ", text)
    if not text.isascii():
        text = _GREEK.sub(_letter, text)
    return _SYMBOL.sub(lambda m: f" {_SYMBOLS[m.group()]} ", text)


def _letter(match: re.Match[str]) -> str:
    """The name of a Greek letter that stands alone, as in a formula."""
    return f" {unicodedata.name(match.group()).split()[-1].lower()} "
