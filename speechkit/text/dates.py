"""Dates, times of day and spans of both, as they are read out."""

from __future__ import annotations

import re

from speechkit.text.numbers import cardinal, digits, ordinal, short_year, year

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SHORT = {name[:3]: name for name in (*MONTHS, *DAYS) if name != "May"} | {
    "Sept": "September", "Tues": "Tuesday", "Thur": "Thursday", "Thurs": "Thursday",
}  # fmt: skip
_MONTH = "|".join(MONTHS)
_SHORT_MONTH = "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec"
_SHORT_DAY = "Mon|Tues|Tue|Wed|Thurs|Thur|Thu|Fri|Sat|Sun"
_IN_LOWER_CASE_A_WORD = frozenset(("may", "march", "august"))
_FIRST_OF_THE_1900S = 70
"""A year of two digits from here on belongs to the last century."""

# Short names in full: beside a number, before a full stop, after a preposition, in a span.
_AFTER_DAY = re.compile(
    rf"(\d(?:st|nd|rd|th)?)([ ./-]?)({_SHORT_MONTH})\b\.?(?![A-Za-z])", re.IGNORECASE
)
_BEFORE_DAY = re.compile(rf"\b({_SHORT_MONTH})\b\.?(?=[ /-]'?\d)", re.IGNORECASE)
_STOPPED = re.compile(rf"\b({_SHORT_MONTH}|{_SHORT_DAY})\.(?=[ ,)]|$)")
_PLACED = re.compile(
    rf"\b((?:in|since|until|till|by|from|last|next|this|early|mid|late|of|through|on|every)[ -])"
    rf"({_SHORT_MONTH}|{_SHORT_DAY})\b(?![.'\w-])(?! [A-Z])"
)
_BEFORE_DATE = re.compile(rf"\b({_SHORT_DAY})\b\.?(?=,? (?:\d|(?:{_MONTH}|{_SHORT_MONTH})\b))")
_NAMES = f"{_MONTH}|{'|'.join(DAYS)}|{_SHORT_MONTH}|{_SHORT_DAY}"
_SPAN = re.compile(rf"\b({_NAMES})\.?(?: - |-)({_NAMES})\b\.?(?! \d{{1,2}}(?!\d)| - )")

