"""What is spoken in one go: pieces of a script, and their sound at its level.

Shapes: T samples, P phones.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from torch import Tensor

from speechkit.core.results import TimedLabel, Voice
from speechkit.facodec.small.features import speech_gain
from speechkit.text import is_boundary

EDGE_FRAMES = (5, 10)
"""Least silence before and after a piece, in frames (100 and 200 ms)."""

LEVEL_RMS = 0.1
"""Level of speech, −20 dB of full scale in its louder frames."""

PEAK = 0.97
"""Highest sample."""


class Clock:
    """Time spent in each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage, self._since = "", 0.0

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Spoken:
    """A piece as sound."""

    wave_T: Tensor
    """Samples."""

    frames: tuple[int, ...]
    """Frames each phone lasts."""


def with_edges(frames_P: Tensor) -> Tensor:
    """Durations with silence of at least `EDGE_FRAMES` at both ends, which are boundaries."""
    edged_P = frames_P.clone()
    edged_P[0] = edged_P[0].clamp_min(EDGE_FRAMES[0])
    edged_P[-1] = edged_P[-1].clamp_min(EDGE_FRAMES[1])
    return edged_P


def at_level(wave_T: Tensor) -> Tensor:
    """The wave with its speech at `LEVEL_RMS`, lower where a peak would exceed `PEAK`."""
    gain = speech_gain(wave_T, LEVEL_RMS)
    peak = float(wave_T.abs().max()) if len(wave_T) else 0.0
    return wave_T * min(gain, PEAK / max(peak, 1e-5))


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
    runs = [
        list(run)
        for pause, run in groupby(phones, key=lambda phone: is_boundary(phone.label))
        if not pause
    ]
    return tuple(
        TimedLabel(label=word, start_seconds=run[0].start_seconds, end_seconds=run[-1].end_seconds)
        for word, run in zip(words, runs, strict=True)
    )
