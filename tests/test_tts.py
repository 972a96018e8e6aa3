"""The public API on a tiny model with random weights: seeds, limits, swaps and bad input."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core import checkpoint
from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.config import to_dict
from speechkit.core.errors import (
    AudioError,
    CheckpointError,
    ConfigError,
    PromptError,
    TextError,
)
from speechkit.core.prompt import prepare_prompt
from speechkit.core.results import DurationPrompt, PromptCodes, Speech, Voice
from speechkit.diffusion.config import STAGES
from speechkit.diffusion.generator import build_generator
from speechkit.facodec.codec import codes_sign
from speechkit.pieces import EDGE_FRAMES, PEAK, at_level, with_edges
from speechkit.text.turns import CHUNK_CHARACTERS, MAX_CHARACTERS, write_script
from speechkit.tts import ZeroShotTTS
from speechkit.watermark import DEFAULT_PAYLOAD, Watermark, detect, embed
from tests.diffusion.builders import live_generator, random_voice
from tests.facodec.builders import babble, vowel
from tests.facodec.small.test_codec import fresh
from tests.tiny import TINY_GENERATOR, tiny_model

# So long that chance cannot draw the same codes for two voices, nor lose a watermark.
TEXT = "Hello there, and good morning to all of you who are listening in the world."
Say = Callable[..., Speech]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def tts() -> ZeroShotTTS:
    """A model every part of which matters to what is heard."""
    return ZeroShotTTS(fresh(), live_generator())


@pytest.fixture(scope="module")
def say(tts: ZeroShotTTS) -> Say:
    def speak(text: str = TEXT, voice: Voice | None = None, **options: Any) -> Speech:
        return tts.synthesize(text, voice or random_voice(0), **{"steps": 1, **options})

    return speak


@pytest.fixture(scope="module")
def plain(say: Say) -> Speech:
    return say()


def test_speech_is_whole(plain: Speech) -> None:
    assert plain.phones[:5] == ("^", "HH", "AH0", "L", "OW1")
    assert plain.phones[-1] == "$"
    assert len(plain.frames) == len(plain.phones)
    assert len(plain.wave_T) == 320 * sum(plain.frames)
    assert plain.seconds == pytest.approx(0.02 * sum(plain.frames))
    assert float(plain.wave_T.abs().max()) <= 1.0
    assert set(plain.stages_seconds) == {*STAGES, "decode", "watermark"}
    assert all(seconds >= 0 for seconds in plain.stages_seconds.values())


def test_same_seed_same_bytes(say: Say, plain: Speech) -> None:
    again, other = say(), say(seed=1)
    assert again.wave_T.numpy().tobytes() == plain.wave_T.numpy().tobytes()
    assert again.frames == plain.frames
    assert other.seed == 1
    assert other.wave_T.numpy().tobytes() != plain.wave_T.numpy().tobytes()


def test_speech_is_watermarked_unless_told_otherwise(say: Say, plain: Speech) -> None:
    bare, other = say(watermark=None), say(watermark=Watermark(payload=9))
    assert (plain.watermark, bare.watermark, other.watermark) == (DEFAULT_PAYLOAD, None, 9)
    assert torch.equal(plain.wave_T, embed(bare.wave_T, 16_000))
    assert not torch.equal(plain.wave_T, other.wave_T)
    assert "watermark" not in bare.stages_seconds


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_what_is_said_of_the_watermark_is_what_is_found(say: Say, speed: float) -> None:
    for text in ("No.", "Good morning."):
        speech = say(text, speed=speed)
        assert detect(speech.wave_T, 16_000).payload == speech.watermark
        assert any("watermark" in note for note in speech.notes) == (speech.watermark is None)


def test_speed_scales_the_frames_between_the_edges(say: Say, plain: Speech) -> None:
    def inner(speech: Speech) -> tuple[int, ...]:
        return speech.frames[1:-1]

    frames = sum(inner(plain))
    fast, slow = say(speed=2.0), say(speed=0.5)
    # Phones of a single frame stay.
    single = sum(1 for count in inner(plain) if count == 1)
    assert frames / 2 - 1 <= sum(inner(fast)) <= frames / 2 + 1 + single
    assert inner(slow) == tuple(2 * count for count in inner(plain))
    with pytest.raises(ConfigError, match="speed"):
        say(speed=5.0)


def test_speech_begins_and_ends_in_silence(say: Say, plain: Speech) -> None:
    for speech in (plain, say(speed=4.0), say("No.")):
        assert (speech.phones[0], speech.phones[-1]) == ("^", "$")
        assert speech.frames[0] >= EDGE_FRAMES[0]
        assert speech.frames[-1] >= EDGE_FRAMES[1]


@given(st.lists(st.integers(0, 40), min_size=2, max_size=20))
def test_edges_lengthen_the_first_and_the_last_alone(frames: list[int]) -> None:
    before_P = torch.tensor(frames)
    edged = with_edges(before_P).tolist()
    assert edged[1:-1] == frames[1:-1]
    assert edged[0] == max(frames[0], EDGE_FRAMES[0])
    assert edged[-1] == max(frames[-1], EDGE_FRAMES[1])
    assert before_P.tolist() == frames


def loud_rms(wave_T: Tensor) -> float:
    """Level of the louder frames by hand: those of 20 ms above a tenth of the loudest."""
    frames = [float(part.square().mean().sqrt()) for part in torch.split(wave_T, 320)]
    loud = [level for level in frames if level > 0.1 * max(frames)]
    return math.sqrt(sum(level * level for level in loud) / len(loud))


@pytest.mark.parametrize("peak", [0.001, 0.05, 0.9])
def test_speech_is_brought_to_its_level(peak: float) -> None:
    voiced = torch.from_numpy(vowel(1.0, peak=peak))
    wave_T = torch.cat([torch.zeros(16_000), voiced, torch.zeros(16_000)])
    levelled_T = at_level(wave_T)
    # Silence around it does not count: the vowel is at -20 dB.
    assert 20 * math.log10(loud_rms(levelled_T)) == pytest.approx(-20, abs=0.5)
    assert float(levelled_T.abs().max()) <= PEAK


def test_no_peak_exceeds_the_highest_sample() -> None:
    clicks_T = torch.zeros(16_000)
    clicks_T[::2000] = 0.5
    levelled_T = at_level(clicks_T)
    assert float(levelled_T.abs().max()) == pytest.approx(PEAK, abs=1e-5)
    for quiet_T in (torch.zeros(1000), torch.zeros(0)):
        assert torch.equal(at_level(quiet_T), quiet_T)


@pytest.mark.parametrize("steps", [0, -1, 65])
def test_steps_out_of_range_are_refused(say: Say, steps: int) -> None:
    with pytest.raises(ConfigError, match="from 1 to 64"):
        say(steps=steps)


def test_steps_change_codes_but_not_durations(say: Say, plain: Speech) -> None:
    more = say(steps=7)
    assert more.frames == plain.frames
    assert not torch.equal(more.wave_T, plain.wave_T)
    assert len(say(steps=None).wave_T) == len(plain.wave_T)


@pytest.mark.parametrize("text", ["", " \n\t", "\u4f60\u597d", "...", "\U0001f600" * 3])
def test_text_with_nothing_to_say_is_refused(say: Say, text: str) -> None:
    with pytest.raises(TextError):
        say(text)


@pytest.mark.parametrize("length", [MAX_CHARACTERS + 1, 100_000])
def test_text_too_long_is_refused_at_once(say: Say, length: int) -> None:
    with pytest.raises(TextError, match=f"{length} characters"):
        say("a " * (length // 2) + "a" * (length % 2))


def test_symbols_that_are_not_spoken_are_noted(say: Say) -> None:
    speech = say("Hi \u4f60 there.")
    assert any("\u4f60" in note for note in speech.notes)
    assert say("Hi.", watermark=None).notes == ()


def test_an_unknown_inline_phone_is_refused(say: Say) -> None:
    with pytest.raises(TextError, match="XX"):
        say("[[XX YY]]")


def test_long_text_is_spoken_in_chunks(tts: ZeroShotTTS) -> None:
    sentence = "We went to the sea and then we came home again in the rain. "
    text = sentence * (CHUNK_CHARACTERS // len(sentence) + 1)
    heard: list[tuple[int, int, str]] = []
    speech = tts.synthesize(
        text, random_voice(0), steps=1, progress=lambda *step: heard.append(step)
    )
    assert speech.phones.count("^") == 2
    assert [number for number, _, _ in heard] == [0] * 5 + [1] * 5
    assert {count for _, count, _ in heard} == {2}
    assert [stage for _, _, stage in heard[:5]] == [*STAGES, "decode"]
    assert len(speech.wave_T) == 320 * sum(speech.frames)
    # Each chunk has draws of its own: the same words do not come out the same twice.
    cut = speech.phones.index("$") + 1
    alone = tts.synthesize(sentence, random_voice(0), steps=1)
    assert speech.phones[cut:] == alone.phones
    assert speech.frames[cut:] != alone.frames


def test_swapping_the_duration_alone_changes_the_length(tts: ZeroShotTTS) -> None:
    a, b = random_voice(0), random_voice(1)
    own, swapped = (tts.swap(TEXT, timbre=a, duration=d, steps=1) for d in (None, b))
    assert own.frames != swapped.frames
    assert swapped.frames == tts.synthesize(TEXT, b, steps=1).frames
    assert torch.equal(own.wave_T, tts.synthesize(TEXT, a, steps=1).wave_T)


def test_swapping_the_timbre_alone_keeps_the_rhythm(tts: ZeroShotTTS, plain: Speech) -> None:
    a, b = random_voice(0), random_voice(1)
    swapped = tts.swap(TEXT, timbre=b, duration=a, prosody=a, content=a, detail=a, steps=1)
    assert swapped.frames == plain.frames
    assert not torch.equal(swapped.wave_T, plain.wave_T)


@pytest.mark.parametrize("name", ["prosody", "content", "detail"])
def test_swapping_codes_keeps_the_rhythm(tts: ZeroShotTTS, plain: Speech, name: str) -> None:
    others: dict[str, Any] = {name: random_voice(1)}
    swapped = tts.swap(TEXT, timbre=random_voice(0), steps=1, **others)
    assert swapped.frames == plain.frames
    assert not torch.equal(swapped.wave_T, plain.wave_T)


def test_a_lexicon_decides_how_a_word_is_said() -> None:
    model = ZeroShotTTS(fresh(), live_generator(), lexicon={"hello": ("S", "IY1")})
    assert model.synthesize("Hello.", random_voice(0), steps=1).phones[:3] == ("^", "S", "IY1")


def test_a_voice_is_read_from_a_file_of_any_rate(tts: ZeroShotTTS, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", babble(1.5), 24_000)
    voice = tts.voice(tmp_path / "a.wav")
    assert int(voice.duration.frames_P.sum()) == math.ceil(1.5 * 16_000 / 24_000 / 0.02)
    assert voice.notes == ()
    spoken = tts.voice(torch.from_numpy(babble(1.5)), transcript="Ah.")
    assert len(spoken.duration.phones_P) > len(voice.duration.phones_P)


def test_long_and_clipped_prompts_are_noted(tts: ZeroShotTTS) -> None:
    long = tts.voice(torch.from_numpy(babble(2.0)).repeat(16))
    assert len(long.prosody.phone_F) == 30 * 50
    assert any("30" in note for note in long.notes)
    clipped = torch.from_numpy(babble(1.5, peak=4.0)).clamp(-1, 1)
    assert any("clipped" in note for note in tts.voice(clipped).notes)


def test_unusable_prompts_are_refused(tts: ZeroShotTTS, tmp_path: Path) -> None:
    good = torch.from_numpy(babble(1.5))
    for bad in (torch.zeros(32_000), good[:15_000], good * math.nan, torch.stack([good, good])):
        with pytest.raises(PromptError):
            tts.voice(bad)
    (tmp_path / "x.wav").write_text("not audio")
    for path in (tmp_path / "none.wav", tmp_path / "x.wav", tmp_path):
        with pytest.raises(AudioError):
            tts.voice(path)
    with pytest.raises(PromptError, match="transcript is too long"):
        tts.voice(good, transcript="word " * 60)
    with pytest.raises(TextError):
        tts.voice(good, transcript="")


def test_a_model_folder_is_loaded_whole(folder: Path) -> None:
    one, same = (ZeroShotTTS.from_pretrained(folder) for _ in range(2))
    assert one.sample_rate_hz == 16_000
    assert one.weights == same.weights
    assert one.weights.startswith("codec ")
    assert not one.trained
    waves = [model.synthesize("Hi.", random_voice(0), steps=1).wave_T for model in (one, same)]
    assert torch.equal(*waves)


def test_each_checkpoint_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    tensors = checkpoint.load_tensors

    def counted(path: str | Path) -> tuple[dict[str, Tensor], str]:
        read.append(Path(path))
        return tensors(path)

    monkeypatch.setattr(checkpoint, "load_tensors", counted)
    ZeroShotTTS.from_pretrained(folder)
    assert sorted(path.parent.name for path in read) == ["codec", "generator"]


def test_incomplete_and_broken_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no codec"):
        ZeroShotTTS.from_pretrained(tmp_path / "nothing")
    copy = tiny_model(tmp_path / "copy")
    weights = copy / "generator" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError):
        ZeroShotTTS.from_pretrained(copy)
    (copy / "generator" / "config.json").unlink()
    with pytest.raises(CheckpointError, match="holds no generator"):
        ZeroShotTTS.from_pretrained(copy)


def test_a_generator_of_another_codec_is_refused(tmp_path: Path) -> None:
    root = tiny_model(tmp_path)
    frame = replace(TINY_GENERATOR.frame, codebook_size=4096)
    other = build_generator(replace(TINY_GENERATOR, frame=frame))
    save_checkpoint(root / "generator", other.state_dict(), {"generator": to_dict(other.config)})
    with pytest.raises(CheckpointError, match="another codec"):
        ZeroShotTTS.from_pretrained(root)


def test_codes_of_another_codec_of_the_same_sizes_are_refused(tts: ZeroShotTTS) -> None:
    voice = tts.voice(torch.from_numpy(babble(1.0)), ("AH0",))
    assert voice.codes == codes_sign(tts.codec)
    voice.check(tts.voice_sizes)
    other = fresh()
    with torch.no_grad():
        for entries_VC in other.code_vectors():
            entries_VC.mul_(-1)
    with pytest.raises(CheckpointError, match="made with another model"):
        voice.check(ZeroShotTTS(other, tts.generator).voice_sizes)
    told = build_generator(replace(tts.generator.config, codes=codes_sign(tts.codec)))
    ZeroShotTTS(tts.codec, told)
    with pytest.raises(CheckpointError, match="another codec"):
        ZeroShotTTS(other, told)


def test_words_and_phones_have_times(plain: Speech) -> None:
    assert [word.label for word in plain.words] == re.findall(r"\w+", TEXT)
    hello, *_, world = plain.words
    phones = plain.timed_phones
    assert [phone.label for phone in phones] == list(plain.phones)
    assert phones[0].start_seconds == 0
    assert phones[-1].end_seconds == pytest.approx(plain.seconds)
    # "^ HH AH0 L OW1": the word begins and ends with its phones.
    assert hello.start_seconds == phones[1].start_seconds
    assert hello.end_seconds == pytest.approx(phones[4].end_seconds)
    assert world.end_seconds == pytest.approx(phones[-3].end_seconds)
    for before, after in itertools.pairwise(phones):
        assert before.end_seconds == pytest.approx(after.start_seconds)


def test_words_of_all_chunks_have_times(tts: ZeroShotTTS) -> None:
    text = "We went to the sea, [[HH AH0 L OW1]] and it's 5 o'clock! " * 8
    speech = tts.synthesize(text, random_voice(0), steps=1)
    assert len(speech.words) == len(tts.frontend.report(text).words)
    starts = [word.start_seconds for word in speech.words]
    assert starts == sorted(starts)
    assert all(word.start_seconds < word.end_seconds for word in speech.words)


def test_speech_is_saved_and_reported(plain: Speech, tmp_path: Path) -> None:
    plain.save(tmp_path / "it.wav")
    samples, rate_hz = soundfile.read(tmp_path / "it.wav")
    assert (len(samples), rate_hz) == (len(plain.wave_T), 16_000)
    with pytest.raises(AudioError, match="m4a"):
        plain.save(tmp_path / "it.m4a")
    facts = plain.to_json()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["words"][0]["label"] == "Hello"
    assert "HH AH0 L OW1" in plain.text()


def test_a_script_and_a_prepared_prompt_are_taken_as_they_are(
    tts: ZeroShotTTS, plain: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = write_script(TEXT, tts.frontend)
    prompt = prepare_prompt(torch.from_numpy(babble(1.5)))
    expected = tts.voice(prompt.wave_T, transcript="Ah.")
    phones = tts.frontend.phones("Ah.")

    def again(*args: object, **options: object) -> None:
        raise AssertionError("done twice")

    monkeypatch.setattr(tts.frontend, "report", again)
    monkeypatch.setattr("speechkit.tts.prepare_prompt", again)
    spoken = tts.synthesize(script, random_voice(0), steps=1)
    assert torch.equal(spoken.wave_T, plain.wave_T)
    voice = tts.voice(prompt, phones)
    assert torch.equal(voice.duration.frames_P, expected.duration.frames_P)


def damaged_voices() -> dict[str, Voice]:
    voice = random_voice(0)
    nothing = torch.zeros(0, dtype=torch.int64)
    rhythm = voice.duration
    return {
        "no durations": replace(voice, duration=DurationPrompt(phones_P=nothing, frames_P=nothing)),
        "phones below 0": replace(voice, duration=replace(rhythm, phones_P=rhythm.phones_P - 200)),
        "frames below 0": replace(voice, duration=replace(rhythm, frames_P=rhythm.frames_P - 99)),
        "no prompt": replace(
            voice, prosody=PromptCodes(codes_KF=torch.zeros(6, 0).long(), phone_F=nothing)
        ),
        "codes of another length": replace(
            voice, detail=replace(voice.detail, phone_F=voice.detail.phone_F[:-1])
        ),
        "timbre not finite": replace(voice, timbre_D=voice.timbre_D * math.nan),
    }


@pytest.mark.parametrize("name", list(damaged_voices()))
def test_a_damaged_voice_is_refused_by_the_api_and_in_files(
    say: Say, tmp_path: Path, name: str
) -> None:
    voice = damaged_voices()[name]
    with pytest.raises(CheckpointError, match="damaged voice"):
        say(voice=voice)
    voice.save(tmp_path / "v")
    with pytest.raises(CheckpointError, match="v is a damaged voice"):
        Voice.load(tmp_path / "v")


def voices_of_another_model() -> dict[str, Voice]:
    voice = random_voice(0)
    codes = replace(voice.prosody, codes_KF=voice.prosody.codes_KF + 1000)
    codebooks = replace(voice.prosody, codes_KF=voice.prosody.codes_KF[:4])
    phones = replace(voice.duration, phones_P=voice.duration.phones_P + 1000)
    return {
        "timbre of another width": replace(voice, timbre_D=torch.zeros(7)),
        "entries it does not have": replace(voice, prosody=codes),
        "other codebooks": replace(voice, prosody=codebooks),
        "other phones": replace(voice, duration=phones),
    }


@pytest.mark.parametrize("name", list(voices_of_another_model()))
def test_a_voice_of_another_model_is_refused(say: Say, name: str) -> None:
    with pytest.raises(CheckpointError, match="another model"):
        say(voice=voices_of_another_model()[name])