_ISO_TIME = re.compile(r"(?<!\d)(\d{4}-\d{2}-\d{2})T(?=\d{2}:\d{2})")
_ISO = re.compile(
    r"(?<![\d/.-])(\d{4})(?:([-/])(\d{1,2})\2(\d{1,2})|\.(\d\d)\.(\d\d))(?![\d/-]|\.\d)"
)
_ISO_MONTH = re.compile(r"(?<![\d/.-])((?:1[89]|20)(\d\d))-(0[1-9]|1[0-2])(?![\d/-]|\.\d)")
_SEASON = re.compile(r"(?<![\d/.-])((?:1[89]|20)(\d\d))/(\d\d)(?![\d/-]|\.\d)")
_SLASHED = re.compile(
    r"(?<![\d/.-])(\d{1,2})(?:/(\d{1,2})/(\d{4}|\d{2})|([.-])(\d{1,2})\4(\d{4}))(?![\d/-])"
)
_NO_YEAR = re.compile(
    r"(?i)\b(?:((?:on|until|till|since|due|dated|starting|deadline|date|"
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)day)[ :,]{1,2})|((?:by|before|after|from|through|"
    r"between|effective|of|the) ))(\d{1,2})/(\d{1,2})(?![\d/%]|\.\d)(?! (?:of|the|an?|cups?)\b)"
)
_TO_NO_YEAR = re.compile(
    r"(?<=th|st|nd|rd)(?: ?- ?| (to|and|or) )(\d{1,2})/(\d{1,2})(?![\d/]|\.\d)"
)
_SUFFIX = r"(?:st|nd|rd|th)?"
_DAY_FIRST = re.compile(
    rf"(?<![\w.,:/$-])(the )?(?:(\d{{1,2}}){_SUFFIX}(?: ?- ?| to | and ))?"
    rf"(\d{{1,2}}){_SUFFIX}(?: of |[ ./-]|(?=[A-Z]))({_MONTH})\b(?:[,./-]{{0,2}} ?(\d{{4}})(?![\d:]))?",
    re.IGNORECASE,
)
_MONTH_FIRST = re.compile(
    rf"\b({_MONTH})[ /-](\d{{1,2}}){_SUFFIX}(?:-(\d{{1,2}}){_SUFFIX}(?![\d-]))?"
    rf"(?![\w:/%]|[.,]\d)(?:[,./-]{{0,2}} ?(\d{{4}})(?![\d:]))?",
    re.IGNORECASE,
)
_YEAR_IN_SHORT = re.compile(
    rf"(?i)\b((?:{_MONTH}|of|in|since|from|until|early|late|spring|summer|autumn|fall|winter|"
    r"(?:first|second|third|th)),? )'(\d\d)(?![\w'])"
)
_NEW_SENTENCE = re.compile(rf"$| (?!(?:{_MONTH}|{'|'.join(DAYS)})\b)[A-Z](?:[a-z' ]|$)")

_HALF_DAY = r"([ap])(?:\.\s?m\.|\.m\b|m\b)"
_HALF = r"\s?[ap](?:\.\s?m\.|\.m\b|m\b)"
_HOURS = r"(?:[01]?\d|2[0-4])(?:[:.][0-5]\d)?"
_FROM_TO = re.compile(
    rf"(?<![\w:.,/$-])({_HOURS}(?:{_HALF})?)\s?-\s?(?={_HOURS}{_HALF})"
    rf"|(?<![\w:.,/$-])(\d{{1,2}}:[0-5]\d(?:{_HALF})?)\s?-\s?(?=\d{{1,2}}:[0-5]\d(?!\d))",
    re.IGNORECASE,
)
_NOON = re.compile(
    r"(?i)(?<=noon)\s?-\s?(?=\d)|(?<=midnight)\s?-\s?(?=\d)|(?<=m)-(?=noon|midnight)"
)
_OTHER_CLOCK = re.compile(
    rf"(?<![\w.,:])([01]?\d|2[0-3])(?:\.([0-5]\d)(?={_HALF})|h([0-5]\d)(?!\w))", re.IGNORECASE
)
_CLOCK = re.compile(
    rf"(?<![\d:.])([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?(?![\d:]|\.\d)(?:\s?{_HALF_DAY})?Z?",
    re.IGNORECASE,
)
_HOUR = re.compile(rf"(?<![\d:.,])(1[0-2]|0?[1-9])\s?{_HALF_DAY}", re.IGNORECASE)
_MILITARY = re.compile(
    r"(?i)(?<![\w.,:/-])((?:at|by|until|before|after|from) )?([01]\d|2[0-3])([0-5]\d) "
    r"?(?:hours|hrs)\b"
)


def speak_times(text: str) -> str:
    """The text with clock times in words: "3:45 pm" becomes "three forty five P M"."""
    text = _BEFORE_DATE.sub(lambda m: full_name(m[1]), _NOON.sub(" to ", text))
    text = _OTHER_CLOCK.sub(lambda m: f"{m[1]}:{m[2] or m[3]}", _ISO_TIME.sub(r"\1 at ", text))
    text = _FROM_TO.sub(lambda m: f"{m[1] or m[2]} to ", text)
    return _HOUR.sub(_hour, _CLOCK.sub(_clock, _MILITARY.sub(_military, text)))


def speak_dates(text: str) -> str:
    """The text with dates in words; 12/05/2024 is read month first unless that is impossible."""
    text = _SPAN.sub(lambda m: f"{full_name(m[1])} to {full_name(m[2])}", text)
    text = _AFTER_DAY.sub(lambda m: f"{m[1]}{m[2] or ' '}{full_name(m[3])}", text)
    text = _BEFORE_DAY.sub(lambda m: full_name(m[1]), text)
    text = _STOPPED.sub(lambda m: full_name(m[1]) + ("." if m.end() == len(m.string) else ""), text)
    text = _PLACED.sub(lambda m: m[1] + full_name(m[2]), text)
    text = _ISO.sub(lambda m: _date(m[3] or m[5], m[4] or m[6], m[1]) or m.group(), text)
    text = _ISO_MONTH.sub(_iso_month, _SLASHED.sub(_slashed, text))
    text = _SEASON.sub(_season, _NO_YEAR.sub(_no_year, text))
    text = _TO_NO_YEAR.sub(lambda m: _also_no_year(m), text)
    text = _DAY_FIRST.sub(_day_first, _MONTH_FIRST.sub(_month_first, text))
    return _YEAR_IN_SHORT.sub(lambda m: m[1] + short_year(m[2]), text)


def full_name(short: str) -> str:
    """ "Sept" or "SEPT" as "September"; other words as they are."""
    return _SHORT.get(short.capitalize(), short.capitalize())


def ends_sentence(match: re.Match[str]) -> bool:
    """True when a full stop at the end of the match also ends the sentence."""
    return _NEW_SENTENCE.match(match.string, match.end()) is not None


def _date(month: str, day: str, in_year: str = "") -> str:
    """The words of a date, month first; empty when there is no such day."""
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return ""
    spoken = f"{MONTHS[int(month) - 1]} {ordinal(str(int(day)))}"
    if len(in_year) == 2:
        in_year = ("20" if int(in_year) < _FIRST_OF_THE_1900S else "19") + in_year
    return f"{spoken}, {year(in_year)}" if in_year else spoken


def _slashed(match: re.Match[str]) -> str:
    """The words of 12/05/2024, 13.05.2024 or 12-05-2024."""
    first, second, in_year = match.group(1, 2, 3) if match[2] else match.group(1, 5, 6)
    return _date(first, second, in_year) or _date(second, first, in_year) or match.group()


def _no_year(match: re.Match[str]) -> str:
    """The words of "on 3/15"; after a word that may as well stand before a fraction, only a day
    that no fraction has.
    """
    cue = match[1] or match[2]
    if match[2] and match[4] in ("2", "3", "4", "5", "6", "8", "10"):
        return match.group()
    spoken = _date(match[3], match[4]) or _date(match[4], match[3])
    return cue + spoken if spoken else match.group()


def _also_no_year(match: re.Match[str]) -> str:
    """The words of the second date in "3/15 to 3/20"."""
    spoken = _date(match[2], match[3])
    return f" {match[1] or 'to'} {spoken}" if spoken else match.group()


def _iso_month(match: re.Match[str]) -> str:
    """The words of 2024-03; 2003-04 is a span of years."""
    if int(match[3]) > int(match[2]):
        return f"{year(match[1])} to {short_year(match[3])}"
    return f"{MONTHS[int(match[3]) - 1]} {year(match[1])}"


def _season(match: re.Match[str]) -> str:
    """The words of 2023/24, where the years follow each other."""
    if (int(match[2]) + 1) % 100 != int(match[3]):
        return match.group()
    return f"{year(match[1])} to {short_year(match[3])}"


def _is_verb(month: str, in_year: str | None) -> bool:
    """True when the month's name in lower case, with no year, may be another word."""
    return not in_year and month in _IN_LOWER_CASE_A_WORD


def _day_first(match: re.Match[str]) -> str:
    """The words of "5 May 2024" or "5-7 May"."""
    the, first_day, day, month, in_year = match.groups()
    if not 1 <= int(day) <= 31 or _is_verb(month, in_year) or int(first_day or 1) > 31:
        return match.group()
    spoken = f"{the or 'the '}{ordinal(str(int(day)))} of {month.capitalize()}"
    if first_day:
        spoken = f"{the or 'the '}{ordinal(str(int(first_day)))} to the {spoken.split(' ', 1)[1]}"
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
        unit = "second" if int(second) == 1 else "seconds"
        spoken.append(f"and {cardinal(str(int(second)))} {unit}")
    return " ".join(spoken) + _half_day(letter, match)


def _hour(match: re.Match[str]) -> str:
    """The words of "3 pm"."""
    return cardinal(str(int(match[1]))) + _half_day(match[2], match)


def _military(match: re.Match[str]) -> str:
    """The words of "0830 hours"; "2000 hours" is a time only where one is named."""
    cue, hour, minute = match.groups()
    if hour[0] != "0" and minute == "00" and not cue:
        return match.group()
    first = f"oh {digits(hour[1])}" if hour[0] == "0" else cardinal(hour)
    rest = "hundred" if minute == "00" else cardinal(str(int(minute)))
    rest = f"oh {digits(minute[1])}" if minute[0] == "0" and minute != "00" else rest
    return f"{cue or ''}{first} {rest} hours"
