"""Dates and times of day as they are read out."""

from __future__ import annotations

import re

from speechkit.text.numbers import cardinal, digits, ordinal, year

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_MONTH = "|".join(MONTHS)
_IN_LOWER_CASE_A_WORD = frozenset(("may", "march", "august"))
_FIRST_OF_THE_1900S = 70
"""A year of two digits from here on belongs to the last century."""

_ISO_TIME = re.compile(r"(?<!\d)(\d{4}-\d{2}-\d{2})T(?=\d{2}:\d{2})")
_ISO = re.compile(r"(?<![\d/.-])(\d{4})([-/])(\d{1,2})\2(\d{1,2})(?![\d/-])")
_SLASHED = re.compile(
    r"(?<![\d/.-])(\d{1,2})(?:/(\d{1,2})/(\d{4}|\d{2})|([.-])(\d{1,2})\4(\d{4}))(?![\d/-])"
)
_DAY_FIRST = re.compile(
    rf"(?<![\w.,:/$-])(the )?(\d{{1,2}})(?:st|nd|rd|th)? (?:of )?({_MONTH})\b"
    rf"(?:,? (\d{{4}})(?![\d:]))?",
    re.IGNORECASE,
)
_MONTH_FIRST = re.compile(
    rf"\b({_MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?(?:-(\d{{1,2}})(?:st|nd|rd|th)?)?"
    rf"(?![\w:/%-]|[.,]\d)(?:,? (\d{{4}})(?![\d:]))?",
    re.IGNORECASE,
)
_NEW_SENTENCE = re.compile(
    rf"$| (?!(?:{_MONTH}|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day)\b)[A-Z](?:[a-z' ]|$)"
)
_HALF_DAY = r"([ap])(?:\.m\.|m\b)"
_CLOCK = re.compile(
    rf"(?<![\d:.])([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?(?![\d:]|\.\d)(?:\s?{_HALF_DAY})?Z?",
    re.IGNORECASE,
)
_HOUR = re.compile(rf"(?<![\d:.,])(1[0-2]|[1-9])\s?{_HALF_DAY}", re.IGNORECASE)


def speak_times(text: str) -> str:
    """The text with clock times in words: "3:45 pm" becomes "three forty five P M"."""
    text = _ISO_TIME.sub(r"\1 at ", text)
    return _HOUR.sub(_hour, _CLOCK.sub(_clock, text))


def speak_dates(text: str) -> str:
    """The text with dates in words; 12/05/2024 is read month first unless that is impossible."""
    text = _ISO.sub(lambda m: _date(m.group(3), m.group(4), m.group(1)) or m.group(), text)
    text = _SLASHED.sub(_slashed, text)
    return _DAY_FIRST.sub(_day_first, _MONTH_FIRST.sub(_month_first, text))


def _date(month: str, day: str, in_year: str) -> str:
    """The words of a date, month first; empty when there is no such day."""
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return ""
    if len(in_year) == 2:
        in_year = ("20" if int(in_year) < _FIRST_OF_THE_1900S else "19") + in_year
    return f"{MONTHS[int(month) - 1]} {ordinal(str(int(day)))}, {year(in_year)}"


def _slashed(match: re.Match[str]) -> str:
    """The words of 12/05/2024, 13.05.2024 or 12-05-2024."""
    first, second, in_year = match.group(1, 2, 3) if match.group(2) else match.group(1, 5, 6)
    return _date(first, second, in_year) or _date(second, first, in_year) or match.group()


def _is_verb(month: str, in_year: str | None) -> bool:
    """True when the month's name in lower case, with no year, may be another word."""
    return not in_year and month in _IN_LOWER_CASE_A_WORD


def _day_first(match: re.Match[str]) -> str:
    """The words of "5 May 2024"."""
    the, day, month, in_year = match.groups()
    if not 1 <= int(day) <= 31 or _is_verb(month, in_year):
        return match.group()
    spoken = f"{the or 'the '}{ordinal(str(int(day)))} of {month.capitalize()}"
    return f"{spoken} {year(in_year)}" if in_year else spoken


def _month_first(match: re.Match[str]) -> str:
    """The words of "May 5th, 2024" or "May 5-7"."""
    month, day, last_day, in_year = match.groups()
    if not 1 <= int(day) <= 31 or _is_verb(month, in_year):
        return match.group()
    spoken = f"{month.capitalize()} {ordinal(str(int(day)))}"
    if last_day:
        spoken += f" to {ordinal(str(int(last_day)))}"
    return f"{spoken}, {year(in_year)}" if in_year else spoken


def _half_day(letter: str | None, match: re.Match[str]) -> str:
    """ "A M" or "P M", with the full stop when it also ends the sentence; empty without one."""
    if not letter:
        return ""
    ends = match.group()[-1] == "." and ends_sentence(match)
    return f" {letter.upper()} M" + ("." if ends else "")


def ends_sentence(match: re.Match[str]) -> bool:
    """True when a full stop at the end of the match also ends the sentence."""
    return _NEW_SENTENCE.match(match.string, match.end()) is not None


def _clock(match: re.Match[str]) -> str:
    """The words of "3:45 pm", "15:30" or "12:30:15"."""
    hour, minute, second, letter = match.groups()
    spoken = [cardinal(str(int(hour)))]
    if minute == "00":
        if not letter and not second:
            spoken.append("o'clock" if 1 <= int(hour) <= 12 else "hundred")
    elif minute[0] == "0":
        spoken.append("oh " + digits(minute[1]))
    else:
        spoken.append(cardinal(minute))
    if second and int(second):
        spoken.append(f"and {cardinal(str(int(second)))} seconds")
    return " ".join(spoken) + _half_day(letter, match)


def _hour(match: re.Match[str]) -> str:
    """The words of "3 pm"."""
    return cardinal(match.group(1)) + _half_day(match.group(2), match)
