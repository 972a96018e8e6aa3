"""Reading phones and durations off a prompt's frames."""

from __future__ import annotations

import pytest
import torch

from speechkit.core.errors import PromptError
from speechkit.core.results import DurationPrompt
from speechkit.diffusion.duration import regulate_length
from speechkit.facodec.small.codec import FACodec
from speechkit.reading import force, read_voice
from speechkit.text import DEFAULT_VOCABULARY
from speechkit.text.frames import FrameClasses
from tests.facodec.builders import vowel
from tests.facodec.small.test_codec import fresh

SYMBOLS = FrameClasses(DEFAULT_VOCABULARY).symbols
SPOKEN = ("^", "HH", "AH0", "L", "OW1", " ", "W", "ER1", ".", "$")


def timed(seconds: float, phones: tuple[str, ...] = SPOKEN, frames: int = 0) -> DurationPrompt:
    """Phones aligned to a vowel, on `frames` frames or those of 20 ms."""
    wave_T = torch.from_numpy(vowel(seconds))
    return force(wave_T, DEFAULT_VOCABULARY, phones, frames or round(seconds * 50))


def test_given_phones_cover_every_frame() -> None:
    rhythm = timed(1.2)
    assert DEFAULT_VOCABULARY.phones(rhythm.phones_P.tolist()) == list(SPOKEN)
    assert int(rhythm.frames_P.sum()) == 60
    spoken = torch.tensor([s not in ("^", " ", ".", "$") for s in SPOKEN])
    assert bool((rhythm.frames_P[spoken] >= 1).all())


def test_frames_of_another_rate_are_covered_too() -> None:
    """As those of the codec with 80 frames a second."""
    plain, finer = timed(1.2), timed(1.2, frames=96)
    assert int(finer.frames_P.sum()) == 96
    ends = (torch.cumsum(r.frames_P, 0) / r.frames_P.sum() for r in (plain, finer))
    torch.testing.assert_close(*ends, atol=0.5 / 96 + 1e-6, rtol=0)


def test_stress_does_not_matter_to_alignment() -> None:
    stressed = tuple({"AH0": "AH1", "OW1": "OW0"}.get(s, s) for s in SPOKEN)
    assert torch.equal(timed(1.0).frames_P, timed(1.0, stressed).frames_P)


def test_more_phones_than_frames_are_refused() -> None:
    with pytest.raises(PromptError, match="transcript is too long"):
        timed(0.1)


def codec_hearing(symbol: str) -> FACodec:
    """A codec whose phone predictor always hears one class."""
    codec = fresh()
    with torch.no_grad():
        codec.phone_predictor.out.bias[SYMBOLS.index(symbol)] = 100.0
    return codec


@pytest.mark.parametrize("phones", [None, SPOKEN])
def test_a_voice_has_everything_from_its_prompt(phones: tuple[str, ...] | None) -> None:
    wave_T = torch.from_numpy(vowel(0.5))
    codec = codec_hearing("AH0")
    voice = read_voice(codec, DEFAULT_VOCABULARY, wave_T, phones)
    codes, timbre_D = codec.encode(wave_T)
    assert torch.equal(voice.timbre_D, codec.quiet(timbre_D))
    for name in ("prosody", "content", "detail"):
        attribute = getattr(voice, name)
        assert torch.equal(attribute.codes_KF, codes.stacked())
        assert torch.equal(
            attribute.phone_F, regulate_length(voice.duration.phones_P, voice.duration.frames_P)
        )
    assert int(voice.duration.frames_P.sum()) == codes.frames == 25


def test_a_prompt_without_speech_is_refused() -> None:
    with pytest.raises(PromptError, match="No speech"):
        read_voice(codec_hearing("sil"), DEFAULT_VOCABULARY, torch.from_numpy(vowel(0.5)))
