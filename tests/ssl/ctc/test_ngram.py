"""Language models: probabilities sum to one, and KenLM reads the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.errors import ConfigError, DataError
from speechkit.ssl.ctc.characters import spelled
from speechkit.ssl.ctc.ngram import END, START, UNKNOWN, train_ngram

SENTENCE = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5)
TEXT = st.lists(SENTENCE, min_size=1, max_size=6)
CORPUS = ["the cat sat", "the dog sat", "a cat ran", "the cat ran on", "on the dog"]

Table = dict[tuple[str, ...], tuple[float, float]]


def parse(arpa: str) -> Table:
    """log10 of probability and back-off weight by n-gram."""
    table: Table = {}
    for line in arpa.splitlines():
        parts = line.split("\t")
        if len(parts) > 1:
            table[tuple(parts[1].split())] = (float(parts[0]), float((*parts, "0")[2]))
    return table


def probability(table: Table, history: Sequence[str], token: str) -> float:
    """p(token | history), backing off as ARPA files mean it."""
    gram = (*history, token)
    if gram in table:
        return 10 ** table[gram][0]
    weight = 10 ** table[tuple(history)][1] if tuple(history) in table else 1.0
    return weight * probability(table, history[1:], token)


@settings(max_examples=60, deadline=None)
@given(TEXT, st.integers(2, 4), st.lists(st.sampled_from(["a", "b", "c", "new"]), max_size=4))
def test_probabilities_sum_to_one(text: list[list[str]], order: int, history: list[str]) -> None:
    model = train_ngram(text, order)
    table = parse(model.arpa)
    known = [token if token in model.vocabulary else UNKNOWN for token in (START, *history)]
    context = known[max(0, len(known) - order + 1) :]
    total = sum(probability(table, context, t) for t in model.vocabulary if t != START)
    assert total == pytest.approx(1.0, abs=1e-5)


def test_witten_bell_by_hand() -> None:
    table = parse(train_ngram([["a", "b"], ["a", "a"]], 2).arpa)
    # Unigrams: a 3, b 1, </s> 2 of 6, 3 kinds; V = a, b, </s>, <unk>.
    p_b = (1 + 3 * 0.25) / 9
    # After a: b, a and </s> once each, 3 kinds.
    assert probability(table, ["a"], "b") == pytest.approx((1 + 3 * p_b) / 6, rel=1e-5)
    unknown = 3 / 6 * (3 / 9) * 0.25
    assert probability(table, ["a"], UNKNOWN) == pytest.approx(unknown, rel=1e-5)


def test_kenlm_agrees(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm")
    path = tmp_path / "lm.arpa"
    path.write_text(train_ngram([line.split() for line in CORPUS], 3).arpa)
    table, model = parse(path.read_text()), kenlm.Model(str(path))
    tokens = ["the", "cat", "new", "on", "the", "dog"]
    scores = [score for score, _, _ in model.full_scores(" ".join(tokens))]
    context = [START]
    for token, score in zip([*tokens, END], scores, strict=True):
        word = token if (token,) in table else UNKNOWN
        assert math.log10(probability(table, context[-2:], word)) == pytest.approx(score, abs=1e-4)
        context.append(word)


def test_nothing_to_learn_is_refused() -> None:
    with pytest.raises(ConfigError, match="order"):
        train_ngram([["a"]], 1)
    with pytest.raises(DataError, match="no words"):
        train_ngram([[]], 2)


def test_letters_of_a_text_end_words() -> None:
    assert spelled("AB C") == ["A", "B", "|", "C", "|"]
    rare = train_ngram([["a", "a", "b"]], 2, min_count=2)
    assert "a" in rare.vocabulary
    assert "b" not in rare.vocabulary
