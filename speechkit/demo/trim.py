"""The best few seconds of a recording to take a voice from.

Shapes: T samples, F frames of 10 ms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from speechkit.data.f0 import F0_HOP_SAMPLES, F0_SAMPLE_RATE_HZ, extract_f0

_ACTIVE_DB = 30.0
"""How far below the loud frames speech goes: weak consonants are in, room noise is out."""
_CLIPPED_LEVEL = 0.985
_EDGE_FRAMES = 5
_EDGE_WEIGHT = 0.02


@dataclass(frozen=True, kw_only=True, eq=False)
class TrimmedPrompt:
    """A recording and the part of it that serves as prompt."""

    wave_T: Tensor
    """The whole recording."""

    sample_rate_hz: int
    """Its samples a second."""

    start: int
    """First sample that is kept."""

    end: int
    """Sample after the last one that is kept."""

    @property
    def prompt(self) -> Tensor:
        """The part that is kept."""
        return self.wave_T[self.start : self.end]

    @property
    def start_seconds(self) -> float:
        """Where the part starts."""
        return self.start / self.sample_rate_hz

    @property
    def end_seconds(self) -> float:
        """Where it ends."""
        return self.end / self.sample_rate_hz

    def describe(self) -> str:
        """Which part is kept, in words."""
        seconds = len(self.wave_T) / self.sample_rate_hz
        return f"Kept: {self.start_seconds:.1f} to {self.end_seconds:.1f} s of {seconds:.1f} s."


def best_part(wave_T: Tensor, sample_rate_hz: int, seconds: float) -> TrimmedPrompt:
    """The stretch of `seconds` with most speech; the whole of a recording that is no longer.

    A frame earns half a point for being loud and half for being voiced, and loses one for being
    clipped; of equal stretches the one whose ends lie in pauses wins, then the earliest.
    """
    length = round(seconds * sample_rate_hz)
    if len(wave_T) <= length or sample_rate_hz != F0_SAMPLE_RATE_HZ:
        end = min(len(wave_T), length)
        return TrimmedPrompt(wave_T=wave_T, sample_rate_hz=sample_rate_hz, start=0, end=end)
    frames = len(wave_T) // F0_HOP_SAMPLES
    wave = wave_T.numpy()
    cut_FN = wave[: frames * F0_HOP_SAMPLES].reshape(frames, F0_HOP_SAMPLES)
    level_F = 20 * np.log10(cut_FN.std(axis=1) + 1e-6)
    active_F = level_F > np.percentile(level_F, 95) - _ACTIVE_DB
    clipped_F = np.abs(cut_FN).max(axis=1) >= _CLIPPED_LEVEL
    points_F = 0.5 * active_F + 0.5 * (extract_f0(wave)[:frames] > 0) - clipped_F

    width = min(frames, length // F0_HOP_SAMPLES)
    sums = np.concatenate([[0.0], np.cumsum(points_F)])
    score = sums[width:] - sums[:-width]
    loud = np.convolve(active_F, np.ones(_EDGE_FRAMES), mode="same")
    loud = np.concatenate([loud, [0.0]])
    score = score - _EDGE_WEIGHT * width * (loud[: len(score)] + loud[width:]) / _EDGE_FRAMES
    start = int(np.argmax(score)) * F0_HOP_SAMPLES
    end = min(len(wave_T), start + length)
    return TrimmedPrompt(wave_T=wave_T, sample_rate_hz=sample_rate_hz, start=start, end=end)
