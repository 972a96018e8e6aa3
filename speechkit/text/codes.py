"""Telephone numbers, codes, versions, addresses of the net: digits that count nothing."""

from __future__ import annotations

import re

from speechkit.text.numbers import cardinal, digits, label, plural
from speechkit.text.units import UNITS

_TOP_LEVEL = "com|org|net|edu|gov|io|ai|dev|app|info|co\\.uk|uk|de|fr|nl|ru|eu|ch|ca|jp|cn|au|in"
_PATH = r"[^\s<>\"'\[\]]"
_LINK = re.compile(
    rf"(?<![\w.@+-])(?:"
    rf"(?:(?:https?|ftp|file)://|www\.){_PATH}+"
    rf"|[a-z0-9._+-]{{1,64}}@(?:[a-z0-9-]{{1,63}}\.){{1,6}}[a-z]{{2,24}}"
    rf"|(?:[a-z0-9-]{{1,63}}\.){{1,6}}(?:{_TOP_LEVEL})(?![\w-])(?:[/:?#]{_PATH}*)?"
    rf")",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"^(?:https?|ftp|file)://", re.IGNORECASE)
_PART = re.compile(r"[^\W\d_]+|\d+|.")
_SPOKEN = {
    ".": "dot", "/": "slash", "-": "dash", "_": "underscore", "@": "at", ":": "colon",
    "?": "question mark", "=": "equals", "&": "and", "%": "percent", "#": "hash", "+": "plus",
    "~": "tilde", ",": "comma", ";": "semicolon", "!": "exclamation mark", "*": "star",
    "$": "dollar", "(": "bracket", ")": "bracket",
}  # fmt: skip
_TRAILING = ".,;:!?)/"
_FILE_DOT = re.compile(
    r"(?<=[a-z0-9_]{2})\.(?=(?!\d)[a-z0-9]{1,12}(?![\w.]))(?<!\d\.)|(?<=\s)\.(?=[a-z]{2,4}\b)"
)

