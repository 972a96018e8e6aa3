"""Scripts spoken: several voices and pauses as one speech, whole or piece by piece.

Shapes: T samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import Tensor

from speechkit.core.results import Speech, TimedLabel, Voice, timed
from speechkit.pieces import Clock, Progress, Spoken, pieces_of, timed_words, word_runs
from speechkit.streaming import speak_piece
from speechkit.text import is_boundary
from speechkit.text.script import MAX_SPEED, MIN_SPEED, Pause
from speechkit.text.turns import Turn
from speechkit.text.vocab import END
from speechkit.tts import ZeroShotTTS
from speechkit.watermark import StreamingEmbedder, Watermark, apply_watermark

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeechPiece:
    """Some of a speech that is still going on."""

    wave_T: Tensor
    """Samples, right after those of the piece before."""

    words: tuple[TimedLabel, ...] = ()
    """Words that were finished; times count from the start of the whole."""

    notes: tuple[str, ...] = ()
    """What the listener should know, said once."""


class Delivery(TypedDict, total=False):
    """How turns are spoken: arguments of `ZeroShotTTS.synthesize`, with its defaults."""

    seed: int
    """All draws follow from it."""

    speed: float
    """Speaking rate, 0.25 to 4; a turn's own comes on top."""

    steps: int | None
    """Passes of the prosody stage, from which the others follow."""

    candidates: int | None
    """How often each piece is spoken, to keep the clearest."""

    progress: Progress | None
    """Called with the number of the chunk, how many there are, and the stage that begins."""


def narrate(
    tts: ZeroShotTTS,
    turns: Sequence[Turn | Pause],
    voices: Mapping[str, Voice],
    *,
    watermark: Watermark | None = Watermark(),  # noqa: B008 (frozen)
    **delivery: Unpack[Delivery],
) -> Speech:
    """All turns as one speech with one mark; `voices` has a voice for each name, "" among them.

    A pause lasts whole frames and belongs to the boundary phone before it. Raises as
    `ZeroShotTTS.synthesize` does.

        narrate(tts, turns, {"": tts.voice("me.wav")}, seed=1, speed=1.2)
    """
    clock = Clock()
    parts = list(_parts(tts, turns, voices, clock, **delivery))
    if watermark is not None:
        clock.enter("watermark")
    wave_T = torch.cat([part.spoken.wave_T for part in parts])
    marked = apply_watermark(wave_T, tts.sample_rate_hz, watermark)
    clock.enter("")
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    return Speech(
        wave_T=marked.wave_T,
        sample_rate_hz=tts.sample_rate_hz,
        phones=tuple(chain.from_iterable(part.spoken.phones for part in parts)),
        frames=tuple(chain.from_iterable(part.spoken.frames for part in parts)),
        seed=delivery.get("seed", 0),
        words=tuple(chain.from_iterable(part.words for part in parts)),
        stages_seconds=clock.seconds,
        notes=(*notes, *marked.notes),
        watermark=marked.payload,
    )


def narrate_pieces(
    tts: ZeroShotTTS,
    turns: Sequence[Turn | Pause],
    voices: Mapping[str, Voice],
    *,
    watermark: Watermark | None = Watermark(),  # noqa: B008 (frozen)
    **delivery: Unpack[Delivery],
) -> Iterator[SpeechPiece]:
    """What `narrate` gives, as soon as each piece is there; joined it is the same wave.

    To rounding, that is; and under 4 s `narrate` leaves out a mark that cannot be found.
    """
    rate_hz = tts.sample_rate_hz
    embedder = None if watermark is None else StreamingEmbedder(rate_hz, watermark.payload)
    noted: dict[str, None] = {}
    for part in _parts(tts, turns, voices, Clock(), **delivery):
        fresh = tuple(note for note in part.notes if note not in noted)
        noted |= dict.fromkeys(fresh)
        wave_T = part.spoken.wave_T
        wave_T = embedder.push(wave_T) if embedder else wave_T
        yield SpeechPiece(wave_T=wave_T, words=part.words, notes=fresh)
    if embedder:
        yield SpeechPiece(wave_T=embedder.flush())


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """What is spoken at a time, without a mark."""

    spoken: Spoken

    words: tuple[TimedLabel, ...] = ()
    """Words that end in it; times count from the start of the whole."""

    notes: tuple[str, ...] = ()


def _parts(
    tts: ZeroShotTTS,
    turns: Sequence[Turn | Pause],
    voices: Mapping[str, Voice],
    clock: Clock,
    *,
    seed: int = 0,
    speed: float = 1.0,
    steps: int | None = None,
    candidates: int | None = None,
    progress: Progress | None = None,
) -> Iterator[_Part]:
    """All turns, the one iterator behind whole and pieces."""
    sampler = tts.sampling(steps, candidates)
    said = [turn for turn in turns if isinstance(turn, Turn)]
    for name in {turn.voice for turn in said}:
        voices[name].check(tts.voice_sizes)
    count = sum(len(turn.script.chunks) for turn in said)
    number = frames = 0
    for turn in turns:
        if isinstance(turn, Pause):
            silence = _silence(tts, turn.seconds)
            frames += sum(silence.frames)
            yield _Part(spoken=silence)
            continue
        words, voice = iter(turn.script.words), voices[turn.voice]
        notes: tuple[str, ...] = (*turn.script.notes, *voice.notes)
        pace = min(MAX_SPEED, max(MIN_SPEED, speed * turn.speed))
        for piece in pieces_of(turn.script, voice, seed, pace, number):
            begin = clock.telling(progress, number, count)
            soon = turn.script.soon and number == 0
            reader = _Reader(words, frames, tts.frame_seconds)
            for spoken in speak_piece(tts, piece, sampler, begin, soon=soon):
                yield _Part(spoken=spoken, words=reader.read(spoken), notes=notes)
                frames, notes = frames + sum(spoken.frames), ()
            number += 1


class _Reader:
    """Tells which words of a piece have ended, from its start at so many `frames` on."""

    def __init__(self, words: Iterator[str], frames: int, frame_seconds: float) -> None:
        self._words, self._frames, self._frame_seconds = words, frames, frame_seconds
        self._ended: list[str] = []
        self._phones: tuple[str, ...] = ()
        self._lasting: tuple[int, ...] = ()

    def read(self, spoken: Spoken) -> tuple[TimedLabel, ...]:
        """Words that end in what is spoken next."""
        self._phones += spoken.phones
        self._lasting += spoken.frames
        times = timed(self._phones, self._lasting, self._frame_seconds)
        # A word that is still going on ends with the next boundary.
        closed = max((n for n, p in enumerate(self._phones, 1) if is_boundary(p)), default=0)
        before, runs = len(self._ended), word_runs(times[:closed])
        self._ended += islice(self._words, len(runs) - before)
        started = self._frames * self._frame_seconds
        return tuple(
            replace(
                word,
                start_seconds=word.start_seconds + started,
                end_seconds=word.end_seconds + started,
            )
            for word in timed_words(self._ended, times[:closed])[before:]
        )


def _silence(tts: ZeroShotTTS, seconds: float) -> Spoken:
    """A pause of whole frames."""
    hop = tts.codec.hop_samples
    frames = max(1, round(seconds * tts.sample_rate_hz / hop))
    return Spoken(wave_T=torch.zeros(frames * hop), phones=(END,), frames=(frames,))
