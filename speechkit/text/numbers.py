"""Numbers as English words, American style: no "and", no hyphen."""

from __future__ import annotations

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
_TENS = (
    "_", "_", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
)  # fmt: skip
_SCALES = (
    "", "thousand", "million", "billion", "trillion", "quadrillion", "quintillion", "sextillion",
)  # fmt: skip
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
_LONGEST_DIGITS = 15
"""Digits of the longest number without commas that counts something; a longer one is a code."""
_LONGEST_GROUPED = 3 * len(_SCALES)
_ROMAN_DIGITS = (
    (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"),
    (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
)  # fmt: skip

NUMBER = r"(?<!\d)(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+(?!\d))(?:\.\d+(?!\d))?"
"""Pattern of a whole number with its decimals: 5, 1,234 or 3.14.

It starts at a number's first digit and gives none back, so that a long run is read in linear time.
"""


def digits(text: str) -> str:
    """The digits in the text read one by one."""
    return " ".join(_ONES[int(digit)] for digit in text if digit.isdigit())


def cardinal(number: str) -> str:
    """The words of a whole number given as digits and commas.

    Read digit by digit when it has a leading zero or more than 15 digits (24 in groups of three).
    """
    plain = number.replace(",", "")
    longest = _LONGEST_GROUPED if "," in number else _LONGEST_DIGITS
    if len(plain) > longest or (plain[0] == "0" and len(plain) > 1):
        return digits(plain)
    value = int(plain)
    if value == 0:
        return _ONES[0]
    words: list[str] = []
    for power in range(len(_SCALES) - 1, -1, -1):
        group = value // 1000**power % 1000
        if group:
            words += [*_under_thousand(group), _SCALES[power]]
    return " ".join(word for word in words if word)


def ordinal(number: str) -> str:
    """The ordinal words of a whole number: "21" gives "twenty first"."""
    words = cardinal(number).split()
    last = words[-1]
    if last in _ORDINALS:
        words[-1] = _ORDINALS[last]
    elif last.endswith("y"):
        words[-1] = last[:-1] + "ieth"
    else:
        words[-1] = last + "th"
    return " ".join(words)


def number(text: str) -> str:
    """The words of a number that matches NUMBER, or of a decimal such as ".5"."""
    whole, point, fraction = text.partition(".")
    spoken = cardinal(whole) if whole else ""
    return f"{spoken} point {digits(fraction)}".strip() if point else spoken


def year(text: str) -> str:
    """A year of four digits in pairs, "1999" as "nineteen ninety nine"; others as a cardinal."""
    if len(text) != 4 or text[0] == "0" or text[1:3] == "00":
        return cardinal(text)
    century, rest = cardinal(text[:2]), text[2:]
    if rest == "00":
        return f"{century} hundred"
    if rest[0] == "0":
        return f"{century} oh {digits(rest[1])}"
    return f"{century} {cardinal(rest)}"


def short_year(text: str) -> str:
    """A year's last two digits: "05" as "oh five", "24" as "twenty four"."""
    if text == "00":
        return "two thousand"
    return f"oh {digits(text[1])}" if text[0] == "0" else cardinal(text)


def label(text: str) -> str:
    """The number of a room, a road or a model: "747" as "seven forty seven", "101" "one oh one"."""
    if len(text) == 3 and text[0] != "0" and text[1:] != "00":
        rest = f"oh {digits(text[2])}" if text[1] == "0" else cardinal(text[1:])
        return f"{cardinal(text[0])} {rest}"
    if len(text) == 4 and text[0] != "0" and text[1:] != "000":
        return year(text)
    return cardinal(text) if len(text) < 4 or text.endswith("000") else digits(text)


def plural(word: str) -> str:
    """The plural of an English number word: "nineties", "hundreds", "sixes"."""
    if word.endswith("y"):
        return word[:-1] + "ies"
    return word + ("es" if word.endswith("x") else "s")


def roman_value(numeral: str) -> int:
    """The value of a roman numeral in capitals, below 4000; 0 when it is not well formed."""
    value, rest = 0, numeral
    for worth, letters in _ROMAN_DIGITS:
        while rest.startswith(letters):
            value += worth
            rest = rest[len(letters) :]
    return value if not rest and value < 4000 and roman(value) == numeral else 0


def roman(value: int) -> str:
    """The roman numeral of a value from 1 to 3999."""
    letters = []
    for worth, numeral in _ROMAN_DIGITS:
        count, value = divmod(value, worth)
        letters.append(numeral * count)
    return "".join(letters)


def _under_thousand(value: int) -> list[str]:
    """The words of a number from 1 to 999."""
    words: list[str] = []
    if value >= 100:
        words += [_ONES[value // 100], "hundred"]
    value %= 100
    if value >= 20:
        words.append(_TENS[value // 10])
        value %= 10
    return [*words, _ONES[value]] if value else words