_SEP = r"[ .\u2011-]"
_PHONE = re.compile(
    rf"(?<![\w.,$£€#/-])(?:"
    rf"\+\d{{1,3}}(?:{_SEP}{{0,2}}\(?\d{{1,5}}\)?){{2,6}}"  # +44 20 7946 0958
    rf"|\(0\d{{1,4}}\){_SEP}?\d{{3,4}}(?:{_SEP}?\d{{3,4}}){{0,2}}"  # (020) 7946 0958
    rf"|0\d{{1,4}}(?:{_SEP}\d{{2,4}}){{2,4}}|0\d{{3,4}}[ -]\d{{5,7}}"  # 0171 555 0123, 07700 900123
    rf"|(?:1{_SEP})?(?:\(\d{{3}}\)[ -]?|\d{{3}}{_SEP})\d{{3}}{_SEP}\d{{4}}|\d{{3}}[.-]\d{{4}}"
    rf"|1[389]00 \d{{3}} \d{{3}}"
    rf"|\d{{4}}(?:[ -]\d{{4}}){{3}}"  # a card
    rf"|\d{{1,5}}(?:-\d{{1,7}}){{3,4}}|\d{{3}}-\d\d-\d{{4}}"  # ISBN, social security
    rf")(?![\w/]|[-.,:]\d|\.\w)"
)
_VANITY = re.compile(r"(?<![\w.-])(1-)?(8\d\d)-(?=[\d-]{0,6}[A-Z][A-Z\d-]{2,11}\b)")
_NAMED = re.compile(
    r"(?i)\b((?:call|dial|phone|telephone|tel|fax|mobile|cell|hotline|text|extension|ext|pin|otp|"
    r"passcode|code|zip|postcode|password|isbn|ssn|serial(?: number)?|account(?: number)?|"
    r"order(?: number)?|tracking(?: number)?|reference|ref|flight|invoice|ticket|id)"
    r"(?: (?:me|us|him|her|them|is|was|at|on|no|number))*[.:#]{0,2} ?#?)"
    r"(\d{3,20}(?:[ -]\d{2,8}){0,5})(?![\w%]|[.,:/-]\d)"
)
_GOES_ON = frozenset((
    "and", "or", "for", "to", "from", "if", "when", "now", "at", "on", "in", "is", "was", "by",
    "before", "after", "then", "please", "today", "as", "with", "so", "but",
))  # fmt: skip
_LABELLED = re.compile(
    r"(?i)\b((?:room|route|highway|interstate|bus|suite|apartment|gate|flat|unit|channel|boeing|"
    r"airbus|porsche|peugeot|bmw|area code|level|locker|platform|rte|rt|hwy|rtx|gtx|"
    r"section) ?-?#?)(\d{3,4})(?![\w%]|[.,:/-]\d)"
)
_STATE_ZIP = re.compile(r"\b([A-Z]{2}),? (\d{5})(?:-(\d{4}))?(?![\w,-]|\.\d)")
_STATES = {
    "AL": "Alabama", "AK": "Alaska", "AZ": "Arizona", "AR": "Arkansas", "CA": "California",
    "CO": "Colorado", "CT": "Connecticut", "DE": "Delaware", "FL": "Florida", "GA": "Georgia",
    "HI": "Hawaii", "ID": "Idaho", "IL": "Illinois", "IN": "Indiana", "IA": "Iowa", "KS": "Kansas",
    "KY": "Kentucky", "LA": "Louisiana", "ME": "Maine", "MD": "Maryland", "MA": "Massachusetts",
    "MI": "Michigan", "MN": "Minnesota", "MS": "Mississippi", "MO": "Missouri", "MT": "Montana",
    "NE": "Nebraska", "NV": "Nevada", "NH": "New Hampshire", "NJ": "New Jersey",
    "NM": "New Mexico", "NY": "New York", "NC": "North Carolina", "ND": "North Dakota",
    "OH": "Ohio", "OK": "Oklahoma", "OR": "Oregon", "PA": "Pennsylvania", "RI": "Rhode Island",
    "SC": "South Carolina", "SD": "South Dakota", "TN": "Tennessee", "TX": "Texas", "UT": "Utah",
    "VT": "Vermont", "VA": "Virginia", "WA": "Washington", "WV": "West Virginia",
    "WI": "Wisconsin", "WY": "Wyoming",
}  # fmt: skip
_ALSO_STATES = frozenset(("IN", "OR", "ME", "OK", "HI", "MD", "MA", "PA", "MS", "CO", "DE", "ID"))
"""Short names of states that after a comma may be a word, a degree or a company."""
_CITY_STATE = re.compile(
    rf"(?<=[a-z], )({'|'.join(sorted(set(_STATES) - _ALSO_STATES))})(?=[.,;:!?)]|$| [a-z])"
)
_IP = re.compile(
    r"(?<![\w.])(?<!ersion )(?<!elease )(?<!\bV )(?<!\bv )((?:\d{1,3}\.){3}\d{1,3})(?![\w]|\.\d)"
)
_SERIAL = re.compile(
    r"(?<![\w.,$£€-])(?:(?=[\d-]{0,20}[A-Za-z])\w{1,3}(?:-(?:\d{1,4}|[A-Za-z]{1,3})){3,8}"
    r"|[A-Z]{2,6}-\d{1,6}-\d{1,6}|\d{1,3}(?:-\d{1,3}){2,5})(?![\w%-]|\.\d)"
)
"""Parts of a code or a formation, "4-4-2", which is no range."""
_HEX = re.compile(
    r"(?<![\w&])(?:(0x)([0-9A-Fa-f]{1,16})|(#)(?=\d{0,7}[A-Fa-f])([0-9A-Fa-f]{8}|[0-9A-Fa-f]{6}|"
    r"[0-9A-Fa-f]{3}))\b"
)
_VERSION = re.compile(r"(?<![\w.])([vV])\.? ?(?=\d)")
_DOTTED = re.compile(r"(?<![\d.])\d+(?:\.\d+){2,}(?!\d)")
_SERIES = re.compile(r"(?<![\w.-])([A-Z])(\d{1,2})\s?-\s?\1(\d{1,2})(?![\w-])")
_AFTER_WORD = re.compile(r"(?<=[a-z])\.(?=\d)")
_MIXED = re.compile(
    r"(?<![\w.,$£€¥'])(?=[A-Za-z0-9]{0,12}[A-Za-z])(?=[A-Za-z]{0,12}\d)(?:[A-Za-z]{1,12}\d{1,12}|"
    r"\d{1,3}[A-Za-z]{1,3}\d|\d{1,4}[A-Z]{2,3}(?![A-Za-z\d]))[A-Za-z0-9]{0,20}(?!\w|'\w)"
)
_POWERED = re.compile(r"(?:[kcmd]?m|ft|in|mi|yd)[23]")
_NOT_SPELLED = {*UNITS, "ST", "ND", "RD", "TH", "AM", "PM", "AD", "BC", "CE", "BCE"}
_HOUSE = re.compile(
    r"(?<![\w.,$-])(\d{3,4}) (?=(?:(?:North|South|East|West|[NSEW])\.? "
    r")?(?:[A-Z][\w'’]{1,20} |\d{1,3}"
    r"(?:st|nd|rd|th) ){1,3}(?:Street|Avenue|Road|Boulevard|Drive|Lane|Court|Way|Place|Highway|"
    r"Expressway|Parkway|Square|Terrace)\b)"
)
_RUN = re.compile(r"[A-Za-z]+|\d+")
_HYPHEN_NUMBER = re.compile(
    r"(?<!\d[A-Za-z])(?<!\d[A-Za-z]{2})(?<!°[CF])(?<=[A-Za-z])-(?=\d)(?!\d+(?:st|nd|rd|th)\b)"
)
_PLAYS = re.compile(r"(?i)(?<![\w.,/])(24|9)/(7|11)(?![\w/]|\.\d)|(?<!\w)(401)\(?k\)?(?!\w)")


