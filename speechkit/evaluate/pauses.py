"""Pauses at punctuation, and the silence around speech.

The aligner says where a comma or a sentence end lies, the energy how long it is quiet there: the
same for recordings and for synthesis, whatever the generator meant to do.

Legend: T samples at 16 kHz, F frames of 10 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.rng import derive
from speechkit.core.timebase import SAMPLE_RATE_HZ
from speechkit.data.align.model import HOP_SAMPLES
from speechkit.data.align.reader import PhoneReader
from speechkit.evaluate.pairs import LEVEL_HOP_SAMPLES, EvalClip, frame_levels_db, spread
from speechkit.evaluate.scorers import Wave
from speechkit.evaluate.scoring import speech_level_db, stored_wave

MARKS = {",": "comma", ";": "comma", ":": "comma", "-": "comma"} | dict.fromkeys(".!?", "sentence")
"""Kind of pause by punctuation symbol."""

PAUSE_TEXTS = (
    "When the rain stopped, we walked down to the harbour. Nobody was there.",
    "He opened the letter, read it twice, and put it away. Then he laughed.",
    "Is this the road to the mill? If it is, we are nearly home.",
    "She bought bread, butter, and two lemons. The shop closed at six.",
    "After supper, my father told a story. It was long, slow, and very old.",
    "The train was late, as it always is. We waited in the cold.",
    "Yes, I remember him. He was tall, quiet, and kind to everyone.",
    "Turn left at the church, then right. Can you see the blue door?",
    "In the morning, the lake was frozen. The children ran out, shouting.",
    "They counted the boats, one by one. All of them had come back.",
    "Although he was tired, he kept on walking. What else could he do?",
    "First wash the apples, then cut them. Keep the peel, if you like.",
)
"""Texts to speak where the held-out ones have no punctuation."""

_QUIET_DB = 30.0
_OVER_FLOOR_DB = 6.0
_REACH_SECONDS = 0.06
_FRAME_SECONDS = LEVEL_HOP_SAMPLES / SAMPLE_RATE_HZ


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Quartiles of some lengths in milliseconds."""

    count: int
    """How many."""
    low: float
    """First quartile."""
    median: float
    """Second quartile."""
    high: float
    """Third quartile."""

    @classmethod
    def of(cls, seconds: list[float]) -> Spread | None:
        """Of lengths in seconds; None of none."""
        if not seconds:
            return None
        low, median, high = np.percentile(seconds, (25, 50, 75)) * 1000
        return cls(count=len(seconds), low=float(low), median=float(median), high=float(high))


@dataclass(frozen=True, kw_only=True)
class PauseReport:
    """Pauses, edges and level of some speech."""

    pauses: dict[str, Spread]
    """By kind: comma, sentence (ends within a clip), and edges: start, end."""
    level_db: float
    """Median level of the speech in dB of full scale."""
    clips: int
    """Clips measured."""
    unaligned: int
    """Clips whose text could not be found in them; only their edges and level count."""

    def text(self) -> str:
        """A line for each kind, and the level."""
        lines = [
            f"{kind:9s} median {one.median:4.0f} ms, quartiles {one.low:.0f} to {one.high:.0f} "
            f"({one.count})"
            for kind, one in self.pauses.items()
        ]
        told = f", {self.unaligned} of them not aligned" if self.unaligned else ""
        return "\n".join([*lines, f"level {self.level_db:.1f} dBFS; {self.clips} clips{told}"])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def measure_pauses(speech: Iterable[tuple[Wave, str]], reader: PhoneReader) -> PauseReport:
    """Pauses of recordings or synthesis, given as (wave, text)."""
    lengths: dict[str, list[float]] = {"comma": [], "sentence": [], "start": [], "end": []}
    levels: list[float] = []
    unaligned = 0
    for wave_T, text in speech:
        quiet_F = quiet_frames(wave_T)
        levels.append(speech_level_db(wave_T))
        loud_F = np.nonzero(~quiet_F)[0]
        if len(loud_F):
            lengths["start"].append(float(loud_F[0]) * _FRAME_SECONDS)
            lengths["end"].append(float(len(quiet_F) - 1 - loud_F[-1]) * _FRAME_SECONDS)
        found = pauses_of(wave_T, text, reader, quiet_F)
        unaligned += found is None
        for kind, seconds in found or ():
            lengths[kind].append(seconds)
    spreads = {kind: Spread.of(found) for kind, found in lengths.items()}
    return PauseReport(
        pauses={kind: one for kind, one in spreads.items() if one is not None},
        level_db=float(np.median(levels)) if levels else -120.0,
        clips=len(levels),
        unaligned=unaligned,
    )


