"""Batches, streams and number formats of the public API, on a tiny model with random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from speechkit.core.audio import write_audio
from speechkit.core.errors import CheckpointError, ConfigError, TextError
from speechkit.pieces import Piece
from speechkit.tts import PHONES_AT_ONCE, ZeroShotTTS
from tests.diffusion.builders import live_generator, random_voice
from tests.facodec.builders import babble
from tests.facodec.small.test_codec import fresh
from tests.tiny import tiny_model

TEXT = "Hello there, world."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def tts() -> ZeroShotTTS:
    """A model every part of which matters to what is heard."""
    return ZeroShotTTS(fresh(), live_generator())


BATCH_TEXTS = (
    "Hello there, world.", "No.", "We went to the sea and came home again.", "Yes!",
    "One, two, three, four.", "And then? Nothing.", "Good morning to you all.", "It rains.",
)  # fmt: skip


def test_a_batch_of_eight_is_what_each_is_alone(tts: ZeroShotTTS) -> None:
    voices = [random_voice(n, frames=40 + 5 * n) for n in range(8)]
    together = tts.synthesize_batch(BATCH_TEXTS, voices, seeds=range(8), steps=2)
    assert len({len(speech.wave_T) for speech in together}) > 4
    for n, speech in enumerate(together):
        alone = tts.synthesize(BATCH_TEXTS[n], voices[n], seed=n, steps=2)
        assert (speech.frames, speech.phones, speech.seed) == (alone.frames, alone.phones, n)
        assert speech.words == alone.words
        assert (speech.notes, speech.watermark) == (alone.notes, alone.watermark)
        torch.testing.assert_close(speech.wave_T, alone.wave_T, atol=1e-5, rtol=0)


def test_a_batch_of_a_saved_model_is_what_each_is_alone(folder: Path) -> None:
    tts = ZeroShotTTS.from_pretrained(folder)
    voice = tts.voice(torch.from_numpy(babble(1.5)))
    together = tts.synthesize_batch(BATCH_TEXTS, voice, seeds=4, steps=1, watermark=None)
    for text, speech in zip(BATCH_TEXTS, together, strict=True):
        alone = tts.synthesize(text, voice, seed=4, steps=1, watermark=None)
        assert speech.frames == alone.frames
        torch.testing.assert_close(speech.wave_T, alone.wave_T, atol=1e-5, rtol=0)


@pytest.mark.parametrize("most", [1, 30, 10_000])
def test_how_much_is_drawn_at_once_changes_nothing(
    tts: ZeroShotTTS, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    sizes: list[int] = []
    speak = tts.speak

    def counted(pieces: list[Piece], *rest: Any) -> Any:
        sizes.append(len(pieces))
        assert len(pieces) == 1 or sum(len(piece.phones) for piece in pieces) <= most
        return speak(pieces, *rest)

    monkeypatch.setitem(PHONES_AT_ONCE, "cpu", most)
    monkeypatch.setattr(tts, "speak", counted)
    heard: list[tuple[int, int, str]] = []
    made = tts.synthesize_batch(
        BATCH_TEXTS[:4], random_voice(0), steps=1, progress=lambda *step: heard.append(step)
    )
    assert sum(sizes) == 4
    assert len(sizes) == {1: 4, 30: len(sizes), 10_000: 1}[most]
    lasts = [sum(sizes[: n + 1]) - 1 for n in range(len(sizes))]
    assert [step[0] for step in heard] == [last for last in lasts for _ in range(5)]
    monkeypatch.setattr(tts, "speak", speak)
    for text, speech in zip(BATCH_TEXTS, made, strict=False):
        alone = tts.synthesize(text, random_voice(0), steps=1)
        torch.testing.assert_close(speech.wave_T, alone.wave_T, atol=1e-5, rtol=0)


def test_an_empty_batch_is_no_speech(tts: ZeroShotTTS) -> None:
    assert tts.synthesize_batch([], random_voice(0)) == []


def test_batches_that_do_not_fit_are_refused_before_anything_is_spoken(
    tts: ZeroShotTTS, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoken(*args: object) -> None:
        raise AssertionError("spoken")

    monkeypatch.setattr(tts, "speak", spoken)
    voice = random_voice(0)
    with pytest.raises(ConfigError, match="2 texts, 1 voices and 2 seeds"):
        tts.synthesize_batch(["Hi.", "No."], [voice])
    with pytest.raises(ConfigError, match="2 texts, 2 voices and 3 seeds"):
        tts.synthesize_batch(["Hi.", "No."], voice, seeds=[1, 2, 3])
    with pytest.raises(TextError):
        tts.synthesize_batch(["Hi.", "..."], voice)
    bad = replace(voice, timbre_D=torch.zeros(7))
    with pytest.raises(CheckpointError, match="another model"):
        tts.synthesize_batch(["Hi.", "No."], [voice, bad])
    with pytest.raises(ConfigError, match="speed"):
        tts.synthesize_batch(["Hi."], voice, speed=9.0)


def test_the_voice_of_a_file_is_read_once_until_the_file_changes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tts, path = ZeroShotTTS.from_pretrained(folder), tmp_path / "me.wav"
    encoded: list[int] = []
    encode = tts.codec.encode

    def counted(wave_T: torch.Tensor) -> Any:
        encoded.append(len(wave_T))
        return encode(wave_T)

    monkeypatch.setattr(tts.codec, "encode", counted)
    write_audio(path, torch.from_numpy(babble(1.5)), 16_000)
    voice = tts.voice(path)
    assert tts.voice(str(path)) is voice
    assert len(encoded) == 1
    assert tts.voice(path, "hello there") is not voice
    write_audio(path, torch.from_numpy(babble(1.6)), 16_000)
    again = tts.voice(path)
    assert len(encoded) == 3
    assert not torch.equal(again.timbre_D, voice.timbre_D)


def test_models_compute_in_a_number_format(tts: ZeroShotTTS) -> None:
    fast = ZeroShotTTS(fresh(), live_generator()).to("cpu", "bfloat16")
    assert (fast.device.type, fast.dtype) == ("cpu", torch.bfloat16)
    # Weights stay what they are, and so does the codec.
    assert {p.dtype for p in fast.generator.parameters()} == {torch.float32}
    speech = fast.synthesize(TEXT, random_voice(0), steps=1)
    assert speech.wave_T.dtype == torch.float32
    assert bool(speech.wave_T.isfinite().all())
    exact = fast.to(dtype="float32").synthesize(TEXT, random_voice(0), steps=1)
    assert torch.equal(exact.wave_T, tts.synthesize(TEXT, random_voice(0), steps=1).wave_T)


def test_devices_and_formats_that_are_not_there_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match="0 CUDA devices"):
        ZeroShotTTS.from_pretrained(folder, device="cuda")
    with pytest.raises(ConfigError, match="no dtype 'half'"):
        ZeroShotTTS.from_pretrained(folder, dtype="half")
    model = ZeroShotTTS.from_pretrained(folder, device="cpu", dtype="auto")
    assert (model.device.type, model.dtype) == ("cpu", torch.float32)
    with pytest.raises(ConfigError, match="CPUs"):
        model.to(dtype="float16")
    assert model.dtype == torch.float32
