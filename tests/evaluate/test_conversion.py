"""The conversion suite: who is converted to whom, and what its figures mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.evaluate import EvalClip, Scorers
from speechkit.evaluate.asr import WordErrors, word_errors
from speechkit.evaluate.conversion import conversion_pairs, run_conversion_suite
from speechkit.evaluate.scorers import Embedding, Wave

TONES_HZ = {"a": 200.0, "b": 300.0, "c": 450.0, "d": 700.0}


def clip(speaker: str, number: int, seconds: float = 5.0) -> EvalClip:
    time_T = torch.arange(round(seconds * 16_000)) / 16_000
    level = 0.5 + 0.01 * number
    wave_T = level * torch.sin(2 * torch.pi * TONES_HZ[speaker] * time_T)
    return EvalClip(id=f"{speaker}{number}", speaker=speaker, text="one two", wave_T=wave_T)


def clips(per_speaker: int = 4) -> list[EvalClip]:
    return [clip(speaker, number) for speaker in TONES_HZ for number in range(per_speaker)]


def embed(wave_T: Wave) -> Embedding:
    # The pitch is the speaker: one place in a one-hot vector.
    tone_hz = int(np.abs(np.fft.rfft(wave_T[:16_000])).argmax())
    return np.array([abs(tone_hz - hz) < 2 for hz in TONES_HZ.values()], np.float32)


def words(wave_T: Wave, text: str) -> WordErrors:
    return word_errors(text, "one two" if float(np.abs(wave_T).max()) > 0.4 else "one")


def test_pairs_keep_what_is_heard_apart_from_what_is_measured_with() -> None:
    pairs = conversion_pairs(clips(), recordings=2)
    again = conversion_pairs(list(reversed(clips())), recordings=2)
    assert [pair.id for pair in pairs] == [pair.id for pair in again]
    sources = {pair.source.speaker for pair in pairs}
    targets = {pair.target[0].speaker for pair in pairs}
    assert (len(pairs), len(sources), len(targets)) == (4, 2, 2)
    assert not sources & targets
    assert len({pair.id for pair in pairs}) == 4
    # The first half has every source and every target once.
    assert {pair.source.speaker for pair in pairs[:2]} == sources
    assert {pair.target[0].speaker for pair in pairs[:2]} == targets
    for pair in pairs:
        assert len(pair.target) == 2
        names = {c.id for c in (*pair.target, *pair.unheard)}
        assert names == {f"{pair.target[0].speaker}{n}" for n in range(4)}
        assert len(pair.unheard) == 2
        assert {c.id for c in pair.own} == {f"{pair.source.speaker}{n}" for n in range(4)} - {
            pair.source.id
        }


def test_speakers_without_enough_are_no_targets() -> None:
    with pytest.raises(DataError, match="two more"):
        conversion_pairs(clips(per_speaker=2))
    short = [clip(speaker, number, 3.9) for speaker in TONES_HZ for number in range(4)]
    with pytest.raises(DataError, match="4 s"):
        conversion_pairs(short)
    with pytest.raises(DataError):
        conversion_pairs([])


def test_figures_tell_a_conversion_from_none(tmp_path: Path) -> None:
    seeds: list[int] = []

    def perfect(source_T: Tensor, target: Sequence[Tensor], seed: int) -> Tensor:
        seeds.append(seed)
        return target[0] * 0.5

    scorers = Scorers(words=words, embed=embed)
    systems = {"perfect": perfect, "idle": lambda source_T, target, seed: source_T}
    pairs = conversion_pairs(clips())
    told: list[str] = []
    report = run_conversion_suite(
        systems, pairs, tmp_path, scorers=scorers, seed=7, progress=told.append
    )
    assert list(report.summary) == ["source", "perfect", "idle"]
    values = {name: one.values for name, one in report.summary.items()}
    assert (values["source"]["wer"], values["perfect"]["wer"]) == (0.0, 0.5)
    for name, right, wrong in (("perfect", 1.0, 0.0), ("idle", 0.0, 1.0), ("source", 0.0, 1.0)):
        assert (values[name]["sim"], values[name]["sim_wrong"]) == (right, wrong)
        assert values[name]["margin"] == right - wrong
    assert report.extra["SIM of real target speech"] == 1.0
    assert report.extra["SIM as a share of that"] == {"source": 0.0, "perfect": 1.0, "idle": 0.0}
    assert len(set(seeds)) == len(pairs)
    assert len(told) == 3 * len(pairs)
    lines = (tmp_path / "manifest.jsonl").read_text().splitlines()
    assert all(Path(json.loads(line)["hyp"]).is_file() for line in lines)
    assert len(lines) == len(told)

    report.save(tmp_path / "report.json")

    def never(wave_T: Wave, text: str) -> WordErrors:
        raise AssertionError("scored twice")

    again = run_conversion_suite(
        systems,
        pairs,
        tmp_path,
        scorers=Scorers(words=never, embed=embed),
        seed=7,
        earlier=tmp_path / "report.json",
    )
    assert again.summary == report.summary
    with pytest.raises(DataError):
        run_conversion_suite(systems, [], tmp_path, scorers=scorers)


def test_without_a_speaker_model_words_are_left(tmp_path: Path) -> None:
    report = run_conversion_suite({}, conversion_pairs(clips()), tmp_path, scorers=Scorers())
    assert list(report.summary["source"].values) == ["level", "seconds"]
    assert "SIM of real target speech" not in report.extra
