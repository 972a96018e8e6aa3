"""One spelling for each character, before any rule reads the text."""

from __future__ import annotations

import re
import unicodedata

_BEFORE_NFKC = str.maketrans(
    {
        "²": "^2",
        "³": "^3",
        "™": " trademark ",
        "©": " copyright ",
        "®": " registered ",
        "\u2044": "/",
    }
    | {fraction: f" {unicodedata.normalize('NFKC', fraction)} " for fraction in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}
)
"""Characters whose meaning NFKC would lose: 1½ would become 11/2."""
_AFTER_NFKC = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u2032\u00b4", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033", '"')
    | dict.fromkeys("\u2010\u2011\u2212", "-")
    | dict.fromkeys("\u2012\u2013\u2014\u2015", "\u2014")
    | {"\u2044": "/", "\u00d7": " times ", "\u00f7": " divided by ", "\u00b1": " plus or minus "}
)
_PARAGRAPH = re.compile(r"(?<=[\w'\")\]])[ \t]*\n\s*\n\s*")
_NUMBER_DASH = re.compile(r"(?<=\d)\u2014(?=\d)")
_DASH = re.compile(r"\u2014|(?<!-)-{2,3}(?!-)")


def clean(text: str) -> str:
    """The text in NFKC without control characters, with plain quotes, dashes, digits and spaces.

    A blank line ends a sentence. Marks that combine with no letter are dropped.
    """
    if text.isascii() and text.isprintable():
        plain = text
    else:
        visible = "".join(map(_visible, text.translate(_BEFORE_NFKC)))
        composed = unicodedata.normalize("NFKC", visible).translate(_AFTER_NFKC)
        plain = unicodedata.normalize("NFKC", "".join(map(_plain, composed)))
    dashed = _DASH.sub(" - ", _NUMBER_DASH.sub("-", plain))
    return " ".join(_PARAGRAPH.sub(". ", dashed).split())


def _visible(character: str) -> str:
    """The character, a space for a separator, a newline for its kind, or nothing for a control."""
    category = unicodedata.category(character)
    if character == "\n" or category in ("Zl", "Zp"):
        return "\n"
    if character.isspace():
        return " "
    if category in ("Co", "Cn"):
        return "\ufffd"
    return "" if category in ("Cc", "Cf", "Cs") else character


def _plain(character: str) -> str:
    """The character with any digit in ASCII; nothing for a mark that NFKC left uncombined."""
    if character.isascii():
        return character
    if character.isdigit():
        return str(unicodedata.digit(character))
    return "" if unicodedata.category(character)[0] == "M" else character
