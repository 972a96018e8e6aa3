"""Pauses are as long as it is quiet where the mark is spoken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from speechkit.core.audio import read_audio
from speechkit.core.checkpoint import WEIGHTS
from speechkit.core.errors import DataError
from speechkit.data.align.reader import PhoneReader
from speechkit.evaluate.pairs import EvalClip
from speechkit.evaluate.pauses import PAUSE_TEXTS, measure_pauses, punctuated, speak_texts
from speechkit.evaluate.scorers import Wave

EXAMPLES = Path(__file__).parents[2] / "speechkit" / "voices"


@pytest.fixture(scope="module")
def reader() -> PhoneReader:
    return PhoneReader(WEIGHTS / "aligner")


@pytest.fixture(scope="module")
def spoken() -> tuple[Wave, str]:
    """Synthetic speech with two commas: "He counted the coins twice, frowned, and pushed …"."""
    clips = {
        clip["file"]: clip["text"] for clip in json.loads((EXAMPLES / "manifest.json").read_text())
    }
    name = "synthetic_am_fenrir.flac"
    wave: Wave = read_audio(EXAMPLES / name, 16000).numpy()
    return wave, clips[name]


def test_silence_put_at_a_comma_is_found_there(
    reader: PhoneReader, spoken: tuple[Wave, str]
) -> None:
    wave, text = spoken
    before = measure_pauses([(wave, text)], reader)
    assert before.unaligned == 0
    assert before.pauses["comma"].count == 2
    assert "sentence" not in before.pauses  # the end of the text is no pause
    aligned = reader.align(torch.from_numpy(wave), text)
    assert aligned is not None
    ends = torch.cumsum(aligned.frames_P, 0) * 320
    cut = int(ends[aligned.phones.index(",")])
    longer = np.concatenate([wave[:cut], np.zeros(16000, np.float32), wave[cut:]])
    after = measure_pauses([(longer, text)], reader)
    gained = after.pauses["comma"].high - before.pauses["comma"].high
    assert gained > 400  # of a thousand at one comma of two, as their upper quartile
    assert after.level_db == pytest.approx(before.level_db, abs=0.5)


def test_edges_and_level_need_no_text(reader: PhoneReader, spoken: tuple[Wave, str]) -> None:
    wave, _ = spoken
    quiet = np.zeros(3200, np.float32)
    plain = measure_pauses([(wave, "?!")], reader)
    padded = measure_pauses([(np.concatenate([quiet, wave, quiet]), "?!")], reader)
    assert padded.unaligned == 1
    for edge in ("start", "end"):
        gained = padded.pauses[edge].median - plain.pauses[edge].median
        assert gained == pytest.approx(200, abs=25)
    softer = measure_pauses([(0.1 * wave, "?!")], reader)
    assert softer.level_db == pytest.approx(plain.level_db - 20, abs=0.1)
    assert softer.pauses == plain.pauses
    assert "1 of them not aligned" in plain.text()
    json.dumps(plain.to_json())


def test_nothing_and_silence_are_no_pauses(reader: PhoneReader) -> None:
    silence = np.zeros(16000, np.float32)
    for speech in ([], [(silence, "Hello, you.")], [(silence[:100], "Hello, you.")]):
        report = measure_pauses(speech, reader)
        assert report.clips == len(speech)


def test_every_text_pauses_at_a_comma_or_ends_a_sentence_inside() -> None:
    assert all("," in text[:-1] for text in PAUSE_TEXTS)
    assert all(any(mark in text[:-1] for mark in ".?!") for text in PAUSE_TEXTS)


def test_texts_are_spoken_by_prompts_in_turns(tmp_path: Path) -> None:
    asked: list[tuple[str, float, int]] = []

    def speak(text: str, prompt_T: Tensor, seed: int) -> Tensor:
        asked.append((text, float(prompt_T[0]), seed))
        return prompt_T

    prompts = [torch.full((800,), 0.1 * n) for n in range(2)]
    spoken = speak_texts(speak, prompts, tmp_path, texts=PAUSE_TEXTS[:3])
    assert [text for _, text in spoken] == list(PAUSE_TEXTS[:3])
    assert [prompt for _, prompt, _ in asked] == pytest.approx([0.0, 0.1, 0.0])
    assert len({seed for _, _, seed in asked}) == 3
    assert len(list(tmp_path.glob("*.wav"))) == 3


def test_recordings_without_punctuation_are_left_out() -> None:
    def clip(name: str, text: str) -> EvalClip:
        return EvalClip(id=name, speaker=name, text=text, wave_T=torch.zeros(10))

    clips = [clip("a", "no mark at all."), clip("b", "yes, here"), clip("c", "one. two")]
    assert [text for _, text in punctuated(clips)] == ["yes, here", "one. two"]
    assert len(punctuated(clips, limit=1)) == 1
    with pytest.raises(DataError, match="punctuation"):
        punctuated(clips[:1])
