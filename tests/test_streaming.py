"""Speech that comes in parts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.errors import CheckpointError, ConfigError, TextError
from speechkit.core.results import Voice
from speechkit.core.rng import derive, generator
from speechkit.facodec.stream import GrowingDecoder
from speechkit.narration import narrate, narrate_pieces
from speechkit.pieces import Piece, at_level
from speechkit.streaming import parts_of
from speechkit.text.script import read_script
from speechkit.text.turns import CHUNK_CHARACTERS, MAX_CHARACTERS, write_turns
from speechkit.tts import ZeroShotTTS
from speechkit.watermark import DEFAULT_PAYLOAD, Watermark, detect, embed
from tests.diffusion.builders import live_generator, random_voice
from tests.facodec.small.test_codec import fresh

LONG = "Well, this is how it went. " + "We went to the sea and then we came home again. " * 8


@pytest.fixture(scope="module")
def tts() -> ZeroShotTTS:
    """Tiny models with random weights."""
    return ZeroShotTTS(fresh(), live_generator())


@pytest.fixture(scope="module")
def voice() -> Voice:
    """Somebody."""
    return random_voice(0)


def test_a_stream_is_the_whole_text_with_one_mark(tts: ZeroShotTTS, voice: Voice) -> None:
    bare = list(tts.stream(LONG, voice, seed=3, steps=1, watermark=None))
    found = tts.frontend.pieces(LONG, CHUNK_CHARACTERS, soon=True).phones
    assert len(bare) > len(found) > 2
    # Pieces after the first are what they are in a batch.
    for wave_T, (number, phones) in zip(bare[::-1], [*enumerate(found)][:0:-1], strict=False):
        piece = Piece(phones=phones, voice=voice, seed=derive(3, number))
        (alone,) = tts.speak([piece], tts.sampling(1), lambda stage: None)
        assert torch.equal(wave_T, alone.wave_T)
    marked = torch.cat(list(tts.stream(LONG, voice, seed=3, steps=1)))
    torch.testing.assert_close(marked, embed(torch.cat(bare), 16_000), atol=1e-5, rtol=0)
    assert detect(marked, 16_000).payload == DEFAULT_PAYLOAD
    other = torch.cat(
        list(tts.stream(LONG, voice, seed=3, steps=1, watermark=Watermark(payload=9)))
    )
    assert detect(other, 16_000).payload == 9


def test_a_stream_is_what_is_narrated(tts: ZeroShotTTS, voice: Voice) -> None:
    turns = write_turns(read_script(LONG), tts.frontend, soon=True)
    whole = narrate(tts, turns, {"": voice}, seed=3, steps=1, watermark=None)
    streamed = list(tts.stream(LONG, voice, seed=3, steps=1, watermark=None))
    assert torch.equal(torch.cat(streamed), whole.wave_T)
    assert sum(whole.frames) * tts.codec.hop_samples == len(whole.wave_T)
    pieces = list(narrate_pieces(tts, turns, {"": voice}, seed=3, steps=1, watermark=None))
    assert [len(piece.wave_T) for piece in pieces] == [len(wave_T) for wave_T in streamed]
    # Each word is told with the part in which it ends, and the boundary after it.
    words = [word for piece in pieces for word in piece.words]
    assert tuple(words) == whole.words
    assert [word.label for word in words] == LONG.replace(",", "").replace(".", "").split()
    told = 0.0
    for piece in pieces:
        told += len(piece.wave_T) / 16_000
        assert all(word.end_seconds <= told + 1e-6 for word in piece.words)


def test_a_first_piece_lasts_as_long_in_parts_as_whole(tts: ZeroShotTTS, voice: Voice) -> None:
    text = "We went to the sea and then we came home again."
    turns = write_turns(read_script(text), tts.frontend, soon=True)
    parts, whole = narrate(tts, turns, {"": voice}, seed=5), tts.synthesize(text, voice, seed=5)
    assert (parts.phones, parts.frames, parts.words) == (whole.phones, whole.frames, whole.words)


def test_a_stream_gives_each_part_when_it_is_there(
    tts: ZeroShotTTS, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    draw = tts.draw_frames

    def counted(targets: Any, *rest: Any) -> Any:
        drawn.extend(target.frames for target in targets)
        return draw(targets, *rest)

    monkeypatch.setattr(tts, "draw_frames", counted)
    waves = tts.stream(LONG, voice, steps=1)
    assert drawn == []
    assert len(next(waves)) > 0
    assert len(drawn) == 1
    assert drawn[0] * tts.frame_seconds < 1.1
    next(waves)
    assert len(drawn) == 2
    assert drawn[1] > drawn[0]


def test_the_same_seed_gives_the_same_stream(tts: ZeroShotTTS, voice: Voice) -> None:
    one, same, other = (
        torch.cat(list(tts.stream(LONG, voice, seed=s, steps=1))) for s in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_stream_is_checked_before_its_first_piece(tts: ZeroShotTTS, voice: Voice) -> None:
    with pytest.raises(TextError):
        tts.stream("...", voice)
    with pytest.raises(TextError, match=f"{MAX_CHARACTERS + 1} characters"):
        tts.stream("a" * (MAX_CHARACTERS + 1), voice)
    with pytest.raises(ConfigError, match="speed"):
        tts.stream("Hi.", voice, speed=9.0)
    with pytest.raises(ConfigError, match="from 1 to 64"):
        tts.stream("Hi.", voice, steps=0)
    with pytest.raises(CheckpointError, match="another model"):
        tts.stream("Hi.", replace(voice, timbre_D=torch.zeros(7)))


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), min_size=2, max_size=60), st.integers(1, 60))
def test_parts_cover_the_phones_and_grow(frames: list[int], first: int) -> None:
    parts = parts_of(torch.tensor(frames), first)
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
    assert parts[-1].stop == len(frames)
    assert all(part.start < part.stop for part in parts)
    size = first
    for part in parts[:-1]:
        # Nothing but a single phone is longer than the part may be.
        assert sum(frames[part]) > 0
        assert sum(frames[part]) <= size or not any(frames[part][:-1])
        size *= 2


def test_a_recording_that_grows_is_decoded_as_the_whole(tts: ZeroShotTTS, voice: Voice) -> None:
    codes = tts.codec.encode(torch.randn(16_000 * 4, generator=generator(0)) * 0.1)[0]
    whole_T = tts.codec.decode(codes, voice.timbre_D, generator(1))
    decoder = GrowingDecoder(tts.codec, voice.timbre_D, generator(1))
    ends, hop = (45, 46, 130, codes.frames), tts.codec.hop_samples
    waves, context = [], 60  # more than a tiny codec looks ahead
    for end in ends:
        waves.append(decoder.push(codes.between(0, min(end + context, codes.frames)), end))
    assert [len(wave_T) for wave_T in waves] == [
        45 * hop,
        hop,
        84 * hop,
        (codes.frames - 130) * hop,
    ]
    torch.testing.assert_close(torch.cat(waves), whole_T.cpu(), atol=1e-4, rtol=0)


def test_codes_that_change_ahead_make_no_step(tts: ZeroShotTTS, voice: Voice) -> None:
    codes = tts.codec.encode(torch.randn(16_000 * 2, generator=generator(0)) * 0.1)[0]
    guess = codes.between(0, 53)
    guess.detail_KF[:, 46:] = (guess.detail_KF[:, 46:] + 1) % 16
    decoder = GrowingDecoder(tts.codec, voice.timbre_D, generator(1))
    first, rest = decoder.push(guess, 45), decoder.push(codes, codes.frames)
    again = GrowingDecoder(tts.codec, voice.timbre_D, generator(1)).push(guess, 53)
    # The second decoding takes over from what the first one would have said next.
    hop = tts.codec.hop_samples
    torch.testing.assert_close(first, again[: 45 * hop], atol=1e-5, rtol=0)
    torch.testing.assert_close(rest[:4], again[45 * hop :][:4], atol=1e-3, rtol=0)
    assert at_level(rest).isfinite().all()
