"""Language models: probabilities sum to one, files come back, KenLM agrees."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.errors import CheckpointError, ConfigError, DataError
from speechkit.ssl.ctc.arpa import load_language_model, read_arpa
from speechkit.ssl.ctc.ngram import END, START, NgramModel, letter_tokens, load_ngram, train_ngram

SENTENCE = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5)
TEXT = st.lists(SENTENCE, min_size=1, max_size=6)
CORPUS = ["the cat sat", "the dog sat", "a cat ran", "the cat ran on", "on the dog"]


def trained(order: int = 3) -> NgramModel:
    """A word model of the small corpus."""
    return train_ngram([line.split() for line in CORPUS], order, "word")


@settings(max_examples=60, deadline=None)
@given(TEXT, st.integers(1, 4), st.lists(st.sampled_from(["a", "b", "c", "new"]), max_size=4))
def test_probabilities_sum_to_one(text: list[list[str]], order: int, history: list[str]) -> None:
    model = train_ngram(text, order, "word")
    state: object = model.start()
    for token in history:
        state = model.next(state, token).state
    total = sum(
        math.exp(model.next(state, token).log_probability)
        for token in model.vocabulary
        if token != START
    )
    assert total == pytest.approx(1.0, abs=1e-9)


def test_witten_bell_by_hand() -> None:
    model = train_ngram([["a", "b"], ["a", "a"]], 2, "word")
    # Unigrams: a 3, b 1, </s> 2 of 6, 3 kinds; V = a, b, </s>, <unk>.
    p_b = (1 + 3 * 0.25) / 9
    after_a = model.next(model.start(), "a").state
    # After a: b, a and </s> once each, 3 kinds.
    assert math.exp(model.next(after_a, "b").log_probability) == pytest.approx((1 + 3 * p_b) / 6)
    assert math.exp(model.next(after_a, "new").log_probability) == pytest.approx(
        3 / 6 * (3 / 9) * 0.25
    )


def test_model_comes_back_from_its_folder(tmp_path: Path) -> None:
    model = trained()
    model.save(tmp_path / "lm")
    again = load_language_model(tmp_path / "lm")
    assert isinstance(again, NgramModel)
    for line in ("the cat sat", "dog new on the the", ""):
        assert again.sentence(line.split()) == model.sentence(line.split())
    with pytest.raises(CheckpointError):
        load_ngram(tmp_path)
    (tmp_path / "lm" / "config.json").write_text('{"format": "other"}')
    with pytest.raises(CheckpointError, match="no n-gram"):
        load_ngram(tmp_path / "lm")


@pytest.mark.parametrize("packed", [False, True])
def test_arpa_comes_back(tmp_path: Path, packed: bool) -> None:
    model = trained()
    path = tmp_path / ("lm.arpa.gz" if packed else "lm.arpa")
    data = model.arpa().encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    again = read_arpa(path)
    assert again.order == 3
    for line in ("the cat sat", "dog new on the the", ""):
        assert again.sentence(line.split()) == pytest.approx(model.sentence(line.split()), abs=1e-4)


def test_kenlm_agrees(tmp_path: Path) -> None:
    pytest.importorskip("kenlm")
    path = tmp_path / "lm.arpa"
    path.write_text(trained().arpa())
    ours, theirs = read_arpa(path), load_language_model(path)
    state, their_state = ours.start(), theirs.start()
    for token in ("the", "cat", "new", "on", "the", "dog", END):
        scored, their_scored = ours.next(state, token), theirs.next(their_state, token)
        assert scored.log_probability == pytest.approx(their_scored.log_probability, abs=1e-4)
        state, their_state = scored.state, their_scored.state  # type: ignore[assignment]
    assert theirs.knows("dog")
    assert not theirs.knows("new")


ARPA = "\\data\\\nngram 1=3\n\n\\1-grams:\n-1\t<s>\n-1\t</s>\n-0.5\tA\n\n\\end\\\n"


def test_missing_unknown_is_as_good_as_impossible(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(ARPA)
    model = read_arpa(path)
    assert model.next((), "A").log_probability == pytest.approx(-0.5 * math.log(10))
    assert model.next((), "B").log_probability < -200


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\\end\\", ""),
        ("-0.5\tA", "-0.5"),
        ("-0.5\tA", "x\tA"),
        ("-0.5\tA", "0.5\tA"),
        ("-0.5\tA", "nan\tA"),
        ("ngram 1=3", "ngram 1=4"),
        ("ngram 1=3", "ngram x"),
        ("\\1-grams:", "\\one-grams:"),
        ("\\data\\", "data"),
    ],
)
def test_bad_arpa_is_refused(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(ARPA.replace(old, new))
    with pytest.raises(DataError, match="lm.arpa"):
        read_arpa(path)


def test_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no language model"):
        load_language_model(tmp_path / "none")
    with pytest.raises(ConfigError, match="order"):
        train_ngram([["a"]], 0, "word")
    with pytest.raises(DataError, match="no words"):
        train_ngram([[]], 2, "word")
    (tmp_path / "damaged.arpa.gz").write_bytes(b"\x1f\x8b damaged")
    with pytest.raises(DataError, match="Cannot read"):
        read_arpa(tmp_path / "damaged.arpa.gz")


def test_letters_of_a_text_end_words() -> None:
    assert letter_tokens("AB C", "|") == ["A", "B", "|", "C", "|"]
    rare = train_ngram([["a", "a", "b"]], 2, "word", min_count=2)
    assert rare.knows("a")
    assert not rare.knows("b")
