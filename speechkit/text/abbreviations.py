"""Abbreviations and roman numerals written out."""

from __future__ import annotations

import re

from speechkit.text.dates import MONTHS, ends_sentence
from speechkit.text.numbers import cardinal, ordinal

_TITLES = {
    "Mr": "Mister", "Mrs": "Missus", "Ms": "Miz", "Dr": "Doctor", "Prof": "Professor",
    "Rev": "Reverend", "Hon": "Honorable", "Gen": "General", "Col": "Colonel", "Maj": "Major",
    "Capt": "Captain", "Lt": "Lieutenant", "Sgt": "Sergeant", "Gov": "Governor",
    "Sen": "Senator", "Rep": "Representative", "Pres": "President", "St": "Saint",
    "Mt": "Mount", "Ft": "Fort",
}  # fmt: skip
_TITLE = re.compile(
    rf"\b({'|'.join(_TITLES)}|MR|MRS|MS|DR)\. ?(?=[A-Z])|\b(Mr|Mrs|Ms|Dr|MR|MRS|DR)\b\.?(?= [A-Z])"
    r"|\b(Mr|Mrs|Ms|Lt|Sgt|Capt|Prof)\."
)
_AFTER_NAME = {
    "St": "Street", "Dr": "Drive", "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road",
    "Ln": "Lane", "Hwy": "Highway", "Jr": "Junior", "Sr": "Senior", "Esq": "Esquire",
    "Inc": "Incorporated", "Ltd": "Limited", "Corp": "Corporation", "Co": "Company",
    "Bros": "Brothers",
}  # fmt: skip
_PLACE = re.compile(
    r"([\w,]{1,40}) (St|Dr|Ave|Blvd|Rd|Ln|Hwy|Jr|Sr|Esq|Inc|Ltd|Corp|Co|Bros)\.(?!\w)"
)
_ANYWHERE = {
    "e.g": "for example", "i.e": "that is", "vs": "versus", "cf": "compare", "etc": "et cetera",
    "approx": "approximately", "dept": "department", "est": "established", "avg": "average",
    "incl": "including", "misc": "miscellaneous", "al": "al", "cont": "continued", "ca": "circa",
}  # fmt: skip
_PLAIN = re.compile(
    r"\b(e\.g|i\.e|vs|cf|etc|approx|dept|est|avg|incl|misc|al|cont|ca)\.(?!\w)", re.IGNORECASE
)
_BEFORE_NUMBER = {
    "no": "number", "nos": "numbers", "vol": "volume", "ch": "chapter", "fig": "figure",
    "sec": "section", "p": "page", "pp": "pages", "art": "article", "pt": "part",
}  # fmt: skip
_COUNTED = re.compile(
    r"\b(nos?|vol|ch|fig|sec|pp?|art|pt)\. ?(?=\d)|(?<![\w&])(#) ?(?=\d)", re.IGNORECASE
)
_MONTHS_AND_DAYS = {name[:3]: name for name in MONTHS if name != "May"} | {
    "Sept": "September", "Mon": "Monday", "Tue": "Tuesday", "Tues": "Tuesday",
    "Wed": "Wednesday", "Thu": "Thursday", "Thurs": "Thursday", "Fri": "Friday",
}  # fmt: skip
_CALENDAR = re.compile(
    rf"\b({'|'.join(sorted(_MONTHS_AND_DAYS, key=len, reverse=True))})(?:\.(?=[ ,])|(?= \d))"
)
_INITIALISM = re.compile(r"(?<![\w.])(?:[A-Za-z]\.){2,}[A-Za-z]?(?!\w)|\bPh\.?D\b\.?")
_INITIALS = re.compile(r"(?<![\w'.])(?<![A-Z] )((?:[A-HJ-Z]\. ?){1,6})(?=([A-Z][a-z]+))")
_STARTERS = frozenset((
    "A", "After", "All", "An", "And", "As", "At", "But", "By", "For", "From", "He", "Her",
    "His", "How", "If", "In", "It", "Its", "My", "No", "Not", "Now", "On", "Or", "Our", "She",
    "So", "Some", "That", "The", "Their", "Then", "There", "These", "They", "This", "Those",
    "To", "We", "What", "When", "Where", "Which", "While", "Who", "Why", "With", "Yes", "You",
    "Your",
))  # fmt: skip
"""Words that, after a letter and a full stop, begin a sentence rather than go on with a name."""

