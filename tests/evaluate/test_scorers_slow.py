"""The real scorers on the bundled clips; each needs its optional package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from speechkit.core.audio import read_audio
from speechkit.evaluate.scorers import ScorerConfig, Wave, build_scorers

pytestmark = pytest.mark.slow

EXAMPLES = sorted((Path(__file__).parents[2] / "speechkit" / "voices").glob("*.[wfo][al][vag]*"))


@pytest.fixture(scope="module")
def speech() -> Wave:
    if not EXAMPLES:
        pytest.skip("no example clips in this checkout")
    example: Wave = read_audio(EXAMPLES[0], 16000).numpy()
    return example


def _noise(samples: int) -> Wave:
    return (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)


def test_speaker_models_know_a_clip_from_noise(speech: Wave) -> None:
    config = ScorerConfig(asr="none", resemblyzer=True, dnsmos=False, reference=False)
    scorers = build_scorers(config)
    if scorers.embed is None or scorers.second_embed is None:
        pytest.skip("; ".join(scorers.notes))
    half = len(speech) // 2
    for embed in (scorers.embed, scorers.second_embed):
        first, second = embed(speech[:half]), embed(speech[half:])
        assert np.linalg.norm(first) == pytest.approx(1.0, abs=1e-4)
        assert first @ second > first @ embed(_noise(half)) + 0.1
        assert not embed(speech[:100]).any()


def test_quality_hears_noise(speech: Wave) -> None:
    scorers = build_scorers(ScorerConfig(asr="none", speaker=False, reference=False))
    if scorers.quality is None:
        pytest.skip("; ".join(scorers.notes))
    clean, noisy = scorers.quality(speech), scorers.quality(speech + _noise(len(speech)))
    assert clean.ovrl > noisy.ovrl + 0.5
    assert scorers.quality(speech[:10]).ovrl == 1.0


def test_reference_measures_are_perfect_on_a_copy_and_worse_on_noise(speech: Wave) -> None:
    scorers = build_scorers(ScorerConfig(asr="none", speaker=False, dnsmos=False))
    if scorers.world is None or scorers.aligned is None:
        pytest.skip("; ".join(scorers.notes))
    noisy = speech + _noise(len(speech))
    assert scorers.world(speech, speech, True)["mcd"] == 0.0
    assert scorers.world(speech, speech, False)["f0_cent"] == 0.0
    assert scorers.world(noisy, speech, True)["mcd"] > 3
    assert scorers.aligned(speech, speech)["stoi"] == pytest.approx(1.0, abs=1e-6)
    assert scorers.aligned(noisy, speech)["stoi"] < 0.95


def test_words_of_silence_are_all_missing(speech: Wave) -> None:
    scorers = build_scorers(ScorerConfig(speaker=False, dnsmos=False, reference=False))
    if scorers.words is None:
        pytest.skip("; ".join(scorers.notes))
    assert scorers.words(speech[:10], "Two words.").wer == 1.0
    assert scorers.words(speech, "").heard


def test_another_text_surprises_more_and_noise_makes_the_right_one_surprising(speech: Wave) -> None:
    scorers = build_scorers(
        ScorerConfig(asr="tiny.en", speaker=False, dnsmos=False, reference=False)
    )
    if scorers.words is None:
        pytest.skip("; ".join(scorers.notes))
    heard = scorers.words(speech, "").heard
    right = scorers.words(speech, heard)
    wrong = scorers.words(speech, " ".join(reversed(heard.split())))
    noisy = scorers.words(speech + 4 * _noise(len(speech)), heard)
    assert right.nll is not None and wrong.nll is not None and noisy.nll is not None  # noqa: PT018
    assert 0 < right.nll < min(noisy.nll, wrong.nll - 1)
    assert scorers.words(speech, "").nll is None
    assert scorers.words(speech[:100], heard).nll is None
    assert scorers.words(speech, heard.upper()).nll == pytest.approx(
        scorers.words(speech, heard.capitalize()).nll
    )
