"""Chunks lose no word, keep to the limit, and end where a reader would pause."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.errors import TextError
from speechkit.text import chunk


def test_splits_at_the_strongest_break_that_fits() -> None:
    text = "One two three. Four five, six seven; eight nine ten eleven twelve. Bye."
    assert chunk(text, 1000) == (text,)
    assert chunk(text, 30) == (
        "One two three.",
        "Four five, six seven;",
        "eight nine ten eleven twelve.",
        "Bye.",
    )
    assert chunk("one two three four", 9) == ("one two", "three", "four")


def test_abbreviations_end_no_sentence() -> None:
    assert chunk("Ask old Dr. Smith now. Then go.", 24) == ("Ask old Dr. Smith now.", "Then go.")


def test_inline_phones_are_never_cut() -> None:
    inline = "[[HH AH0 L OW1]]"
    assert chunk(f"say {inline} twice", 6) == ("say", inline, "twice")
    assert chunk(f"aaa{inline}bbb", 2) == ("aa", "a", inline, "bb", "b")


def test_one_long_word() -> None:
    pieces = chunk("a" * 5_000, 200)
    assert "".join(pieces) == "a" * 5_000
    assert max(map(len, pieces)) <= 200


def test_empty_text_and_limit() -> None:
    assert chunk(" \n ", 10) == ()
    with pytest.raises(TextError, match="max_chars"):
        chunk("a", 0)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text("ab.,;!?'é—[]-", min_size=1, max_size=12), max_size=40).map(" ".join),
    st.integers(1, 60),
)
def test_loses_no_word(text: str, max_chars: int) -> None:
    pieces = chunk(text, max_chars)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    if "[[" not in text:
        assert all(0 < len(piece) <= max_chars for piece in pieces)
        if all(len(word) <= max_chars for word in text.split()):
            assert " ".join(pieces).split() == text.split()
