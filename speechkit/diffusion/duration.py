"""Phone sequences and frame sequences: length regulation, positions, time scale. No learning here.

Shapes: P phones, F frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

from speechkit.core.errors import ConfigError


def regulate_length(values_P: Tensor, frames_P: Tensor) -> Tensor:
    """`values_F`: each phone's value for as many frames as it lasts (FastSpeech)."""
    return torch.repeat_interleave(values_P, frames_P)


def phone_positions(frames_P: Tensor) -> Tensor:
    """`position_F2`: where in its phone a frame lies, 0 to 1, and the log of its length."""
    length_F = regulate_length(frames_P, frames_P).float()
    start_P = torch.cumsum(frames_P, 0) - frames_P
    inside_F = torch.arange(len(length_F), device=frames_P.device)
    inside_F = inside_F - regulate_length(start_P, frames_P)
    return torch.stack([(inside_F + 0.5) / length_F, torch.log(length_F)], dim=-1)


def time_scale(frames_P: Tensor, speed: float) -> Tensor:
    """Durations at another speaking rate: 2.0 takes half the frames.

    Rounds the running total and not each phone, so the whole has the right length; phones that
    lasted at all keep at least one frame. Raises ConfigError unless 0.25 ≤ speed ≤ 4.
    """
    if not 0.25 <= speed <= 4.0:
        raise ConfigError(f"speed {speed} is out of range; give a value from 0.25 to 4.")
    if speed == 1.0:
        return frames_P
    # Halves go up: to even, phones of two frames would become none or two at twice the speed.
    ends_P = torch.floor(torch.cumsum(frames_P.double(), 0) / speed + 0.5).long()
    new_P = torch.diff(ends_P, prepend=ends_P.new_zeros(1))
    return torch.where(frames_P > 0, new_P.clamp_min(1), 0)


def fit_frames(frames_P: Tensor, total: int) -> Tensor:
    """Durations on a grid of another rate, on which the whole lasts `total` frames.

    Ends are rounded, so the sum is exact and no end is off by more than half a frame.
    """
    ends_P = torch.cumsum(frames_P, 0)
    ends_P = (ends_P.double() * total / max(1, int(ends_P[-1]))).round().long()
    return torch.diff(ends_P, prepend=ends_P.new_zeros(1))


def merge_repeats(values_F: Tensor) -> tuple[Tensor, Tensor]:
    """Runs of equal values: `(values_P, frames_P)`."""
    values_P, frames_P = torch.unique_consecutive(values_F, return_counts=True)
    return values_P, frames_P