_RULERS = (
    "King|Queen|Pope|Emperor|Tsar|Henry|Louis|George|Edward|Charles|James|William|Richard|"
    "Elizabeth|Philip|Paul|Benedict|Pius|Leo|Gregory|Napoleon|Frederick|Catherine|Peter|Ivan|"
    "Nicholas|Alexander|Ferdinand|Francis|Ramesses|Ptolemy|Innocent|Clement|Urban|Otto|Wilhelm"
)
_RULER = re.compile(rf"\b((?:{_RULERS})(?: [A-Z][a-z]+)?) ([IVX]{{1,5}})\b")
_SECTIONS = (
    "chapter|part|act|scene|volume|vol|book|section|article|phase|type|class|figure|table|"
    "appendix|world war|super bowl|canto|title|stage|lesson|unit|round|level"
)
_SECTION = re.compile(rf"\b({_SECTIONS}) ([IVXL]{{1,7}})\b(?!\.\w)", re.IGNORECASE)
_ROMAN = re.compile(r"(?=[IVXL])(XL|L?X{0,3})(IX|IV|V?I{0,3})")
_AFTER_FIRST = re.compile(
    r"$|[.,;:!?)'\"]| (?:of|was|is|had|and|who|in|became|ruled|died|reigned)\b"
)


def expand_abbreviations(text: str) -> str:
    """The text with abbreviations in full; a full stop that also ends a sentence stays."""
    if "." in text or "#" in text or re.search(r"\b(?:M[rRs]|D[rR])", text):
        text = _TITLE.sub(_title, _PLACE.sub(_place, text))
        text = _COUNTED.sub(lambda m: f"{_BEFORE_NUMBER[(m[1] or 'no').lower()]} ", text)
        text = _PLAIN.sub(_plain, text)
        text = _INITIALS.sub(_initials, _INITIALISM.sub(_initialism, text))
    return _CALENDAR.sub(lambda m: _MONTHS_AND_DAYS[m[1]], text)


def speak_roman(text: str) -> str:
    """The text with roman numerals in words after a ruler ("the eighth") or a section ("two")."""
    return _SECTION.sub(_section, _RULER.sub(_ruler, text))


def roman_value(numeral: str) -> int:
    """The value of a roman numeral below 90; 0 when it is not well formed."""
    match = _ROMAN.fullmatch(numeral)
    if match is None:
        return 0
    value = 0
    for digit, following in zip(numeral, f"{numeral[1:]} ", strict=True):
        worth = {"I": 1, "V": 5, "X": 10, "L": 50}
        value += -worth[digit] if worth[digit] < worth.get(following, 0) else worth[digit]
    return value


def _stop(match: re.Match[str]) -> str:
    """A full stop when the match's own also ends the sentence."""
    return "." if match.group()[-1] == "." and ends_sentence(match) else ""


def _title(match: re.Match[str]) -> str:
    """The title in full, before a name."""
    short = next(group for group in match.groups() if group)
    return _TITLES[short.capitalize()] + (" " if match[1] else "")


def _place(match: re.Match[str]) -> str:
    """Street or Drive after a name, unless a name follows: then the title rule reads it."""
    before, short = match.groups()
    named = before[:1].isupper() or before[:1].isdigit()
    followed = re.match(r" [A-Z]", match.string[match.end() : match.end() + 2])
    if short in ("St", "Dr") and (not named or (followed and not before[:1].isupper())):
        return match.group()
    return f"{before} {_AFTER_NAME[short]}{_stop(match)}"


def _plain(match: re.Match[str]) -> str:
    """The words of an abbreviation that needs no neighbour."""
    short = match[1].lower()
    words = _ANYWHERE[short]
    if match[1][0].isupper() and words:
        words = words[0].upper() + words[1:]
    return words + (_stop(match) if short in ("etc", "al", "dept") else "")


def _initialism(match: re.Match[str]) -> str:
    """The letters of "U.S." or "Ph.D.", apart."""
    letters = " ".join(letter.upper() for letter in match.group() if letter.isalpha())
    at_end = match.end() == len(match.string) and match.group()[-1] == "."
    return letters + ("." if at_end else "")


def _initials(match: re.Match[str]) -> str:
    """The initials of a name, as in "J. R. R. Tolkien", apart and without full stops."""
    if match[2] in _STARTERS:
        return match.group()
    return " ".join(letter for letter in match[1] if letter.isalpha()) + " "


def _ruler(match: re.Match[str]) -> str:
    """The ordinal after a name; "I" only where it cannot be the pronoun."""
    value = roman_value(match[2])
    if not value or (value == 1 and not _AFTER_FIRST.match(match.string, match.end())):
        return match.group()
    return f"{match[1]} the {ordinal(str(value))}"


def _section(match: re.Match[str]) -> str:
    """The cardinal after "Chapter" and the like; "part I" only where it cannot be the pronoun."""
    value = roman_value(match[2])
    pronoun = value == 1 and not _AFTER_FIRST.match(match.string, match.end())
    if not value or (pronoun and match[1].islower()):
        return match.group()
    return f"{match[1]} {cardinal(str(value))}"
