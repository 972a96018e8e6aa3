"""The best path, and the beam search with language models where its packages are installed."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.errors import ConfigError, DataError
from speechkit.core.rng import generator
from speechkit.ssl.ctc.characters import Characters, spelled
from speechkit.ssl.ctc.decoding import Decoder, DecodingConfig, LanguageModel, greedy_labels
from speechkit.ssl.ctc.ngram import train_ngram

TINY = Characters(("|", "A", "B"))
SEEDS = st.integers(0, 10_000)


def lattice(seed: int, frames: int, classes: int = 4) -> Tensor:
    """Random frame posteriors, some of them sharp."""
    rng = generator(seed)
    scale = 0.2 + 3.8 * torch.rand((), generator=rng)
    return (torch.randn(frames, classes, generator=rng) * scale).log_softmax(dim=1)


def all_texts(log_probability_FV: Tensor) -> dict[str, float]:
    """log p of every text, summed over its alignments one by one."""
    frames, classes = log_probability_FV.shape
    mass: dict[str, float] = {}
    for path in itertools.product(range(classes), repeat=frames):
        value = sum(float(log_probability_FV[f, label]) for f, label in enumerate(path))
        labels = [label for label, _ in itertools.groupby(path) if label]
        # The search ranks sequences ("A|" is not "A"), but begins behind a word end.
        key = "".join(TINY.symbols[label - 1] for label in labels).removeprefix("|")
        mass[key] = math.log(math.exp(mass.get(key, -math.inf)) + math.exp(value))
    return mass


def posteriors_of(path: list[int], classes: int = 4) -> Tensor:
    """Posteriors that are nearly sure of a path."""
    shares_FV = torch.full((len(path), classes), 0.01)
    shares_FV[torch.arange(len(path)), torch.tensor(path)] = 0.97
    return shares_FV.log()


def beam() -> None:
    """Skip where the search is not installed."""
    pytest.importorskip("flashlight.lib.text", reason="flashlight-text is not installed")
    pytest.importorskip("kenlm", reason="kenlm is not installed")


def test_greedy_joins_repeats_and_keeps_doubles() -> None:
    posteriors = posteriors_of([0, 2, 2, 0, 2, 3, 3, 1, 0, 1])
    assert greedy_labels(posteriors) == (2, 2, 3, 1, 1)
    assert Decoder(TINY).text(posteriors) == "AAB"
    assert Decoder(TINY).text(torch.zeros(0, 4)) == ""


def test_values_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="not a number"):
        Decoder(TINY).text(torch.full((3, 4), math.nan))


def test_a_beam_without_its_packages_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchaudio.models.decoder", None)
    with pytest.raises(ConfigError, match="pip install flashlight-text kenlm"):
        Decoder(TINY, DecodingConfig(beam=4))


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 5))
def test_a_wide_beam_finds_the_best_text(seed: int, frames: int) -> None:
    beam()
    posteriors = lattice(seed, frames)
    truth = all_texts(posteriors)
    found = Decoder(TINY, DecodingConfig(beam=5000, threshold=1e6)).text(posteriors)
    best = max(truth.values())
    of_text = [value for key, value in truth.items() if _text(key) == found]
    # A text is found in two writings, with a word end behind it and without: half of it may decide.
    assert max(of_text) >= best - math.log(2)


def _text(characters: str) -> str:
    return " ".join(characters.replace("|", " ").split())


def word_model(folder: Path, text: str) -> LanguageModel:
    """A model of words from sentences, one a line."""
    path = folder / "words.arpa"
    path.write_text(train_ngram([line.split() for line in text.splitlines()], 2).arpa)
    return LanguageModel(path=path)


def test_a_language_model_settles_what_sounds_alike(tmp_path: Path) -> None:
    beam()
    posteriors = torch.full((4, 4), 0.02).log()
    for frame, shares in enumerate([(2, 0.94, 3, 0.02), (2, 0.26, 3, 0.68), (1, 0.94, 2, 0.02)]):
        posteriors[frame, shares[0]], posteriors[frame, shares[2]] = (
            torch.tensor(shares[1::2]).log().tolist()
        )
    posteriors[3, 0] = math.log(0.94)
    model = word_model(tmp_path, "A\n" * 20 + "AB")
    assert Decoder(TINY, DecodingConfig(beam=20)).text(posteriors) == "AB"
    assert Decoder(TINY, DecodingConfig(beam=20, lm_weight=2.0), model).text(posteriors) == "A"
    lower = word_model(tmp_path, "a\n" * 20 + "ab")
    assert Decoder(TINY, DecodingConfig(beam=20, lm_weight=2.0), lower).text(posteriors) == "A"


def test_weights_are_of_natural_logarithms(tmp_path: Path) -> None:
    beam()
    # The model prefers A to B by a factor of ten, so the sound of B must be more than that louder.
    path = tmp_path / "two.arpa"
    path.write_text(
        "\\data\\\nngram 1=5\nngram 2=1\n\n\\1-grams:\n-99\t<s>\n-0.1\t</s>\n-9\t<unk>\n"
        "-0.1\tA\n-1.1\tB\n\n\\2-grams:\n-0.1\tA </s>\n\n\\end\\\n"
    )
    for bias, text in ((2.2, "A"), (2.4, "B")):  # ln 10 = 2.303
        posteriors = posteriors_of([2, 1]).exp()
        posteriors[0, 2], posteriors[0, 3] = 0.04, 0.04 * math.exp(bias)
        found = Decoder(TINY, DecodingConfig(beam=50), LanguageModel(path=path))
        assert found.text(posteriors.log()) == text


def test_words_are_those_of_the_list(tmp_path: Path) -> None:
    beam()
    posteriors = posteriors_of([3, 2, 1, 0, 2, 3, 1])
    model = word_model(tmp_path, "AB BA")
    assert Decoder(TINY, DecodingConfig(beam=50), model).text(posteriors) == "BA AB"
    (tmp_path / "words.txt").write_text("AB\n")
    fewer = LanguageModel(path=model.path, words=tmp_path / "words.txt")
    assert set(Decoder(TINY, DecodingConfig(beam=50), fewer).text(posteriors).split()) == {"AB"}


def test_character_models_write_any_word(tmp_path: Path) -> None:
    beam()
    path = tmp_path / "letters.arpa"
    path.write_text(train_ngram([spelled("AB BA")], 3).arpa)
    model = LanguageModel(path=path, unit="character")
    posteriors = posteriors_of([3, 0, 3, 2, 1])
    assert Decoder(TINY, DecodingConfig(beam=50, lm_weight=0.1), model).text(posteriors) == "BBA"


def test_unfit_models_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(train_ngram([spelled("XYZ")], 2).arpa)
    config = DecodingConfig(beam=4)
    with pytest.raises(DataError, match="does not know A B"):
        Decoder(TINY, config, LanguageModel(path=path, unit="character"))
    with pytest.raises(DataError, match="no word in the alphabet"):
        Decoder(TINY, config, LanguageModel(path=path))
    with pytest.raises(DataError, match="no language model"):
        Decoder(TINY, config, LanguageModel(path=tmp_path / "none"))
    for name, data in (("a.arpa", b"not one"), ("a.gz", b"\x1f\x8b damaged"), ("b", b"\xff\xfe")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=f"{name}"):
            Decoder(TINY, config, LanguageModel(path=tmp_path / name))
    binary = tmp_path / "lm.bin"
    binary.write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0\xff")
    with pytest.raises(DataError, match="give them as a file"):
        Decoder(TINY, config, LanguageModel(path=binary))
