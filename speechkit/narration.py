"""Scripts spoken: several voices and pauses as one speech, whole or piece by piece.

Shapes: T samples.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import Tensor

from speechkit.core.results import Speech, TimedLabel, Voice
from speechkit.core.rng import derive
from speechkit.text import is_boundary
from speechkit.text.script import MAX_SPEED, MIN_SPEED, Pause
from speechkit.text.turns import Script, Turn
from speechkit.text.vocab import END
from speechkit.tts import Progress, ZeroShotTTS
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
    whole = _joined(list(_spoken(tts, turns, voices, **delivery)))
    began = time.perf_counter()
    marked = apply_watermark(whole.wave_T, whole.sample_rate_hz, watermark)
    stages = dict(whole.stages_seconds)
    if watermark is not None:
        stages["watermark"] = time.perf_counter() - began
    return replace(
        whole,
        stages_seconds=stages,
        wave_T=marked.wave_T,
        notes=(*whole.notes, *marked.notes),
        watermark=marked.payload,
        seed=delivery.get("seed", 0),
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
    samples = 0
    noted: dict[str, None] = {}
    for speech in _spoken(tts, turns, voices, **delivery):
        words = _shifted(speech.words, samples / speech.sample_rate_hz)
        samples += len(speech.wave_T)
        fresh = tuple(note for note in speech.notes if note not in noted)
        noted |= dict.fromkeys(fresh)
        wave_T = embedder.push(speech.wave_T) if embedder else speech.wave_T
        yield SpeechPiece(wave_T=wave_T, words=words, notes=fresh)
    if embedder:
        yield SpeechPiece(wave_T=embedder.flush())


def _spoken(
    tts: ZeroShotTTS,
    turns: Sequence[Turn | Pause],
    voices: Mapping[str, Voice],
    *,
    seed: int = 0,
    speed: float = 1.0,
    steps: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Speech]:
    """Unmarked speech of each chunk and each pause, the one iterator behind whole and pieces.

    Times of words count from its own start.
    """
    count = sum(len(turn.script.chunks) for turn in turns if isinstance(turn, Turn))
    number = 0
    for turn in turns:
        if isinstance(turn, Pause):
            yield _silence(tts, turn.seconds)
            continue
        words, notes = iter(turn.script.words), turn.script.notes
        for phones in turn.script.chunks:
            said = tuple(next(words) for _ in range(_count_words(phones)))

            def report(_: int, __: int, stage: str, number: int = number) -> None:
                if progress:
                    progress(number, count, stage)

            yield tts.synthesize(
                Script(chunks=(phones,), words=said, notes=notes),
                voices[turn.voice],
                seed=derive(seed, "chunk", number) if number else seed,
                speed=min(MAX_SPEED, max(MIN_SPEED, speed * turn.speed)),
                steps=steps,
                watermark=None,
                progress=report,
            )
            number, notes = number + 1, ()


def _count_words(phones: Sequence[str]) -> int:
    """Runs of phones between boundaries."""
    return sum(not pause for pause, _ in groupby(phones, key=is_boundary))


def _silence(tts: ZeroShotTTS, seconds: float) -> Speech:
    """A pause of whole frames."""
    hop = tts.codec.hop_samples
    frames = max(1, round(seconds * tts.sample_rate_hz / hop))
    return Speech(
        wave_T=torch.zeros(frames * hop),
        sample_rate_hz=tts.sample_rate_hz,
        phones=(END,),
        frames=(frames,),
        seed=0,
    )


def _shifted(words: Iterable[TimedLabel], seconds: float) -> tuple[TimedLabel, ...]:
    """Words that begin so much later."""
    return tuple(
        replace(
            word,
            start_seconds=word.start_seconds + seconds,
            end_seconds=word.end_seconds + seconds,
        )
        for word in words
    )


def _joined(spoken: Sequence[Speech]) -> Speech:
    """Speeches one after the other."""
    words: list[TimedLabel] = []
    stages: dict[str, float] = {}
    samples = 0
    for speech in spoken:
        words += _shifted(speech.words, samples / speech.sample_rate_hz)
        samples += len(speech.wave_T)
        for stage, seconds in speech.stages_seconds.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    return replace(
        spoken[0],
        wave_T=torch.cat([speech.wave_T for speech in spoken]),
        phones=tuple(chain.from_iterable(speech.phones for speech in spoken)),
        frames=tuple(chain.from_iterable(speech.frames for speech in spoken)),
        words=tuple(words),
        stages_seconds=stages,
        notes=tuple(dict.fromkeys(note for speech in spoken for note in speech.notes)),
    )
