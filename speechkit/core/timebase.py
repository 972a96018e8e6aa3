"""Samples, frames and seconds: the one place where they are turned into each other.

Frame ``i`` of a grid covers samples ``[i * hop, (i + 1) * hop)``; the last may be partly filled.
"""

from __future__ import annotations

SAMPLE_RATE_HZ = 16_000
"""Samples a second of all our models."""


def frame_count(samples: int, hop_samples: int) -> int:
    """How many frames cover so many samples, the last one maybe in part: ``ceil(T / hop)``."""
    return -(-samples // hop_samples)


def nearest_frames(seconds: float, sample_rate_hz: int, hop_samples: int) -> int:
    """How many whole frames come nearest to a length in seconds."""
    return round(seconds * sample_rate_hz / hop_samples)
