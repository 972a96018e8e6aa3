"""Excitation signals for the source-filter head.

Shapes: B batch, T samples, F frames.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def phase_of(f0_BF: Tensor, hop_samples: int, sample_rate_hz: int) -> Tensor:
    """Running phase `phase_BT` in radians, 0 to 2π, of a pitch given at frame centres in Hz."""
    f0_BT = nn.functional.interpolate(
        f0_BF[:, None], scale_factor=hop_samples, mode="linear", align_corners=False
    )[:, 0]
    # Single precision loses the phase after a few seconds of accumulation.
    cycles = torch.cumsum(f0_BT.double() / sample_rate_hz, dim=-1)
    return ((cycles - cycles.floor()) * (2 * math.pi)).float()


def harmonic_source(f0_BF: Tensor, hop_samples: int, sample_rate_hz: int) -> Tensor:
    """Band-limited pulse train `wave_BT` of unit power: all harmonics below Nyquist, in phase.

    The sum of K cosines in closed form (Dirichlet kernel); `f0_BF` must be positive.
    """
    phase = phase_of(f0_BF, hop_samples, sample_rate_hz)
    f0_BT = f0_BF.repeat_interleave(hop_samples, dim=-1)
    harmonics = torch.floor(0.5 * sample_rate_hz / f0_BT)
    half = torch.sin(phase / 2)
    near_zero = half.abs() < 1e-4
    ratio = torch.sin((harmonics + 0.5) * phase) / torch.where(near_zero, 1.0, 2 * half)
    pulses = torch.where(near_zero, harmonics, ratio - 0.5)
    return pulses * torch.sqrt(2 / harmonics)


def noise_source(shape: torch.Size | tuple[int, ...], rng: torch.Generator) -> Tensor:
    """White Gaussian noise of unit power, drawn from `rng` (on its device)."""
    return torch.randn(shape, generator=rng, device=rng.device)
