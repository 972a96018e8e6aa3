"""The jobs on bundled clips with tiny random weights: shapes, seeds, cancelling."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from speechkit.core.errors import PromptError
from speechkit.demo import jobs
from speechkit.demo.jobs import Models
from speechkit.demo.state import CancelledError
from speechkit.facodec.codec import FACTORS
from speechkit.text.script import read_dialogue
from speechkit.watermark import detect

RATE_HZ = 16_000
SPEAKING: dict[str, Any] = {"keep_seconds": 3.0, "speed": 1.0, "steps": 1, "seed": 3}


class Stages:
    """A report that remembers, and cancels at a stage if it is told to."""

    def __init__(self, stop_at: str = "never") -> None:
        self.seen: list[tuple[float, str]] = []
        self.stop_at = stop_at

    def __call__(self, share: float, stage: str) -> None:
        self.seen.append((share, stage))
        if stage.startswith(self.stop_at):
            raise CancelledError("Cancelled.")


def test_speaking_says_what_was_kept_and_how_long_it_took(models: Models, clip: Tensor) -> None:
    stages = Stages()
    made = jobs.speak(models, clip, "Good morning.", report=stages, **SPEAKING)
    assert 2.5 < made.trimmed.seconds <= 3.0
    assert made.speech.wave_T.isfinite().all()
    assert made.real_time_factor > 0
    shares = [share for share, _ in stages.seen]
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)
    assert [stage for _, stage in stages.seen][-2:] == ["detail", "decode"]
    again = jobs.speak(models, clip, "Good morning.", report=Stages(), **SPEAKING)
    assert torch.equal(again.speech.wave_T, made.speech.wave_T)


@pytest.mark.parametrize("stage", ["listening", "prosody", "decode"])
def test_speaking_stops_where_it_is_cancelled(models: Models, clip: Tensor, stage: str) -> None:
    stages = Stages(stop_at=stage)
    with pytest.raises(CancelledError):
        jobs.speak(models, clip, "Good morning.", report=stages, **SPEAKING)
    assert stages.seen[-1][1].startswith(stage)


def test_a_dialogue_has_its_turns_and_pauses(models: Models, clip: Tensor, other: Tensor) -> None:
    stages = Stages()
    parts = read_dialogue("ANNA: Hello. [pause 1s] You?\nBEN: Fine.\nANNA: Good.", ["ANNA", "BEN"])
    waves = {"ANNA": clip, "BEN": other}
    made = jobs.narrate(models, parts, waves, report=stages, **SPEAKING)
    assert (made.turns, made.chunks) == (3, 4)
    assert [word.label for word in made.speech.words] == ["Hello", "You", "Fine", "Good"]
    hello, you, *_ = made.speech.words
    assert you.start_seconds - hello.end_seconds >= 1.0
    shares = [share for share, _ in stages.seen]
    assert shares == sorted(shares)
    assert any("part 4 of 4" in stage for _, stage in stages.seen)
    swapped = jobs.narrate(models, parts, {"ANNA": other, "BEN": clip}, report=Stages(), **SPEAKING)
    assert not torch.equal(swapped.speech.wave_T[:8000], made.speech.wave_T[:8000])


def test_a_bad_voice_of_a_dialogue_is_named(models: Models) -> None:
    parts = read_dialogue("BEN: Fine.", ["BEN"])
    with pytest.raises(PromptError, match="The voice BEN: .*silent"):
        jobs.narrate(models, parts, {"BEN": torch.zeros(32_000)}, report=Stages(), **SPEAKING)


def test_conversion_is_as_long_as_its_source(models: Models, clip: Tensor, other: Tensor) -> None:
    made = jobs.convert(
        models,
        clip,
        other,
        keep_seconds=30.0,
        pitch_shift_semitones=2.0,
        detail=True,
        seed=0,
        report=Stages(),
    )
    assert len(made.made.wave_T) == len(clip)
    assert made.took_seconds > 0
    # What is said of the watermark is what a detector finds, in a scrap too.
    for source_T in (clip, clip[:8000]):
        result = jobs.convert(
            models,
            source_T,
            other,
            keep_seconds=3.0,
            pitch_shift_semitones=0.0,
            detail=True,
            seed=0,
            report=Stages(),
        ).made
        assert detect(result.wave_T, RATE_HZ).payload == result.watermark
        told = any("watermark" in note for note in result.notes)
        assert told == (result.watermark is None)


def test_coding_counts_bits(models: Models, clip: Tensor) -> None:
    made = jobs.code(models, clip, report=Stages())
    assert made.codes.stacked().shape[0] == 6
    assert made.bits_per_second == 6 * 4 * 50
    assert made.timbre_bits == 16 * models.codec.voice_channels
    assert len(made.wave_T) == len(clip)


@pytest.mark.parametrize("factor", FACTORS)
def test_dropping_a_factor_changes_the_sound(models: Models, clip: Tensor, factor: str) -> None:
    dropped_T = jobs.drop(models, clip, factor, report=Stages())
    assert len(dropped_T) == len(clip)
    assert not torch.allclose(dropped_T, jobs.code(models, clip, report=Stages()).wave_T, atol=1e-4)


def test_a_text_swap_without_another_voice_changes_nothing(models: Models, clip: Tensor) -> None:
    prompts = {"prosody": clip.clone()}
    made = jobs.swap(models, "Hello.", clip, prompts, report=Stages(), **SPEAKING)
    assert torch.equal(made.before.wave_T, made.after.wave_T)
    assert made.similarity["base"] == made.similarity["prosody"]


def test_a_text_swap_moves_what_is_swapped(models: Models, clip: Tensor, other: Tensor) -> None:
    stages = Stages()
    made = jobs.swap(models, "Hello.", clip, {"timbre": other}, report=stages, **SPEAKING)
    assert made.before.frames == made.after.frames
    assert not torch.equal(made.before.wave_T, made.after.wave_T)
    assert set(made.similarity) == {"base", "timbre"}
    assert all(-1.001 <= value <= 1.001 for pair in made.similarity.values() for value in pair)
    shares = [share for share, _ in stages.seen]
    assert shares == sorted(shares)


def test_a_recording_keeps_what_is_not_swapped(models: Models, clip: Tensor, other: Tensor) -> None:
    made = jobs.swap(models, None, clip, {"timbre": other}, report=Stages(), **SPEAKING)
    assert made.before.frames == made.after.frames
    assert not torch.equal(made.before.wave_T, made.after.wave_T)
    prompts = {"duration": other, "prosody": other}
    rhythm = jobs.swap(models, None, clip, prompts, report=Stages(), **SPEAKING)
    assert torch.equal(rhythm.before.wave_T, made.before.wave_T)
    assert rhythm.before.frames != rhythm.after.frames
    slow = {**SPEAKING, "speed": 0.5}
    slower = jobs.swap(models, None, clip, {"timbre": other}, report=Stages(), **slow)
    assert torch.equal(slower.before.wave_T, made.before.wave_T)
    assert slower.after.seconds > 1.5 * slower.before.seconds


def test_swapping_nothing_is_told(models: Models, clip: Tensor) -> None:
    for text in (None, "Hello."):
        with pytest.raises(PromptError, match="nothing to swap"):
            jobs.swap(models, text, clip, {}, report=Stages(), **SPEAKING)
        silence = {"prosody": torch.zeros(32_000)}
        with pytest.raises(PromptError, match="The voice for prosody: .*silent"):
            jobs.swap(models, text, clip, silence, report=Stages(), **SPEAKING)
