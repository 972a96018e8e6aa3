"""Text to phones: normalisation, pronunciation, chunks of long text, and the phone vocabulary."""

from __future__ import annotations

from speechkit.text.frontend import Frontend, Pieces, TextFrontend, TextReport
from speechkit.text.normalize import normalize
from speechkit.text.vocab import (
    BOUNDARIES,
    DEFAULT_VOCABULARY,
    PhoneVocabulary,
    is_boundary,
)

__all__ = [
    "BOUNDARIES",
    "DEFAULT_VOCABULARY",
    "Frontend",
    "PhoneVocabulary",
    "Pieces",
    "TextFrontend",
    "TextReport",
    "is_boundary",
    "normalize",
]
