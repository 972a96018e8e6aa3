from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.errors import DataError
from speechkit.core.metrics import bootstrap, edit_distance, edits

_LETTERS = st.text("ab ", max_size=8)


@pytest.mark.parametrize(
    ("wanted", "given_", "count"),
    [("", "", 0), ("abc", "abc", 0), ("kitten", "sitting", 3), ("abc", "", 3), ("", "ab", 2)],
)
def test_edit_distance(wanted: str, given_: str, count: int) -> None:
    assert edit_distance(wanted, given_) == count


@settings(deadline=None, max_examples=50)
@given(_LETTERS, _LETTERS, _LETTERS)
def test_edit_distance_is_a_metric(a: str, b: str, c: str) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


@settings(deadline=None, max_examples=50)
@given(_LETTERS, _LETTERS)
def test_edits_add_up(reference: str, hypothesis: str) -> None:
    found = edits(reference, hypothesis)
    assert found.reference_tokens == len(reference)
    assert found.hits + found.substitutions + found.insertions == len(hypothesis)
    assert min(found.hits, found.substitutions, found.insertions, found.deletions) >= 0
    assert (found + found).errors == 2 * found.errors


def test_edits_of_words_are_told_apart() -> None:
    found = edits(["the", "cat", "sat"], ["the", "hat", "sat", "down"])
    assert (found.hits, found.substitutions, found.insertions, found.deletions) == (2, 1, 1, 0)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20), st.sampled_from("abcd")), min_size=1)
)
def test_interval_holds_between_the_extreme_groups(rows: list[tuple[int, int, str]]) -> None:
    errors, words, speakers = zip(*rows, strict=True)
    rates = [e / w for e, w in zip(errors, words, strict=True)]
    interval = bootstrap(errors, words, speakers)
    assert min(rates) - 1e-9 <= interval.low <= interval.high <= max(rates) + 1e-9


def test_interval_is_the_same_each_time_and_shrinks_with_more_speakers() -> None:
    def width(speakers: int) -> float:
        names = [f"s{i}" for i in range(speakers)]
        interval = bootstrap([i % 2 for i in range(speakers)], [1.0] * speakers, names, seed=3)
        return interval.high - interval.low

    assert width(10) == width(10)
    assert width(100) < width(10) / 2


def test_interval_resamples_speakers_and_not_clips() -> None:
    figures = [0.0] * 50 + [1.0] * 50
    clustered = bootstrap(figures, [1.0] * 100, ["a"] * 50 + ["b"] * 50)
    assert (clustered.low, clustered.high) == (0.0, 1.0)
    single = bootstrap(figures, [1.0] * 100, ["a"] * 100)
    assert 0.3 < single.low < 0.5 < single.high < 0.7


def test_paired_interval_sees_the_difference_and_not_the_clips() -> None:
    ours = np.linspace(0, 1, 20)
    speakers = [f"s{i % 5}" for i in range(20)]
    ones = np.ones(20)
    paired = bootstrap(ours, ones, speakers, minus=(ours - 0.1, ones))
    assert (paired.low, paired.high) == pytest.approx((0.1, 0.1))
    plain = bootstrap(ours, ones, speakers)
    assert plain.high - plain.low > 0.05


def test_interval_of_nothing_is_an_error() -> None:
    with pytest.raises(DataError):
        bootstrap([], [], [])
    with pytest.raises(DataError):
        bootstrap([1.0], [1.0], ["a"], minus=([1.0, 2.0], [1.0, 1.0]))
