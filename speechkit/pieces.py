"""What is spoken in one go: pieces of a script, and their sound at its level.

Shapes: T samples, P phones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor, nn

from speechkit.core.results import TimedLabel, Voice
from speechkit.core.rng import derive
from speechkit.facodec.small.features import speech_gain
from speechkit.text import is_boundary
from speechkit.text.turns import Script

EDGE_FRAMES = (5, 10)
"""Least silence before and after a piece, in frames (100 and 200 ms)."""

LEVEL_RMS = 0.1
"""Level of speech, −20 dB of full scale in its louder frames."""

PEAK = 0.97
"""Highest sample."""


Progress = Callable[[int, int, str], None]
"""Called with the number of the piece, from 0 on, or of the last that is drawn together with
others; how many pieces there are; and the stage that begins."""


class Clock:
    """Time spent in each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage, self._since = "", 0.0

    def telling(self, progress: Progress | None, number: int, count: int) -> Callable[[str], None]:
        """`enter` for a piece, which tells `progress` too."""

        def begin(stage: str) -> None:
            self.enter(stage)
            if progress:
                progress(number, count, stage)

        return begin

    def enter(self, stage: str) -> None:
        """A stage begins, and with it the one before ends; no name ends the last."""
        now = time.perf_counter()
        if self._stage:
            spent = self.seconds.get(self._stage, 0.0)
            self.seconds[self._stage] = spent + now - self._since
        self._stage, self._since = stage, now


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What is spoken in one go."""

    phones: tuple[str, ...]
    """Phone symbols from `^` to `$`."""

    voice: Voice
    """Who speaks."""

    seed: int
    """All its draws follow from it."""

    speed: float = 1.0
    """Speaking rate."""

    def candidate(self, number: int) -> Piece:
        """The same piece with other draws; number 0 is the piece itself."""
        return self if number == 0 else replace(self, seed=derive(self.seed, "candidate", number))


@dataclass(frozen=True, kw_only=True, eq=False)
class Spoken:
    """A piece as sound, or some of it."""

    wave_T: Tensor
    """Samples."""

    phones: tuple[str, ...]
    """Phone symbols that are heard in them."""

    frames: tuple[int, ...]
    """Frames each phone lasts."""


def pieces_of(script: Script, voice: Voice, seed: int, speed: float, first: int = 0) -> list[Piece]:
    """The chunks of a script in a voice, the first of which is number `first` of all that is
    spoken with the seed."""
    return [
        Piece(phones=phones, voice=voice, seed=derive(seed, number), speed=speed)
        for number, phones in enumerate(script.chunks, start=first)
    ]


def with_edges(frames_P: Tensor) -> Tensor:
    """Durations with silence of at least `EDGE_FRAMES` at both ends, which are boundaries."""
    edged_P = frames_P.clone()
    edged_P[0] = edged_P[0].clamp_min(EDGE_FRAMES[0])
    edged_P[-1] = edged_P[-1].clamp_min(EDGE_FRAMES[1])
    return edged_P


def at_level(wave_T: Tensor) -> Tensor:
    """The wave with its speech at `LEVEL_RMS`, lower where a peak would exceed `PEAK`."""
    return wave_T * level_gain(wave_T)


def level_gain(wave_T: Tensor) -> float:
    """The factor of `at_level`."""
    peak = float(wave_T.abs().max()) if len(wave_T) else 0.0
    return min(speech_gain(wave_T, LEVEL_RMS), PEAK / max(peak, 1e-5))


def stacked(timbres: Sequence[Tensor]) -> Tensor:
    """`timbre_BD` of timbre vectors, some of which may lack what a codec adds before them: none."""
    width = max(len(timbre_D) for timbre_D in timbres)
    return torch.stack(
        [nn.functional.pad(timbre_D, (width - len(timbre_D), 0)) for timbre_D in timbres]
    )


def batches(pieces: Sequence[Piece], most: int) -> Iterator[list[Piece]]:
    """Pieces in order, in batches that have up to `most` phones, at least one piece each."""
    group: list[Piece] = []
    for piece in pieces:
        if group and sum(len(other.phones) for other in group) + len(piece.phones) > most:
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def timed_words(words: Sequence[str], phones: Sequence[TimedLabel]) -> tuple[TimedLabel, ...]:
    """Words with their times: each is a run of phones between two boundaries."""
    runs = word_runs(phones)
    return tuple(
        TimedLabel(label=word, start_seconds=run[0].start_seconds, end_seconds=run[-1].end_seconds)
        for word, run in zip(words, runs, strict=True)
    )


def words_of(phones: Sequence[str]) -> list[slice]:
    """Where the phones of each word are: a run between two boundaries."""
    words, start = [], 0
    for pause, run in groupby(phones, key=is_boundary):
        stop = start + len(list(run))
        if not pause:
            words.append(slice(start, stop))
        start = stop
    return words


def word_runs(phones: Sequence[TimedLabel]) -> list[Sequence[TimedLabel]]:
    """The phones of each word."""
    return [phones[word] for word in words_of([phone.label for phone in phones])]
