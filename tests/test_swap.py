"""Factors of a recording from other voices: what stays, what moves, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.cli import main
from speechkit.core.audio import read_audio
from speechkit.core.errors import ConfigError, PromptError
from speechkit.core.results import DurationPrompt, Speech, Voice
from speechkit.swap import carry_rhythm, swap_recording, time_scale_codes
from speechkit.text import DEFAULT_VOCABULARY
from speechkit.tts import ZeroShotTTS
from speechkit.watermark import detect
from tests.tiny import tiny_model

EXAMPLES = Path(__file__).resolve().parents[1] / "speechkit" / "voices"
SOURCE, OTHER = (EXAMPLES / f"synthetic_{name}.flac" for name in ("af_heart", "bm_george"))


@pytest.fixture(scope="module")
def tts() -> ZeroShotTTS:
    """The bundled models."""
    return ZeroShotTTS.from_pretrained()


@pytest.fixture(scope="module")
def own(tts: ZeroShotTTS) -> Voice:
    return tts.voice(SOURCE)


@pytest.fixture(scope="module")
def other(tts: ZeroShotTTS) -> Voice:
    return tts.voice(OTHER)


@pytest.fixture(scope="module")
def plain(tts: ZeroShotTTS, own: Voice) -> Speech:
    """The recording through the codec."""
    return swap_recording(tts, own, steps=1)


def test_nothing_swapped_is_the_recording_through_the_codec(
    tts: ZeroShotTTS, own: Voice, plain: Speech
) -> None:
    assert plain.frames == tuple(own.duration.frames_P.tolist())
    assert plain.seconds == pytest.approx(len(read_audio(SOURCE)) / 16_000, abs=0.03)
    # A file gives what its voice gives, and the same seed the same bytes.
    assert torch.equal(swap_recording(tts, SOURCE, steps=1).wave_T, plain.wave_T)
    assert detect(plain.wave_T, 16_000).payload == plain.watermark
    bare = swap_recording(tts, own, steps=1, watermark=None)
    assert bare.watermark is None
    assert not detect(bare.wave_T, 16_000).present


def test_timbre_moves_the_voice_and_nothing_else(
    tts: ZeroShotTTS, own: Voice, other: Voice, plain: Speech
) -> None:
    swapped = swap_recording(tts, own, timbre=other, steps=1)
    assert (swapped.frames, swapped.phones) == (plain.frames, plain.phones)

    def closeness(speech: Speech, voice: Voice) -> float:
        timbre_D = tts.codec.encode(speech.wave_T)[1]
        return float(torch.cosine_similarity(timbre_D, voice.timbre_D, dim=0))

    assert closeness(swapped, other) > closeness(plain, other) + 0.1
    assert closeness(swapped, own) < closeness(plain, own) - 0.1


@pytest.mark.parametrize("factor", ["prosody", "content", "detail"])
def test_a_drawn_factor_changes_the_sound_and_not_the_rhythm(
    factor: str, tts: ZeroShotTTS, own: Voice, other: Voice, plain: Speech
) -> None:
    voices: dict[str, Any] = {factor: other}
    swapped = swap_recording(tts, own, **voices, steps=1, seed=3)
    assert swapped.frames == plain.frames
    assert not torch.equal(swapped.wave_T, plain.wave_T)
    assert torch.equal(swap_recording(tts, own, **voices, steps=1, seed=3).wave_T, swapped.wave_T)


def test_rhythm_and_speed_change_the_length(
    tts: ZeroShotTTS, own: Voice, other: Voice, plain: Speech
) -> None:
    paced = swap_recording(tts, own, duration=other, steps=1)
    assert paced.phones == plain.phones
    assert paced.frames != plain.frames
    fast = swap_recording(tts, own, speed=2.0, steps=1)
    assert fast.seconds == pytest.approx(plain.seconds / 2, rel=0.05)
    assert len(fast.wave_T) == tts.codec.hop_samples * sum(fast.frames)


def test_what_cannot_be_swapped_is_told(tts: ZeroShotTTS, own: Voice) -> None:
    with pytest.raises(PromptError, match="silent"):
        swap_recording(tts, torch.zeros(32_000))
    with pytest.raises(ConfigError, match="out of range"):
        swap_recording(tts, own, speed=9.0)
    with pytest.raises(ConfigError, match="out of range"):
        swap_recording(tts, own, steps=65)


def test_the_verb_swaps_a_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = str(tiny_model(tmp_path / "model")), tmp_path / "out.wav"
    common = ["swap", "--source", str(SOURCE), "-o", str(out), "--model", model, "--steps", "1"]
    assert main([*common, "--timbre", str(OTHER), "--duration", str(OTHER)]) == 0
    assert out.stat().st_size > 1000
    assert "watermark" in capsys.readouterr().out
    for flags, said in (
        ([], "nothing to swap with"),
        (["--timbre", str(OTHER), "--lexicon", str(SOURCE)], "--lexicon is for texts"),
        (["--timbre", str(OTHER), "--text", "Hello."], "not allowed with"),
    ):
        assert main([*common, *flags]) == 2
        assert said in capsys.readouterr().err
    assert main(["swap", "--text", "Hello.", "-o", str(out)]) == 2
    assert "give --timbre" in capsys.readouterr().err


lengths = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12)


@settings(deadline=None)
@given(lengths)
def test_stretched_codes_keep_their_phones_in_order(pairs: list[tuple[int, int]]) -> None:
    from_P, to_P = (torch.tensor([pair[side] for pair in pairs]) for side in (0, 1))
    phone_F = torch.repeat_interleave(torch.arange(len(pairs)), from_P)
    codes_KF = torch.stack([phone_F, torch.arange(len(phone_F))])
    new_KF = time_scale_codes(codes_KF, from_P, to_P)
    assert torch.equal(new_KF[0], torch.repeat_interleave(torch.arange(len(pairs)), to_P))
    assert (new_KF[1].diff() >= 0).all()
    assert torch.equal(time_scale_codes(codes_KF, from_P, from_P), codes_KF)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 76), st.integers(0, 40)), min_size=1, max_size=30))
def test_a_rhythm_carried_to_itself_stays(phones: list[tuple[int, int]]) -> None:
    rhythm = DurationPrompt(
        phones_P=torch.tensor([phone for phone, _ in phones]),
        frames_P=torch.tensor([frames for _, frames in phones]),
    )
    same_P = carry_rhythm(rhythm, rhythm, DEFAULT_VOCABULARY.symbols)
    assert torch.equal(same_P, rhythm.frames_P)
    twice = DurationPrompt(phones_P=rhythm.phones_P, frames_P=2 * rhythm.frames_P)
    slower_P = carry_rhythm(rhythm, twice, DEFAULT_VOCABULARY.symbols)
    assert ((slower_P == rhythm.frames_P) | (slower_P == 2 * rhythm.frames_P)).all()
