"""Reading phones and durations off a prompt's frames."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.errors import PromptError
from speechkit.core.rng import generator
from speechkit.diffusion.duration import regulate_length
from speechkit.facodec.small.codec import FACodec
from speechkit.reading import force, read_voice, recognise
from speechkit.text import DEFAULT_VOCABULARY
from speechkit.text.frames import FrameClasses
from tests.facodec.builders import vowel
from tests.facodec.small.test_codec import fresh

SYMBOLS = FrameClasses(DEFAULT_VOCABULARY).symbols
SPOKEN = ("^", "HH", "AH0", "L", "OW1", " ", "W", "ER1", ".", "$")


def frames_of(spoken: Sequence[tuple[str, int]], height: float = 12.0) -> Tensor:
    """Logits that name each class for as many frames as given; "sil" is silence."""
    logits = torch.randn(sum(n for _, n in spoken), len(SYMBOLS), generator=generator(0))
    row = 0
    for symbol, count in spoken:
        logits[row : row + count, SYMBOLS.index(symbol)] += height
        row += count
    return logits


HEARD = (
    ("sil", 4), ("HH", 2), ("AH0", 3), ("L", 2), ("OW1", 6), ("sil", 5), ("W", 3), ("ER1", 7),
)  # fmt: skip


def test_phones_are_read_off_clear_frames() -> None:
    rhythm = recognise(frames_of(HEARD), SYMBOLS, DEFAULT_VOCABULARY)
    names = DEFAULT_VOCABULARY.phones(rhythm.phones_P.tolist())
    assert names == [" " if name == "sil" else name for name, _ in HEARD]
    assert rhythm.frames_P.tolist() == [count for _, count in HEARD]


def test_a_flicker_is_smoothed_away() -> None:
    logits = frames_of((("AH0", 10),), height=6.0)
    logits[4, SYMBOLS.index("IY1")] += 7.0
    rhythm = recognise(logits, SYMBOLS, DEFAULT_VOCABULARY)
    assert DEFAULT_VOCABULARY.phones(rhythm.phones_P.tolist()) == ["AH0"]
    assert rhythm.frames_P.tolist() == [10]


def test_given_phones_find_their_frames() -> None:
    rhythm = force(frames_of(HEARD), SYMBOLS, DEFAULT_VOCABULARY, SPOKEN)
    assert DEFAULT_VOCABULARY.phones(rhythm.phones_P.tolist()) == list(SPOKEN)
    # No pause was heard at the end: its marks last no time.
    assert rhythm.frames_P.tolist() == [4, 2, 3, 2, 6, 5, 3, 7, 0, 0]


def test_stress_does_not_matter_to_alignment() -> None:
    stressed = tuple({"AH0": "AH1", "OW1": "OW0"}.get(s, s) for s in SPOKEN)
    one, other = (
        force(frames_of(HEARD), SYMBOLS, DEFAULT_VOCABULARY, p) for p in (SPOKEN, stressed)
    )
    assert torch.equal(one.frames_P, other.frames_P)


@settings(deadline=None, max_examples=20)
@given(st.integers(6, 40), st.integers(0, 1000))
def test_alignment_of_anything_covers_every_frame(frames: int, seed: int) -> None:
    logits = torch.randn(frames, len(SYMBOLS), generator=generator(seed))
    rhythm = force(logits, SYMBOLS, DEFAULT_VOCABULARY, SPOKEN)
    assert int(rhythm.frames_P.sum()) == frames
    spoken = torch.tensor([s not in ("^", " ", ".", "$") for s in SPOKEN])
    assert bool((rhythm.frames_P[spoken] >= 1).all())


def test_more_phones_than_frames_are_refused() -> None:
    with pytest.raises(PromptError, match="transcript is too long"):
        force(frames_of((("AH0", 5),)), SYMBOLS, DEFAULT_VOCABULARY, SPOKEN)


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
    assert torch.equal(voice.timbre_D, timbre_D)
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
