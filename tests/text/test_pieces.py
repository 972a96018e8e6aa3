"""Long text in pieces: nothing is lost, no cut changes a reading."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.errors import TextError
from speechkit.text import Frontend
from speechkit.text.chunk import CLAUSE, SENTENCE, WORD_END, pack
from speechkit.text.vocab import END, MARKS, START, WORD_BOUNDARY

FRONTEND = Frontend()
TEXTS = (
    "Dr. Smith paid $5.3 billion for 12 km of land, and Henry VIII called (555) 555-0199 on 5 May "
    "2024. Was it worth it? Nobody knows; not even the U.S. It was cold.",
    "The 1800s were long. In 1999 he read 3/4 of the 21st book at 10:30 am, v2.0.1 of it.",
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen",
)


def inner(phones: tuple[str, ...]) -> tuple[str, ...]:
    assert (phones[0], phones[-1]) == (START, END)
    return phones[1:-1]


def joined(pieces: tuple[tuple[str, ...], ...]) -> list[str]:
    """The phones of all pieces as one text; a cut between two words is a word boundary."""
    whole: list[str] = []
    for piece in pieces:
        if whole and whole[-1] not in MARKS:
            whole.append(WORD_BOUNDARY)
        whole += inner(piece)
    return whole


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("limit", [1, 7, 20, 45, 90, 500])
@pytest.mark.parametrize("soon", [False, True])
def test_no_cut_changes_a_reading(text: str, limit: int, soon: bool) -> None:
    pieces = FRONTEND.pieces(text, limit, soon=soon)
    assert joined(pieces.phones) == list(inner(FRONTEND.phones(text)))
    assert pieces.words == FRONTEND.report(text).words


def test_pieces_end_at_the_strongest_break_that_fits() -> None:
    text = "We came home, at last. Nobody was there; nobody at all."
    assert len(FRONTEND.pieces(text, 200).phones) == 1
    sentences = FRONTEND.pieces(text, 40).phones
    assert [piece[-2] for piece in sentences] == [".", "."]
    clauses = FRONTEND.pieces(text, 20).phones
    assert [piece[-2] for piece in clauses] == [",", ".", ";", "."]


DOOR = "The door opened, and a man came in with a lamp."
BRIDGE = "When the old wooden bridge over the wide river fell in the storm of that night"


@pytest.mark.parametrize(
    ("text", "first"),
    [
        # Sentences as far as they fit.
        (f"{DOOR} {DOOR} {DOOR}", f"{DOOR}"),
        # A clause where no sentence ends in time.
        (f"{BRIDGE}, we stayed at home and waited.", f"{BRIDGE},"),
        # A piece is spoken in parts: no clause is cut to be there soon.
        (f"{BRIDGE}.", f"{BRIDGE}."),
        ("No.", "No."),
    ],
)
def test_the_first_piece_of_a_stream_ends_where_a_reader_pauses(text: str, first: str) -> None:
    pieces = FRONTEND.pieces(text, 180, soon=True).phones
    assert pieces[0] == FRONTEND.phones(first)


def test_the_pieces_of_a_stream_grow() -> None:
    text = "The door opened, and then " + "we all went down to the sea once more, and " * 12
    lengths = [len(piece) for piece in FRONTEND.pieces(text, 180, soon=True).phones]
    assert lengths[0] < lengths[1] < lengths[2]


def test_a_text_without_words_is_refused() -> None:
    with pytest.raises(TextError):
        FRONTEND.pieces(" \n ", 10)
    with pytest.raises(TextError, match="limit"):
        FRONTEND.pieces("a", 0)


def test_what_is_not_spoken_is_said_once() -> None:
    notes = FRONTEND.pieces("Hello 世界 and 世界 again.", 8).notes
    assert len(notes) == 1
    assert "世" in notes[0]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.sampled_from((WORD_END, CLAUSE, SENTENCE)))),
    st.integers(1, 80),
)
def test_runs_keep_all_items_in_order_and_fit(items: list[tuple[int, int]], limit: int) -> None:
    lengths, breaks = [length for length, _ in items], [strength for _, strength in items]
    runs = pack(lengths, breaks, limit)
    assert list(chain(*(range(run.start, run.stop) for run in runs))) == list(range(len(items)))
    for run in runs:
        size = sum(lengths[run]) + run.stop - run.start - 1
        assert size <= limit or run.stop - run.start == 1