def quiet_frames(wave_T: Wave) -> NDArray[np.bool_]:
    """`quiet_F`: True for frames 30 dB under the loud ones, or hardly over the noise floor."""
    level_F = frame_levels_db(wave_T)
    if not len(level_F):
        return np.zeros(0, np.bool_)
    floor_db, loud_db = np.quantile(level_F, (0.02, 0.95))
    # A noisy recording pauses at its own floor; clean speech without a pause has none to go by.
    threshold_db = max(loud_db - _QUIET_DB, min(floor_db + _OVER_FLOOR_DB, loud_db - 15))
    quiet_F: NDArray[np.bool_] = level_F < threshold_db
    return quiet_F


def pauses_of(
    wave_T: Wave, text: str, reader: PhoneReader, quiet_F: NDArray[np.bool_]
) -> list[tuple[str, float]] | None:
    """(kind, seconds) of each mark between two words; None where the text cannot be aligned.

    A pause is the longest quiet run that touches the mark's place, 60 ms either side.
    """
    aligned = reader.align(torch.from_numpy(wave_T), text)
    if aligned is None:
        return None
    found = []
    runs = _runs(quiet_F)
    ends = np.cumsum(aligned.frames_P.numpy()) * HOP_SAMPLES / SAMPLE_RATE_HZ
    for place, symbol in enumerate(aligned.phones):
        last = place + 1 >= len(aligned.phones) or aligned.phones[place + 1] == "$"
        if symbol not in MARKS or last:
            continue
        start = (ends[place - 1] if place else 0.0) - _REACH_SECONDS
        end = ends[place] + _REACH_SECONDS
        touching = [b - a for a, b in runs if b > start and a < end]
        found.append((MARKS[symbol], max(touching, default=0.0)))
    return found


def _runs(quiet_F: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Start and end, in seconds, of each run of True."""
    steps = np.diff(np.concatenate([[False], quiet_F, [False]]).astype(np.int8))
    starts, ends = np.nonzero(steps == 1)[0], np.nonzero(steps == -1)[0]
    return [
        (float(a) * _FRAME_SECONDS, float(b) * _FRAME_SECONDS)
        for a, b in zip(starts, ends, strict=True)
    ]


def speak_texts(
    speak: Callable[[str, Tensor, int], Tensor],
    prompts: Sequence[Tensor],
    folder: Path,
    *,
    texts: Sequence[str] = PAUSE_TEXTS,
    seed: int = 0,
) -> list[tuple[Wave, str]]:
    """Each text in the voice of one prompt, in turns, as (wave, text); waves go to `folder`.

    `speak` takes text, prompt and seed.
    """
    spoken = []
    for number, text in enumerate(texts):
        wave_T = speak(text, prompts[number % len(prompts)], derive(seed, "pause", number))
        spoken.append((stored_wave(folder / f"{number:02d}.wav", wave_T), text))
    return spoken


def punctuated(clips: Sequence[EvalClip], limit: int = 100) -> list[tuple[Wave, str]]:
    """At most `limit` recordings whose text has a mark inside, spread over their speakers.

    Raises DataError where there is none.
    """
    marked = [clip for clip in clips if any(mark in clip.text.strip()[:-1] for mark in ",;:.?!")]
    if not marked:
        raise DataError("No text of these recordings has punctuation inside: take others.")
    return [(clip.wave_T.numpy(), clip.text) for clip in spread(marked, limit)]
