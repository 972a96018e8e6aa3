"""Codes of another number format beside float32, on the same draws."""

from __future__ import annotations

import pytest
import torch

from speechkit.diffusion.config import FRAME_STAGES
from speechkit.diffusion.stage import Stage
from speechkit.evaluate.precision import code_agreement
from speechkit.tts import ZeroShotTTS
from tests.diffusion.builders import live_generator, random_voice
from tests.facodec.small.test_codec import fresh

TEXTS = ["Hello there.", "No."]


@pytest.fixture(scope="module")
def tts() -> ZeroShotTTS:
    return ZeroShotTTS(fresh(), live_generator())


@pytest.mark.filterwarnings("ignore:In CPU autocast")
def test_float32_agrees_with_itself_forced_and_free(tts: ZeroShotTTS) -> None:
    stages = dict(tts.generator.stages)
    same = code_agreement(tts, TEXTS, random_voice(0), torch.float32)
    assert same.forced == same.free == dict.fromkeys(FRAME_STAGES, 1.0)
    assert same.durations == 1.0
    assert same.frames > 20
    assert tts.generator.stages == stages


def test_a_format_that_reads_other_states_differs(
    tts: ZeroShotTTS, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = Stage._hidden

    def rough(self: Stage, *given: object) -> list[torch.Tensor]:
        noise = 2.0 if torch.is_autocast_enabled("cpu") else 0.0
        return [found + noise * found.sin() for found in hidden(self, *given)]  # type: ignore[arg-type]

    monkeypatch.setattr(Stage, "_hidden", rough)
    same = code_agreement(tts, TEXTS, random_voice(0), "bfloat16", seed=1)
    assert all(share < 0.99 for share in same.forced.values())
    # What comes after a frame that differs differs more.
    assert same.free["detail"] < 0.99
