"""Web and mail addresses as they are read out."""

from __future__ import annotations

import re

from speechkit.text.numbers import digits

_TOP_LEVEL = "com|org|net|edu|gov|io|ai|dev|app|info|co\\.uk|uk|de|fr|nl|ru|eu|ch|ca|jp|cn"
_PATH = r"[^\s<>\"'\[\]]"
_LINK = re.compile(
    rf"(?<![\w.@+-])(?:"
    rf"(?:(?:https?|ftp)://|www\.){_PATH}+"
    rf"|[a-z0-9._+-]{{1,64}}@(?:[a-z0-9-]{{1,63}}\.){{1,6}}[a-z]{{2,24}}"
    rf"|(?:[a-z0-9-]{{1,63}}\.){{1,6}}(?:{_TOP_LEVEL})(?![\w-])(?:[/:?#]{_PATH}*)?"
    rf")",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"^(?:https?|ftp)://", re.IGNORECASE)
_PART = re.compile(r"[^\W\d_]+|\d+|.")
_SPOKEN = {
    ".": "dot", "/": "slash", "-": "dash", "_": "underscore", "@": "at", ":": "colon",
    "?": "question mark", "=": "equals", "&": "and", "%": "percent", "#": "hash", "+": "plus",
    "~": "tilde", ",": "comma", ";": "semicolon", "!": "exclamation mark", "*": "star",
    "$": "dollar", "(": "bracket", ")": "bracket",
}  # fmt: skip
_TRAILING = ".,;:!?)/"


def speak_links(text: str) -> str:
    """The text with each address in words: "me@a.org" becomes "me at a dot org"."""
    return _LINK.sub(_spoken, text) if "." in text or "://" in text else text


def _spoken(match: re.Match[str]) -> str:
    """The words of one address; punctuation after it stays."""
    address = match.group().rstrip(_TRAILING)
    if not address:
        return match.group()
    rest = match.group()[len(address) :].replace("/", "")
    words: list[str] = []
    for part in _PART.findall(_SCHEME.sub("", address)):
        if part.isdigit():
            words.append(digits(part))
        elif part.lower() == "www":
            words.append("W W W")
        else:
            words.append(_SPOKEN.get(part, part.lower() if part.isupper() else part))
    return " ".join(words) + rest
