"""The mask schedule of the diffusion: pure functions of time.

Time runs from 1, everything masked, to 0, everything revealed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mask_ratio(time: float) -> float:
    """Share of positions masked at a time in [0, 1]: sin(πt/2) (NS3 §3.3.2)."""
    if not 0.0 <= time <= 1.0:
        raise ValueError(f"time must lie between 0 and 1, not {time}")
    return math.sin(math.pi * time / 2)


def mask_ratios(time_B: Tensor) -> Tensor:
    """`mask_ratio` of many times."""
    return torch.sin(math.pi * time_B / 2)


def masked_counts(positions: int, steps: int) -> tuple[int, ...]:
    """Positions still masked after each of `steps` steps; never more than before, 0 at the end.

    NS3 §3.3.2: floor(N · σ(t − Δt)); for 240 positions and 4 steps 221, 169, 91, 0.
    """
    if steps < 1:
        raise ValueError(f"a sampler needs at least 1 step, not {steps}")
    return tuple(
        math.floor(positions * mask_ratio(1 - (step + 1) / steps)) if step + 1 < steps else 0
        for step in range(steps)
    )
