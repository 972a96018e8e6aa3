"""Normalisation: what is read, that nothing written as a digit is left, and how long it takes."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.text import normalize

READ_AS = {
    # numbers
    "0": "zero",
    "21": "twenty one",
    "1,234": "one thousand two hundred thirty four",
    "10,000,000": "ten million",
    "3.14": "three point one four",
    ".5": "point five",
    "-5": "minus five",
    "007": "zero zero seven",
    "1e309": "one times ten to the power of three hundred nine",
    "1234567890123456": "one two three four five six seven eight nine zero one two three four five "
    "six",
    "1st 22nd 103rd": "first twenty second one hundred third",
    "3/4": "three quarters",
    "1½ cups": "one and a half cups",
    "5/0": "five over zero",
    "pages 5–10": "pages five to ten",
    "1.2.3": "one point two point three",
    "mp3": "M P three",
    "5️⃣": "five",
    "٣": "three",
    "#5": "number five",
    "x²": "x squared",
    "555-1234": "five five five, one two three four",
    # money
    "$1,234.50": "one thousand two hundred thirty four dollars and fifty cents",
    "£1": "one pound",
    "£3.20": "three pounds and twenty pence",
    "€0.01": "one cent",
    "5 €": "five euros",
    "$1.5bn": "one point five billion dollars",
    "$5-10": "five to ten dollars",
    # dates, years, times
    "2024-05-05": "May fifth, twenty twenty four",
    "12/05/2024": "December fifth, twenty twenty four",
    "13/05/2024": "May thirteenth, twenty twenty four",
    "5 May 2024": "the fifth of May twenty twenty four",
    "May 5th": "May fifth",
    "May 5, 1905.": "May fifth, nineteen oh five.",
    "you may 5 times": "you may five times",
    "Jan. 5": "January fifth",
    "1999": "nineteen ninety nine",
    "2005": "two thousand five",
    "the '90s": "the nineties",
    "1980s": "nineteen eighties",
    "3:45 pm": "three forty five P M",
    "3 p.m. He left": "three P M. He left",
    "12:00": "twelve o'clock",
    "9:05": "nine oh five",
    "2024-05-05T10:30:00Z": "May fifth, twenty twenty four at ten thirty",
    # units
    "5kg": "five kilograms",
    "1 kg": "one kilogram",
    "10 km/h": "ten kilometers per hour",
    "20%": "twenty percent",
    "-5°C": "minus five degrees Celsius",
    "100 m²": "one hundred square meters",
    "6 ft": "six feet",
    "5'10\"": "five foot ten",
    # abbreviations
    "Dr. Smith lives on Elm Dr.": "Doctor Smith lives on Elm Drive.",
    "St. Paul, 12 Main St. here": "Saint Paul, twelve Main Street here",
    "Mr Jones and Mrs. Hill": "Mister Jones and Missus Hill",
    "e.g. this, i.e. that, etc.": "for example this, that is that, et cetera.",
    "Fig. 3, p. 5": "figure three, page five",
    "No. He said no.": "No. He said no.",
    "J. R. R. Tolkien": "J R R Tolkien",
    "vitamin C. It is": "vitamin C. It is",
    # acronyms, roman numerals
    "the FBI's CEOs": "the F B I's C E O's",
    "NASA and UNESCO": "NASA and UNESCO",
    "U.S. law": "U S law",
    "I am NOT here": "I am NOT here",
    "WE CALL THE BBC": "we call the B B C",
    "Henry VIII": "Henry the eighth",
    "George I think": "George I think",
    "Chapter IV, World War II": "Chapter four, World War two",
    "MIX it, I did": "MIX it, I did",
    # addresses and symbols
    "me@foo.org!": "me at foo dot org!",
    "https://www.a-b.com/x?q=1.": "W W W dot a dash b dot com slash x question mark q equals one.",
    "AT&T": "AT and T",
    # characters
    "“Hello” — she’s here…": '"Hello" - she\'s here...',
    "ﬁne\u00a0text\u200b": "fine text",
    "a\x00b\x1b": "ab",
    "one\n\ntwo": "one. two",
    "one\ntwo": "one, two",
    "[[HH AH0 L OW1]], 5": "[[HH AH0 L OW1]], five",
    "Los Angeles, CA 90001": "Los Angeles, California nine zero zero zero one",
    "He lives in Austin, TX.": "He lives in Austin, Texas.",
    "Come in, OR go.": "Come in, OR go.",
    "1,000,000,000,000,000,000": "one quintillion",
    "10.0.0.255 is up": "ten dot zero dot zero dot two hundred fifty five is up",
    "version 1.2.3.4": "version one point two point three point four",
    "a 4-4-2 formation": "a four four two formation",
    "a 5-10-year-old": "a five to ten-year-old",
    "b-c-1-5-b": "b c one five b",
    "340 A.D": "three hundred forty A D.",
    "go<noise/>home": "go home",
    "<!DOCTYPE html>so": "so",
    "<!uh so <p>well": "<!uh so, well",
    "H<sub>2</sub>O": "H two O",
    "<pitch=-.3>so</pitch>": "so",
    "a<b=c>d": "a<b equals c>d",
}

_PIECES = st.sampled_from(
    [
        *"0123456789",
        *" .,:;-/'\"$£€%°@#&+=()^x×½²٣—ABIVXabcdest\n",
        " Dr. ",
        " St. ",
        "May ",
        " pm",
        "e.g.",
        "www.",
        ".com",
        "http://",
        "kg",
        " Henry ",
        " Chapter ",
        "U.S.",
        "1st",
        "é",
        "你",
        "😀",
        "\u0301",
    ]
)
WRITTEN = st.lists(_PIECES, max_size=30).map("".join)


@pytest.mark.parametrize(("written", "read"), READ_AS.items())
def test_read_as(written: str, read: str) -> None:
    assert normalize(written) == read


def _holds(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    if "[[" not in once:
        assert not any(character.isdigit() for character in once)
    assert once == " ".join(once.split())
    assert once.isprintable()


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), WRITTEN))
def test_idempotent_and_leaves_no_digit(text: str) -> None:
    _holds(text)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**15 - 1))
def test_cardinals_are_only_words(value: int) -> None:
    assert normalize(f"{value} {value:,}").replace(" ", "").isalpha()


@pytest.mark.parametrize(
    "unit",
    ["1", "1,", "1.", "1/", "1:1 ", "$1", "-", "a. ", "A. ", "May 1 ", "IV ", "a@", "http://", "½"]
    + ["\n\n", " ", "[[", "(", "٣", "www.a", "St. ", "1e9", "x^2", "AB ", "a\u0301", "@a."],
)
def test_time_grows_linearly(unit: str) -> None:
    """A text 16 times as long may take 64 times as long, never 256 times."""
    seconds = []
    for length in (1_500, 24_000):
        text = (unit * length)[:length]
        start = time.process_time()
        normalize(text)
        seconds.append(time.process_time() - start)
    assert seconds[1] < 64 * seconds[0] + 0.1


def test_hundred_thousand_characters() -> None:
    text = ("On 5 May 2024, Dr. Smith paid $1,234.50 for 3/4 of it. " * 2_000)[:100_000]
    start = time.process_time()
    _ = normalize(text)
    assert time.process_time() - start < 20


def test_kept_words_are_not_spelled() -> None:
    assert normalize("the SQL BBC", keep={"sql"}) == "the SQL B B C"
