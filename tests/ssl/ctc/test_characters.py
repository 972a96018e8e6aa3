"""Alphabets: what text becomes, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.core.errors import CheckpointError, DataError
from speechkit.ssl.ctc.characters import BLANK, Characters, normalise

ENGLISH = Characters.english()
WORDS = st.lists(st.text("ABCXYZ'", min_size=1, max_size=6), max_size=5)


def test_english_has_29_classes_as_in_librispeech_recipes() -> None:
    assert ENGLISH.size == 29
    assert ENGLISH.encode("hello world") == [
        *[9, 6, 13, 13, 16, 1],
        *[24, 16, 19, 13, 5, 1],
    ]


def test_punctuation_goes_and_apostrophes_stay() -> None:
    assert normalise("Well\u2014it\u2019s  a \u201cwell-known\u201d fact,\tisn't it?") == (
        "WELL IT'S A WELL KNOWN FACT ISN'T IT"
    )


@given(WORDS)
def test_text_comes_back(words: list[str]) -> None:
    text = " ".join(words)
    labels = ENGLISH.encode(text)
    assert ENGLISH.decode(labels) == text
    assert BLANK not in labels
    assert labels.count(ENGLISH.word_end) == len(words)


@given(st.text(max_size=30))
def test_any_text_is_written_or_refused_by_name(text: str) -> None:
    unknown = ENGLISH.unknown(text)
    if unknown:
        with pytest.raises(DataError, match="alphabet has no"):
            ENGLISH.encode(text)
    else:
        assert ENGLISH.decode(ENGLISH.encode(text)) == normalise(text)


@pytest.mark.parametrize("text", ["room 101", "50 %", "Tom & Jerry", "caf\u00e9", "\u4f60\u597d"])
def test_what_is_spoken_but_no_letter_is_unknown(text: str) -> None:
    assert ENGLISH.unknown(text)


def test_error_names_characters_and_clips() -> None:
    texts = [("good", "fine"), *((f"clip{n}", "room 7") for n in range(7))]
    with pytest.raises(DataError, match="no 7 in the text of clip0, clip1.*and 2 more"):
        ENGLISH.require(texts)


def test_alphabet_of_another_language() -> None:
    russian = Characters.from_texts(
        ["\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440 25!"]
    )
    text = "\u043c\u0438\u0440 \u043f\u0440\u0438\u0432\u0435\u0442"
    assert russian.decode(russian.encode(text)) == text.upper()
    assert russian.unknown("25") == ("2", "5")
    assert Characters.from_json(russian.to_json()) == russian


def test_bad_alphabets_are_refused() -> None:
    with pytest.raises(DataError, match="no letters"):
        Characters.from_texts(["123", ""])
    for value in (None, [], ["|"], ["A", "|"], ["|", "AB"], ["|", "A", "A"], ["|", 3], "|AB"):
        with pytest.raises(CheckpointError, match="alphabet"):
            Characters.from_json(value)
