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
    ScorerConfig,
    Scorers,
    build_scorers,
    pairs_from_clips,
    run_tts_suite,
)
from speechkit.evaluate.asr import WordErrors, word_errors
from speechkit.evaluate.quality import Quality
from speechkit.evaluate.score_manifest import main
from speechkit.evaluate.scorers import Embedding, Wave
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

    def clone(text: str, prompt_T: Tensor, seed: int) -> Tensor:
        seeds.append(seed)
        return 0.5 * prompt_T

    report = run_tts_suite(clone, lambda w: w, pairs, tmp_path, scorers=_Fake().bundle())
    assert list(report.summary) == ["recordings", "codec", "tts"]
    real, ours = report.summary["recordings"].values, report.summary["tts"].values
    assert (real["sim"], real["sim_wrong"], real["margin"]) == (1.0, 0.0, 1.0)
    assert (real["wer"], ours["wer"]) == (0.0, 0.5)
    assert ours["ovrl"] == 3.0
    assert report.extra["margin_share"] == pytest.approx(1.0)
    assert len(set(seeds)) == len(pairs)
    manifest = [
        json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().split("\n")[:-1]
    ]
    assert len(manifest) == 3 * len(pairs)
    assert all(Path(entry[key]).is_file() for entry in manifest for key in ("hyp", "prompt"))


def test_a_voice_that_ignores_its_prompt_has_no_margin(tmp_path: Path) -> None:
    report = run_tts_suite(
        lambda text, prompt_T, seed: _voice("a"),
        None,
        pairs_from_clips(_clips()),
        tmp_path,
        scorers=_Fake().bundle(),
    )
    ours = report.summary["tts"].values
    assert ours["sim"] == pytest.approx(1 / 3)
    assert ours["margin"] == pytest.approx(0.0)
    assert report.extra["margin_share"] == pytest.approx(0.0)


def test_rows_of_an_earlier_report_are_scored_once(tmp_path: Path) -> None:
    pairs, fake = pairs_from_clips(_clips()), _Fake()
    saved = tmp_path / "report.json"
    first = run_tts_suite(None, lambda w: w, pairs, tmp_path, scorers=fake.bundle(), limit=3)
    first.save(saved)
    assert fake.transcribed == 6

    again = run_tts_suite(
        None, lambda w: 0.5 * w, pairs, tmp_path, scorers=fake.bundle(), limit=4, earlier=saved
    )
    assert fake.transcribed == 6 + 1 + 4
    assert set(map(str, load_rows(saved)[:3])) <= set(map(str, again.rows))
    assert again.summary["codec"].values["wer"] == 0.5


def test_no_scorer_still_gives_a_table(tmp_path: Path) -> None:
    report = run_tts_suite(None, None, pairs_from_clips(_clips()), tmp_path, scorers=Scorers())
    assert list(report.summary["recordings"].values) == ["seconds"]
    with pytest.raises(DataError):
        run_tts_suite(None, None, [], tmp_path, scorers=Scorers())


def test_missing_package_switches_its_column_off(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in ("faster_whisper", "kaldi_native_fbank", "onnxruntime", "pyworld", "pystoi"):
        monkeypatch.setitem(sys.modules, name, None)
    scorers = build_scorers()
    parts = (scorers.words, scorers.embed, scorers.quality, scorers.aligned, scorers.world)
    assert parts == (None,) * 5
    assert len(scorers.notes) == 5
    assert all("pip install" in note for note in scorers.notes)
    assert scorers.settings == {"asr": "none"}
    with pytest.raises(ConfigError):
        build_scorers(ScorerConfig(threads=0))


def test_score_manifest_with_nothing_but_length(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "speechkit.evaluate.score_manifest.build_scorers", lambda config: _Fake().bundle()
    )
    run_tts_suite(None, None, pairs_from_clips(_clips()), tmp_path, scorers=Scorers())
    manifest, out = tmp_path / "manifest.jsonl", tmp_path / "scores.json"
    assert main(["--manifest", str(manifest), "--json", str(out)]) == 0
    assert "recordings" in capsys.readouterr().out
    assert load_rows(out)[0].values["sim"] == 1.0
    manifest.write_text("nonsense")
    assert main(["--manifest", str(manifest)]) == 2
    assert "line 1" in capsys.readouterr().err
