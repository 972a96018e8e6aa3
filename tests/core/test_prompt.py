"""Prompts: what is refused, what is repaired, and what the user is told."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.audio import prepare_prompt, read_audio, write_audio
from speechkit.core.errors import PromptError

RATE_HZ = 16_000


def tone(seconds: float, sample_rate_hz: int = RATE_HZ, level: float = 0.5) -> Tensor:
    times = torch.arange(round(seconds * sample_rate_hz)) / sample_rate_hz
    return level * torch.sin(2 * math.pi * 440 * times)


def test_a_good_prompt_passes_without_a_note() -> None:
    prompt = prepare_prompt(tone(3.0))
    assert prompt.notes == ()
    assert prompt.seconds == 3.0
    torch.testing.assert_close(prompt.wave_T, tone(3.0), atol=1e-4, rtol=0)


def test_dc_is_removed() -> None:
    prompt = prepare_prompt(tone(2.0, level=0.3) + 0.4)
    assert abs(float(prompt.wave_T.mean())) < 1e-6
    torch.testing.assert_close(prompt.wave_T, tone(2.0, level=0.3), atol=1e-3, rtol=0)


@pytest.mark.parametrize("samples", [0, 1, 3_200, 15_999])
def test_short_prompts_are_refused(samples: int) -> None:
    with pytest.raises(PromptError, match="give at least 1 s of speech"):
        prepare_prompt(tone(2.0)[:samples])
    with pytest.raises(PromptError, match="give at least"):
        prepare_prompt(torch.zeros(0), min_seconds=0.0)


def click(at: int) -> Tensor:
    wave_T = torch.zeros(2 * RATE_HZ)
    wave_T[at : at + 50] = 0.9
    return wave_T


@pytest.mark.parametrize(
    "wave_T",
    [torch.zeros(32_000), torch.full((32_000,), 0.7), tone(2.0, level=1e-4), click(9_000)],
    ids=["zeros", "dc", "far too quiet", "one click"],
)
def test_silent_prompts_are_refused(wave_T: Tensor) -> None:
    with pytest.raises(PromptError, match="silent"):
        prepare_prompt(wave_T)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_unusable_prompts_are_refused(bad: float) -> None:
    wave_T = tone(2.0)
    wave_T[5] = bad
    with pytest.raises(PromptError, match="not finite"):
        prepare_prompt(wave_T)
    with pytest.raises(PromptError, match="mono"):
        prepare_prompt(torch.zeros(2, 32_000))


def test_long_prompts_are_cropped_where_sound_starts_and_say_so() -> None:
    prompt = prepare_prompt(torch.cat([torch.zeros(10 * RATE_HZ), tone(35.0)]))
    assert prompt.seconds == 30.0
    assert "45.0 s long; only 10.0 to 40.0 s" in prompt.notes[0]
    late = prepare_prompt(torch.cat([torch.zeros(40 * RATE_HZ), tone(5.0)]))
    assert "only 15.0 to 45.0 s" in late.notes[0]
    assert float(late.wave_T.abs().max()) > 0.4


def test_clipped_prompts_are_noted(tmp_path: Path) -> None:
    clipped_T = tone(2.0, level=1.5).clamp(-1, 1)
    assert "clipped" in prepare_prompt(clipped_T).notes[0]
    write_audio(tmp_path / "a.wav", tone(2.0, 48_000, level=1.5), 48_000)
    prompt = prepare_prompt(read_audio(tmp_path / "a.wav"))
    assert "clipped" in prompt.notes[0]
    assert float(prompt.wave_T.abs().max()) <= 1.0


def test_prompts_beyond_full_scale_are_turned_down() -> None:
    prompt = prepare_prompt(tone(2.0, level=20_000.0))
    assert "turned down" in prompt.notes[0]
    assert float(prompt.wave_T.abs().max()) == pytest.approx(1.0, abs=1e-3)


@given(st.floats(1e-3, 1e30), st.floats(-1.0, 1.0), st.integers(RATE_HZ, 2 * RATE_HZ))
def test_every_audible_prompt_ends_bounded_and_without_dc(
    level: float, dc: float, samples: int
) -> None:
    wave_T = prepare_prompt((tone(2.0, level=level) + dc)[:samples]).wave_T
    assert len(wave_T) == samples
    assert float(wave_T.abs().max()) <= 1.0
    assert abs(float(wave_T.double().mean())) < 1e-5
