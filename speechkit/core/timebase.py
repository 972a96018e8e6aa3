"""Samples, frames and seconds: the one place where they are turned into each other."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Timebase:
    """A frame grid over a waveform: frame ``i`` covers samples ``[i * hop, (i + 1) * hop)``.

    The last frame may be partly filled, so a waveform of T samples has ``ceil(T / hop)`` frames.
    Raises ValueError for a rate or hop below 1, and in every method for a negative amount.
    """

    sample_rate_hz: int = 16_000
    """Samples in a second."""
    hop_samples: int = 320
    """Samples from one frame to the next; 320 at 16 kHz is 50 frames a second."""

    def __post_init__(self) -> None:
        """Refuse a grid that cannot exist."""
        if self.sample_rate_hz < 1 or self.hop_samples < 1:
            raise ValueError("sample_rate_hz and hop_samples must be at least 1")

    @property
    def frames_per_second(self) -> float:
        """Frames in a second."""
        return self.sample_rate_hz / self.hop_samples

    def frames(self, samples: int) -> int:
        """Return the number of frames that cover ``samples``, the last one maybe in part."""
        return -(-_not_negative(samples) // self.hop_samples)

    def samples(self, frames: int) -> int:
        """Return the number of samples in ``frames`` whole frames."""
        return _not_negative(frames) * self.hop_samples

    def seconds(self, frames: int) -> float:
        """Return the length of ``frames`` whole frames in seconds."""
        return self.samples(frames) / self.sample_rate_hz

    def frames_from_seconds(self, seconds: float) -> int:
        """Return the number of frames that cover ``seconds``; exact inverse of `seconds`."""
        if not math.isfinite(seconds):
            raise ValueError("a length in seconds must be a finite number")
        # Whole samples first: 0.06 s is 3.0000000000000004 frames in floating point, not 4.
        return self.frames(round(seconds * self.sample_rate_hz))


def _not_negative(amount: int) -> int:
    """Return ``amount``; raises ValueError when it is negative."""
    if amount < 0:
        raise ValueError(f"an amount of samples or frames cannot be negative, got {amount}")
    return amount
