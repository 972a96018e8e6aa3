"""The search against all alignments, written out one by one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.errors import DataError
from speechkit.ssl.ctc.decoding import (
    BeamSearch,
    DecodingConfig,
    greedy_labels,
    log_likelihood,
)
from speechkit.ssl.ctc.letters import Letters
from speechkit.ssl.ctc.ngram import NgramModel, letter_tokens, train_ngram

TINY = Letters(("|", "A", "B"))
FloatArray = npt.NDArray[np.float64]
SEEDS = st.integers(0, 10_000)
EXACT = 10**5


def lattice(seed: int, frames: int, classes: int = 4) -> FloatArray:
    """Random frame posteriors, some of them sharp."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(frames, classes)) * rng.uniform(0.2, 4.0)
    posteriors: FloatArray = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return posteriors


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    """The letters of an alignment."""
    return tuple(label for label, _ in itertools.groupby(path) if label)


def all_texts(log_probability_FV: FloatArray) -> dict[tuple[int, ...], float]:
    """log p of every sequence, summed over its alignments one by one."""
    frames, classes = log_probability_FV.shape
    mass: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(classes), repeat=frames):
        value = sum(log_probability_FV[frame, label] for frame, label in enumerate(path))
        labels = collapse(path)
        mass[labels] = float(np.logaddexp(mass.get(labels, -math.inf), value))
    return mass


def language_score(model: NgramModel, labels: tuple[int, ...], config: DecodingConfig) -> float:
    """What a language model gives a sequence, by definition."""
    text = "".join(TINY.symbols[label - 1] for label in labels)
    words = text.replace("|", " ").split()
    tokens = list(text) if model.unit == "letter" else words
    total = config.lm_weight * model.sentence(tokens) + config.word_score * len(words)
    if model.unit == "word":
        total += config.unknown_score * sum(not model.knows(word) for word in words)
    return total


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(0, 5))
def test_likelihood_sums_all_alignments(seed: int, frames: int) -> None:
    posteriors = lattice(seed, frames)
    for labels, value in all_texts(posteriors).items():
        assert log_likelihood(posteriors, labels) == pytest.approx(value, abs=1e-9)
    assert log_likelihood(posteriors, (1,) * (frames + 1)) == -math.inf


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 5))
def test_endless_beam_finds_the_best_text(seed: int, frames: int) -> None:
    posteriors = lattice(seed, frames)
    truth = all_texts(posteriors)
    search = BeamSearch(TINY, DecodingConfig(beam=EXACT, threshold=math.inf))
    best = search.decode(posteriors)
    assert best.score == pytest.approx(max(truth.values()), abs=1e-9)
    assert truth[best.labels] == pytest.approx(best.acoustic, abs=1e-9)
    ranked = [truth[labels] for labels in search.search(posteriors)]
    assert len(ranked) == len(truth)
    assert ranked == sorted(ranked, reverse=True)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.sampled_from(["word", "letter"]))
def test_endless_beam_finds_the_best_text_with_a_language_model(seed: int, unit: str) -> None:
    posteriors = lattice(seed, 5)
    texts = ["AB A", "B AB", "A A B"]
    model = (
        train_ngram([text.split() for text in texts], 2, "word")
        if unit == "word"
        else train_ngram([letter_tokens(text, "|") for text in texts], 3, "letter")
    )
    config = DecodingConfig(
        beam=EXACT, threshold=math.inf, lm_weight=0.7, word_score=0.4, unknown_score=-1.5
    )
    truth = {
        labels: value + language_score(model, labels, config)
        for labels, value in all_texts(posteriors).items()
    }
    best = BeamSearch(TINY, config, model).decode(posteriors)
    assert best.score == pytest.approx(max(truth.values()), abs=1e-9)
    assert truth[best.labels] == pytest.approx(best.score, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 30), st.integers(1, 8))
