"""The real scorers on the bundled clips; each needs its optional package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from speechkit.core.audio import read_audio
from speechkit.evaluate.scorers import ScorerConfig, Wave, build_scorers

pytestmark = pytest.mark.slow

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.[wfo][al][vag]*"))


@pytest.fixture(scope="module")
def wave_T() -> Wave:
    if not EXAMPLES:
        pytest.skip("no example clips in this checkout")
    wave: Wave = read_audio(EXAMPLES[0], 16000).numpy()
    return wave


def _noise(samples: int) -> Wave:
    return (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)


def test_speaker_models_know_a_clip_from_noise(wave_T: Wave) -> None:
    config = ScorerConfig(asr="none", resemblyzer=True, dnsmos=False, reference=False)
    scorers = build_scorers(config)
    if scorers.embed is None or scorers.second_embed is None:
        pytest.skip("; ".join(scorers.notes))
    half = len(wave_T) // 2
    for embed in (scorers.embed, scorers.second_embed):
        first, second = embed(wave_T[:half]), embed(wave_T[half:])
        assert np.linalg.norm(first) == pytest.approx(1.0, abs=1e-4)
        assert first @ second > first @ embed(_noise(half)) + 0.1
        assert not embed(wave_T[:100]).any()


def test_quality_hears_noise(wave_T: Wave) -> None:
    scorers = build_scorers(ScorerConfig(asr="none", speaker=False, reference=False))
    if scorers.quality is None:
        pytest.skip("; ".join(scorers.notes))
    clean, noisy = scorers.quality(wave_T), scorers.quality(wave_T + _noise(len(wave_T)))
    assert clean.ovrl > noisy.ovrl + 0.5
    assert scorers.quality(wave_T[:10]).ovrl == 1.0


def test_reference_measures_are_perfect_on_a_copy_and_worse_on_noise(wave_T: Wave) -> None:
    scorers = build_scorers(ScorerConfig(asr="none", speaker=False, dnsmos=False))
    if scorers.world is None or scorers.aligned is None:
        pytest.skip("; ".join(scorers.notes))
    noisy = wave_T + _noise(len(wave_T))
    assert scorers.world(wave_T, wave_T, True)["mcd"] == 0.0
    assert scorers.world(wave_T, wave_T, False)["f0_cent"] == 0.0
    assert scorers.world(noisy, wave_T, True)["mcd"] > 3
    assert scorers.aligned(wave_T, wave_T)["stoi"] == pytest.approx(1.0, abs=1e-6)
    assert scorers.aligned(noisy, wave_T)["stoi"] < 0.95


def test_words_of_silence_are_all_missing(wave_T: Wave) -> None:
    scorers = build_scorers(ScorerConfig(speaker=False, dnsmos=False, reference=False))
    if scorers.words is None:
        pytest.skip("; ".join(scorers.notes))
    assert scorers.words(wave_T[:10], "Two words.").wer == 1.0
    assert scorers.words(wave_T, "").heard
