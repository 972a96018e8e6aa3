"""Error rates against a plain recursion and against jiwer."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.errors import DataError
from speechkit.core.metrics import edits
from speechkit.ssl.ctc.score import score

TOKENS = st.lists(st.sampled_from("abc"), max_size=7).map(tuple)
SENTENCES = st.lists(st.sampled_from(["a", "b", "ab", "ba"]), min_size=1, max_size=6).map(" ".join)


def distance(reference: tuple[str, ...], hypothesis: tuple[str, ...]) -> int:
    """The edit distance by its definition."""

    @functools.cache
    def from_here(row: int, column: int) -> int:
        if row == len(reference) or column == len(hypothesis):
            return len(reference) - row + len(hypothesis) - column
        same = reference[row] == hypothesis[column]
        return min(
            from_here(row + 1, column + 1) + (not same),
            from_here(row + 1, column) + 1,
            from_here(row, column + 1) + 1,
        )

    return from_here(0, 0)


@given(TOKENS, TOKENS)
def test_edits_are_a_shortest_path(reference: tuple[str, ...], hypothesis: tuple[str, ...]) -> None:
    found = edits(reference, hypothesis)
    assert found.errors == distance(reference, hypothesis)
    assert found.reference_tokens == len(reference)
    assert found.hits + found.substitutions + found.insertions == len(hypothesis)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=4))
def test_rates_are_those_of_jiwer(pairs: list[tuple[str, str]]) -> None:
    jiwer = pytest.importorskip("jiwer")
    references, hypotheses = (list(column) for column in zip(*pairs, strict=True))
    ours = score(references, hypotheses)
    assert ours.words.rate == pytest.approx(jiwer.wer(references, hypotheses))
    assert ours.characters.rate == pytest.approx(jiwer.cer(references, hypotheses))


def test_interval_holds_the_rate_and_widens_with_dependent_sentences() -> None:
    references = ["a b c d"] * 40
    # Every error is of one of ten speakers: speakers vary more than sentences drawn alone.
    hypotheses = ["x b x d" if number < 4 else "a b c d" for number in range(40)]
    alone = score(references, hypotheses)
    speakers = score(references, hypotheses, [str(number // 4) for number in range(40)])
    assert alone.words.rate == speakers.words.rate == pytest.approx(0.05)
    assert alone.words.low is not None
    assert alone.words.high is not None
    assert speakers.words.high is not None
    assert alone.words.low <= 0.05 <= alone.words.high < speakers.words.high
    assert (speakers.groups, alone.groups, alone.sentences_right) == (10, 40, 36)
    assert speakers.words.edits.substitutions == 8
    assert "WER" in speakers.text()
    few = score(references, hypotheses, [str(number // 10) for number in range(40)])
    assert (few.words.low, few.words.high) == (None, None)
    assert "too few for an interval" in few.text()
    assert score(references, hypotheses) == alone


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(DataError, match="no words"):
        score(["", " "], ["a", "b"])
    with pytest.raises(DataError, match="2 hypotheses for 1"):
        score(["a"], ["a", "b"])


def test_hypotheses_may_be_empty_or_long() -> None:
    result = score(["a", "b"], ["", "b c d e f"])
    assert result.words.edits.deletions == 1
    assert result.words.rate == 2.5
