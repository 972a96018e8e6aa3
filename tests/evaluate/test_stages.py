"""The table by stage: true codes stay where they should, each system generates one part more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from speechkit.core.audio import read_audio
from speechkit.core.checkpoint import WEIGHTS
from speechkit.core.results import Codes
from speechkit.data.align.reader import PhoneReader
from speechkit.evaluate.pairs import Pair
from speechkit.evaluate.scorers import Scorers
from speechkit.evaluate.stages import ALL, GENERATED, read_truth, regenerate, stage_systems
from speechkit.evaluate.suites import run_tts_suite
from speechkit.tts import ZeroShotTTS
from tests.tiny import tiny_model

EXAMPLES = Path(__file__).parents[2] / "speechkit" / "voices"
TEXT = "He counted the coins twice, frowned, and pushed them back across the table."


@pytest.fixture(scope="module")
def tts(tmp_path_factory: pytest.TempPathFactory) -> ZeroShotTTS:
    return ZeroShotTTS.from_pretrained(tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def reader() -> PhoneReader:
    return PhoneReader(WEIGHTS / "aligner")


def _pair(name: str, text: str) -> Pair:
    wave_T = read_audio(EXAMPLES / "synthetic_am_fenrir.flac", 16000)
    prompt_T = read_audio(EXAMPLES / "synthetic_af_bella.flac", 16000)[:48000]
    return Pair(id=name, speaker="a", text=text, prompt_id="b", prompt_T=prompt_T, target_T=wave_T)


def test_true_durations_fill_the_codes(tts: ZeroShotTTS, reader: PhoneReader) -> None:
    pair = _pair("1", TEXT)
    truth = read_truth(tts, pair.target_T, pair.text, reader)
    assert truth is not None
    assert int(truth.frames_P.sum()) == truth.codes.frames == -(-len(pair.target_T) // 320)
    symbols = tts.vocabulary.phones(truth.phones_P.tolist())
    spoken = [s for s in symbols if s[0].isalpha()]
    assert len(spoken) > 40
    # Forced alignment gives each phone a frame, which a phone predictor's posteriors do not.
    assert all(int(n) >= 1 for s, n in zip(symbols, truth.frames_P, strict=True) if s[0].isalpha())
    assert read_truth(tts, pair.target_T[:8000], pair.text, reader) is None
    assert read_truth(tts, pair.target_T, "?!", reader) is None


@pytest.mark.parametrize(("name", "stages"), GENERATED.items())
def test_a_stage_changes_its_own_codes_alone(
    tts: ZeroShotTTS,
    reader: PhoneReader,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    stages: tuple[str, ...],
) -> None:
    pair = _pair("1", TEXT)
    truth = read_truth(tts, pair.target_T, pair.text, reader)
    assert truth is not None
    decoded = []
    decode = tts.codec.decode

    def spy(codes: Codes, timbre_D: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        decoded.append((codes, timbre_D))
        return decode(codes, timbre_D, *args, **kwargs)

    monkeypatch.setattr(tts.codec, "decode", spy)
    voice = tts.voice(pair.prompt_T)
    first, second = (regenerate(tts, truth, voice, stages, seed=3) for _ in range(2))
    assert torch.equal(first, second)
    codes, timbre_D = decoded[0]
    assert torch.equal(timbre_D, voice.timbre_D)
    changed = {
        part
        for part in ("prosody", "content", "detail")
        if not torch.equal(getattr(codes, f"{part}_KF"), getattr(truth.codes, f"{part}_KF"))
    }
    assert changed == set(stages)


def test_table_has_a_row_for_each_stage(
    tts: ZeroShotTTS, reader: PhoneReader, tmp_path: Path
) -> None:
    good, bad = _pair("1", TEXT), _pair("2", "a" * 40 + " " + TEXT * 20)
    systems, pairs = stage_systems(tts, reader, [good, bad])
    assert [pair.id for pair in pairs] == ["1"]
    report = run_tts_suite(systems, pairs, tmp_path, scorers=Scorers())
    assert list(report.summary) == ["recordings", *GENERATED, ALL]
    seconds = {name: one.values["seconds"] for name, one in report.summary.items()}
    assert all(
        seconds[name] == pytest.approx(seconds["recordings"], abs=0.02) for name in GENERATED
    )
    assert len(list(tmp_path.rglob("1.wav"))) == 2 + len(GENERATED)
