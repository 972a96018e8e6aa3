"""The phone vocabulary: a fixed order, and errors that name the nearest symbol."""

from __future__ import annotations

import pytest

from speechkit.core.errors import TextError
from speechkit.text import BOUNDARIES, DEFAULT_VOCABULARY, PhoneVocabulary, is_boundary
from speechkit.text.vocab import check_phones


def test_order_is_padding_then_boundaries_then_phones() -> None:
    symbols = DEFAULT_VOCABULARY.symbols
    assert symbols[0] == "<pad>"
    assert set(symbols[1:11]) == BOUNDARIES
    assert len(symbols) == 80
    assert symbols[11:] == tuple(sorted(symbols[11:]))
    assert not any(is_boundary(symbol) for symbol in symbols[11:])


def test_ids_and_phones_are_inverse() -> None:
    phones = ["^", "HH", "AH0", "L", "OW1", ".", "$"]
    assert DEFAULT_VOCABULARY.phones(DEFAULT_VOCABULARY.ids(phones)) == phones


@pytest.mark.parametrize(("symbol", "nearest"), [("AH", "AH0"), ("HHH", "HH"), ("ah0", "AH0")])
def test_unknown_symbol_names_the_nearest(symbol: str, nearest: str) -> None:
    with pytest.raises(TextError, match=nearest):
        DEFAULT_VOCABULARY.ids([symbol])


def test_bad_vocabularies_and_ids_are_refused() -> None:
    with pytest.raises(TextError, match="start with"):
        PhoneVocabulary(("A", "<pad>"))
    with pytest.raises(TextError, match="twice"):
        PhoneVocabulary(("<pad>", "A", "A"))
    with pytest.raises(TextError, match="79"):
        DEFAULT_VOCABULARY.phones([80])


def test_check_phones() -> None:
    assert check_phones(["B", "IY1"], "here") == ("B", "IY1")
    with pytest.raises(TextError, match=r"here .*'IY'.*'IY0'"):
        check_phones(["B", "IY"], "here")
    with pytest.raises(TextError, match="no phones"):
        check_phones([], "here")
    with pytest.raises(TextError, match="unknown phone ' '"):
        check_phones([" "], "here")
