"""Words in capitals: spelled letter by letter, or read as a word."""

from __future__ import annotations

import re
from collections.abc import Collection

_SPELLED = frozenset((
    "AC", "AI", "AKA", "API", "AR", "ASAP", "BA", "CEO", "CFO", "CIA", "CIO", "DIY", "DUI",
    "EDI", "EEG", "EKG", "ER", "ETA", "EU", "EV", "FAQ", "GOP", "GUI", "HIV", "ICU", "ID",
    "IOU", "IP", "IPO", "IQ", "IRS", "IUD", "LED", "MA", "MIT", "OS", "PA", "PHD", "PR", "QA",
    "ROI", "SAAS", "SOS", "SUV", "TA", "UAE", "UFO", "UI", "UK", "UN", "UPS", "URL", "US",
    "USA", "USSR", "UV", "UX", "VIP", "VR", "XL",
))  # fmt: skip
"""Initialisms that look like words."""
_SAID = {"JPEG": "jay peg", "MPEG": "em peg", "NASDAQ": "nazdack", "CSIRO": "sigh row"}
"""Acronyms read as a word though their letters do not look like one."""
_CAPITALS = re.compile(r"(?<![\w'])([A-Z]{2,6})('?s)?(?![\w])")
_WORD = re.compile(r"[^\W\d_]{2,}")
_ONSETS = frozenset((
    "bl", "br", "ch", "chr", "cl", "cr", "dr", "dw", "fl", "fr", "gh", "gl", "gn", "gr", "kh",
    "kl", "kn", "kr", "mc", "ph", "phl", "phr", "pl", "pr", "ps", "qu", "rh", "sc", "sch",
    "scr", "sh", "shr", "sk", "sl", "sm", "sn", "sp", "sph", "spl", "spr", "squ", "st", "str",
    "sv", "sw", "th", "thr", "thw", "tr", "ts", "tw", "vl", "wh", "wr", "zh",
))  # fmt: skip
_CODAS = frozenset((
    "bs", "bt", "ch", "ck", "cks", "ct", "cts", "ds", "ff", "ffs", "ft", "fts", "gh", "ghs",
    "ght", "ghts", "gn", "gs", "ks", "lb", "lbs", "ld", "lds", "lf", "lk", "lks", "ll", "lls",
    "lm", "lms", "lp", "lps", "ls", "lt", "lts", "mb", "mbs", "mn", "mp", "mps", "mpt", "ms",
    "nch", "nd", "nds", "ng", "ngs", "nk", "nks", "nn", "ns", "nt", "nth", "nts", "ph", "pht",
    "ps", "pt", "pts", "rb", "rbs", "rc", "rch", "rd", "rds", "rf", "rg", "rk", "rks", "rl",
    "rls", "rm", "rms", "rn", "rns", "rp", "rps", "rs", "rsh", "rst", "rt", "rth", "rts", "rv",
    "sh", "sk", "sks", "sm", "sms", "sp", "sps", "ss", "st", "sts", "tch", "th", "ths", "ts",
    "tt", "wd", "wk", "wl", "wls", "wn", "wns", "ws", "xt", "zz",
))  # fmt: skip
_SHAPE = re.compile(r"([^aeiouy]*)[aeiouy].*?([^aeiouy]*)$")


def spell_acronyms(text: str, keep: Collection[str], shouted: bool) -> str:
    """The text with acronyms that cannot be read as a word in separate letters.

    Words in `keep` (lower case) stay. In a `shouted` text, one all in capitals, every other word
    becomes lower case.
    """

    def spoken(match: re.Match[str]) -> str:
        word, ending = match[1], match[2] or ""
        if word.lower() in keep:
            return match.group()
        if word in _SAID:
            return _SAID[word] + ending
        if is_spelled(word, shouted):
            return " ".join(word) + ("'s" if ending else "")
        return match.group().lower() if shouted else match.group()

    text = _CAPITALS.sub(spoken, text)
    return _WORD.sub(lambda m: m.group().lower(), text) if shouted else text


def is_shouted(text: str) -> bool:
    """True for a text of two words or more, all in capitals."""
    return text.upper() == text and len(_WORD.findall(text)) > 1


def is_spelled(word: str, shouted: bool = False) -> bool:
    """True when a word in capitals is an initialism: listed, or not shaped like an English word."""
    if word in _SPELLED:
        return not (shouted and word in ("US", "MA", "PA", "TA", "ID"))
    shape = _SHAPE.match(word.lower())
    if shape is None:
        return set(word) - set("HMSZR") != set()
    onset, coda = shape.groups()
    return (len(onset) > 1 and onset not in _ONSETS) or (len(coda) > 1 and coda not in _CODAS)