def speak_links(text: str) -> str:
    """The text with each address in words: "me@a.org" becomes "me at a dot org"."""
    if "." in text or "://" in text:
        text = _FILE_DOT.sub(" dot ", _LINK.sub(_link, text))
    return _CITY_STATE.sub(lambda m: _STATES[m[1]], text)


def speak_codes(text: str) -> str:
    """The text with telephone numbers, codes and versions in words."""
    if not re.search(r"\d", text):
        return text
    text = _PLAYS.sub(
        lambda m: f"{cardinal(m[1])} {cardinal(m[2])}" if m[1] else "four oh one K", text
    )
    text = _VANITY.sub(lambda m: f"{'one ' if m[1] else ''}{label(m[2])} ", text)
    text = _PHONE.sub(_phone, text)
    text = _NAMED.sub(_named, text)
    text = _LABELLED.sub(lambda m: m[1].rstrip("-# ") + " " + label(m[2]), text)
    text = _HOUSE.sub(lambda m: label(m[1]) + " ", text)
    text = _STATE_ZIP.sub(
        lambda m: f"{_STATES.get(m[1]) or ' '.join(m[1])} {_groups(m.group())}", text
    )
    text = _HEX.sub(
        lambda m: " ".join(["hex" if m[1] else "hash", *map(_letter, m[2] or m[4])]), text
    )
    text = _SERIES.sub(r"\1\2 to \1\3", text)
    text = _MIXED.sub(_mixed, _VERSION.sub("V ", text))
    text = _SERIAL.sub(lambda m: m.group().replace("-", " "), text)
    text = _IP.sub(_address, text)
    text = _DOTTED.sub(lambda m: " point ".join(map(cardinal, m.group().split("."))), text)
    return _HYPHEN_NUMBER.sub(" ", _AFTER_WORD.sub(" point ", text))


def _link(match: re.Match[str]) -> str:
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


def _address(match: re.Match[str]) -> str:
    """The words of an IP address; other numbers with three dots stay."""
    parts = match[1].split(".")
    if any(int(part) > 255 for part in parts):
        return match.group()
    return " dot ".join(map(cardinal, parts))


def _groups(number: str) -> str:
    """Groups of digits, read one by one, with a pause between groups."""
    return ", ".join(map(digits, re.findall(r"\d+", number)))


def _named(match: re.Match[str]) -> str:
    """The digits of a number after "call" or "PIN"; "order 500 pizzas" counts."""
    follows = re.match(r" ([a-z]+)", match.string[match.end() : match.end() + 20])
    if follows and follows[1] not in _GOES_ON:
        return match.group()
    return match[1].rstrip("#. ") + " " + _groups(match[2])


def _phone(match: re.Match[str]) -> str:
    """The words of a telephone or card number; a number too short to be one stays."""
    number = match.group()
    if len(re.sub(r"\D", "", number)) < 7:
        return number
    return ("plus " if number[0] == "+" else "") + _groups(number)


def _letter(character: str) -> str:
    """A digit's name, or the letter in capitals."""
    return digits(character) if character.isdigit() else character.upper()


def _mixed(match: re.Match[str]) -> str:
    """The words of "k8s", "H2O", "COVID19" or "SW1A"; a number with a unit or suffix stays."""
    code = match.group()
    runs = _RUN.findall(code)
    if runs[0].isdigit() and len(runs) == 2:
        spelled = runs[1].isupper() and len(runs[1]) > 1 and runs[1] not in _NOT_SPELLED
        return f"{runs[0]} {' '.join(runs[1])}" if spelled else code
    if len(runs) == 3 and runs[0].isdigit() and runs[1] in "xXe":
        return code  # 4x4, 1e9
    if _POWERED.fullmatch(code) and match.string[: match.start()].rstrip()[-1:].isdigit():
        return f"{code[:-1]}^{code[-1]}"  # 100 m2
    if len(runs) == 3 and runs[2] == "s" and runs[0].isupper():
        return f"{' '.join(runs[0])} {plural(label(runs[1]))}"  # MP3s
    words: list[str] = []
    for run in runs:
        if run.isdigit():
            words.append(cardinal(run) if len(run) < 3 or run[1:] == "00" else digits(run))
        elif len(run) == 1 or (len(run) < 4 and (run.isupper() or _unsayable(run))):
            words += run.upper()
        else:
            words.append(run)
    return " ".join(words)


def _unsayable(run: str) -> bool:
    """True for letters without a vowel."""
    return not re.search(r"[aeiouyAEIOUY]", run)
