"""Single numbers from a generator."""

from __future__ import annotations

import torch

from speechkit.ssl.baselines.config import Interval


def uniform(interval: Interval, rng: torch.Generator) -> float:
    """Return a number between the two ends."""
    low, high = interval
    return low + (high - low) * float(torch.rand((), generator=rng, dtype=torch.float64))


def integer(end: int, rng: torch.Generator) -> int:
    """Return a whole number from 0 to ``end`` - 1."""
    return int(torch.randint(end, (), generator=rng))