def test_no_beam_is_worse_than_greedy(seed: int, frames: int, beam: int) -> None:
    posteriors = lattice(seed, frames)
    greedy = log_likelihood(posteriors, greedy_labels(posteriors))
    found = BeamSearch(TINY, DecodingConfig(beam=beam)).decode(posteriors)
    assert found.score >= greedy
    assert found.acoustic == pytest.approx(log_likelihood(posteriors, found.labels))


def test_greedy_joins_repeats_and_keeps_doubles() -> None:
    path = [0, 2, 2, 0, 2, 3, 3, 1, 0, 1]
    posteriors = np.log(np.full((len(path), 4), 0.01))
    posteriors[np.arange(len(path)), path] = np.log(0.97)
    assert greedy_labels(posteriors) == (2, 2, 3, 1, 1)
    assert BeamSearch(TINY).decode(posteriors).text == "AAB"


def test_likelihood_is_torch_s_loss() -> None:
    posteriors = lattice(3, 40, 29)
    labels = (5, 5, 9, 1, 28, 2, 2)
    loss = torch.nn.functional.ctc_loss(
        torch.from_numpy(posteriors)[:, None],
        torch.tensor([labels]),
        torch.tensor([40]),
        torch.tensor([7]),
        reduction="sum",
    )
    assert log_likelihood(posteriors, labels) == pytest.approx(-float(loss), abs=1e-9)


def test_language_model_settles_what_sounds_alike() -> None:
    posteriors = np.log(np.full((4, 4), 0.02))
    for frame, shares in enumerate([(2, 0.94, 3, 0.02), (2, 0.26, 3, 0.68), (1, 0.94, 2, 0.02)]):
        posteriors[frame, shares[0]], posteriors[frame, shares[2]] = np.log(shares[1::2])
    posteriors[3, 0] = np.log(0.94)
    plain = BeamSearch(TINY, DecodingConfig(beam=20))
    model = train_ngram([["A"]] * 20 + [["AB"]], 1, "word")
    helped = BeamSearch(TINY, DecodingConfig(beam=20, lm_weight=2.0), model)
    assert plain.decode(posteriors).text == "AB"
    assert helped.decode(posteriors).text == "A"


def test_lower_case_models_serve() -> None:
    upper = train_ngram([["AB", "A"]], 2, "word")
    lower = train_ngram([["ab", "a"]], 2, "word")
    config = DecodingConfig(beam=50)
    for seed in range(5):
        posteriors = lattice(seed, 6)
        assert BeamSearch(TINY, config, lower).decode(posteriors).score == pytest.approx(
            BeamSearch(TINY, config, upper).decode(posteriors).score
        )


def test_letter_model_of_another_alphabet_is_refused() -> None:
    model = train_ngram([letter_tokens("XYZ", "|")], 2, "letter")
    with pytest.raises(DataError, match="does not know A B"):
        BeamSearch(TINY, DecodingConfig(beam=4), model)


def test_values_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="not a number"):
        BeamSearch(TINY).decode(np.full((3, 4), math.nan))


def test_beam_search_of_torchaudio_agrees() -> None:
    pytest.importorskip("flashlight.lib.text")
    decoder = pytest.importorskip("torchaudio.models.decoder")
    theirs = decoder.ctc_decoder(
        lexicon=None, tokens=["-", *TINY.symbols], beam_size=200, beam_threshold=1e9, log_add=True
    )
    search = BeamSearch(TINY, DecodingConfig(beam=200, threshold=math.inf))
    for seed in range(8):
        posteriors = lattice(seed, 20)
        tokens = theirs(torch.from_numpy(posteriors)[None].float())[0][0].tokens
        # It pads its tokens with silence, our word end, at both ends.
        text = TINY.decode(collapse(tuple(tokens.tolist())))
        ours = search.decode(posteriors)
        assert ours.score >= log_likelihood(posteriors, tuple(TINY.encode(text))) - 1e-3
