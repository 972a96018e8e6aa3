"""Scripts spoken with several voices and pauses, whole and in pieces."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from speechkit.core.errors import TextError
from speechkit.core.results import Voice
from speechkit.narration import narrate, narrate_pieces
from speechkit.text.script import Line, Pause, read_script
from speechkit.text.turns import MAX_CHARACTERS, write_turns
from speechkit.tts import ZeroShotTTS
from tests.tiny import tiny_model

LONG = "The ferry leaves at noon, and we are late. " * 5


@pytest.fixture(scope="module")
def tts(tmp_path_factory: pytest.TempPathFactory) -> ZeroShotTTS:
    """A tiny model with random weights."""
    return ZeroShotTTS.from_pretrained(tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def voices(tts: ZeroShotTTS, examples: Path) -> dict[str, Voice]:
    """Two voices, one without a name."""
    heart = tts.voice(examples / "synthetic_af_heart.flac")
    return {"": heart, "BEN": tts.voice(examples / "synthetic_bm_george.flac")}


def test_plain_text_is_what_synthesize_says(tts: ZeroShotTTS, voices: dict[str, Voice]) -> None:
    text = "Hello, world. We are late."
    turns = write_turns(read_script(text), tts.frontend)
    told, direct = narrate(tts, turns, voices, seed=3), tts.synthesize(text, voices[""], seed=3)
    assert torch.equal(told.wave_T, direct.wave_T)
    assert (told.words, told.phones, told.frames, told.seed, told.watermark) == (
        *(direct.words, direct.phones, direct.frames, direct.seed, direct.watermark),
    )


def test_a_pause_is_silence_of_its_length(tts: ZeroShotTTS, voices: dict[str, Voice]) -> None:
    turns = write_turns(read_script("Hello there. [pause 1.5s] Goodbye."), tts.frontend)
    speech = narrate(tts, turns, voices, watermark=None)
    hello, there, goodbye = speech.words
    assert [word.label for word in speech.words] == ["Hello", "there", "Goodbye"]
    assert goodbye.start_seconds - there.end_seconds >= 1.5
    rate_hz = speech.sample_rate_hz
    silent = speech.wave_T == 0
    runs = torch.unique_consecutive(silent, return_counts=True)
    longest = int(runs[1][runs[0]].max())
    assert longest == pytest.approx(1.5 * rate_hz, abs=0.02 * rate_hz)
    # Phone times and the wave agree, pause included.
    assert sum(speech.frames) * tts.codec.hop_samples == len(speech.wave_T)
    assert hello.start_seconds < hello.end_seconds <= there.start_seconds


def test_each_voice_speaks_its_lines(tts: ZeroShotTTS, voices: dict[str, Voice]) -> None:
    def spoken(name: str) -> torch.Tensor:
        parts = (Line(text="Good morning to you."), Line(text="Good evening.", voice=name))
        return narrate(tts, write_turns(parts, tts.frontend), voices, watermark=None).wave_T

    alone, both = spoken(""), spoken("BEN")
    first = narrate(
        tts, write_turns([Line(text="Good morning to you.")], tts.frontend), voices, watermark=None
    ).wave_T
    assert torch.equal(alone[: len(first)], both[: len(first)])
    assert len(alone) != len(both) or not torch.equal(alone, both)


def test_pieces_joined_are_the_whole(tts: ZeroShotTTS, voices: dict[str, Voice]) -> None:
    turns = write_turns(read_script(f"{LONG} [pause 1s] Goodbye."), tts.frontend)
    whole = narrate(tts, turns, voices, seed=1)
    pieces = list(narrate_pieces(tts, turns, voices, seed=1))
    assert len(pieces) == 5
    torch.testing.assert_close(
        torch.cat([piece.wave_T for piece in pieces]), whole.wave_T, atol=1e-5, rtol=0
    )
    assert tuple(word for piece in pieces for word in piece.words) == whole.words


def test_chunks_of_a_text_are_drawn_apart(tts: ZeroShotTTS, voices: dict[str, Voice]) -> None:
    turns = write_turns(read_script("Hello. [pause 1s] Hello."), tts.frontend)
    first, _, second, _ = narrate_pieces(tts, turns, voices)
    assert len(first.wave_T) != len(second.wave_T) or not first.wave_T.equal(second.wave_T)


def test_speeds_multiply_within_bounds(tts: ZeroShotTTS, voices: dict[str, Voice]) -> None:
    def seconds(speed: float, rate: float) -> float:
        turns = write_turns([Line(text=LONG[:42], speed=rate)], tts.frontend)
        return narrate(tts, turns, voices, speed=speed, watermark=None).seconds

    # The silence at both ends does not get longer with the rest.
    assert 3 * seconds(1, 1) < seconds(0.5, 0.5) < 4.2 * seconds(1, 1)
    assert seconds(0.25, 0.25) == seconds(0.25, 1)


def test_texts_are_checked_before_anything_is_spoken(tts: ZeroShotTTS) -> None:
    with pytest.raises(TextError, match=r"Part 3 \('привет'\)"):
        write_turns([Line(text="Hi."), Pause(seconds=1), Line(text="привет")], tts.frontend)
    with pytest.raises(TextError, match="too long"):
        write_turns([Line(text="a " * (MAX_CHARACTERS // 4), voice=v) for v in "abc"], tts.frontend)
