from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechkit.ssl.probes.words import spoken_words

WORD = st.tuples(
    st.text("abcdefgh", min_size=1, max_size=6),
    st.lists(
        st.tuples(st.sampled_from(["AA1", "B", "S"]), st.integers(1, 9)), min_size=1, max_size=3
    ),
)
BOUNDARY = st.tuples(st.sampled_from([" ", ",", "."]), st.integers(0, 20))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(WORD, BOUNDARY), min_size=1, max_size=4), st.integers(0, 30))
def test_words_are_where_they_were_put(
    sentence: list[tuple[tuple[str, list[tuple[str, int]]], tuple[str, int]]], lead: int
) -> None:
    timed = [("^", lead)]
    expected, now = [], lead
    for (word, phones), boundary in sentence:
        length = sum(frames for _, frames in phones)
        expected.append((word, now, now + length))
        timed += [*phones, boundary]
        now += length + boundary[1]
    timed.append(("$", 0))
    symbols, frames = zip(*timed, strict=True)
    text = " ".join(word.upper() for (word, _), _ in sentence)
    found = spoken_words(text, symbols, frames)
    assert found is not None
    assert [(one.word, one.first, one.end) for one in found] == expected
    # A number is read as who knows how many words.
    assert spoken_words(f"{text} 12", symbols, frames) is None
    assert spoken_words(f"{text} more", symbols, frames) is None


def test_a_word_at_the_very_end_and_an_apostrophe() -> None:
    found = spoken_words("it's so", ["AA1", " ", "S", "B"], [3, 2, 4, 5])
    assert found is not None
    assert [(one.word, one.first, one.end) for one in found] == [("it's", 0, 3), ("so", 5, 14)]
    assert spoken_words("", ["^", "$"], [5, 5]) == []
