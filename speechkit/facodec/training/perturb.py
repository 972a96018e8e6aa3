"""Changes to training segments: voices a little larger or smaller, and codes with mistakes.

Shapes: B batch, T samples, G pitch frames, K codebooks, F code frames.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from speechkit.core.timebase import SAMPLE_RATE_HZ

RESAMPLING = 0.08
"""Largest natural-log change of speed, pitch and formants: voices stay those of people."""


def draw_ratio(share: float, rng: torch.Generator) -> float:
    """How much faster to play a segment: 1, or for a `share` of them up to `RESAMPLING` off it."""
    chosen, place = torch.rand(2, generator=rng, dtype=torch.float64).tolist()
    return math.exp((2 * place - 1) * RESAMPLING) if chosen < share else 1.0


def resampled(wave_T: Tensor, ratio: float, samples: int) -> Tensor:
    """The first `samples` of a wave played `ratio` times as fast, silence where it ends sooner.

    Speed, pitch and formants change together, as between speakers of different size (Ko et al.
    2015, "Audio augmentation for speech recognition").
    """
    import soxr

    played = soxr.resample(wave_T.numpy(), SAMPLE_RATE_HZ * ratio, SAMPLE_RATE_HZ, quality="MQ")
    played_T = torch.from_numpy(np.ascontiguousarray(played, dtype=np.float32))[:samples]
    return nn.functional.pad(played_T, (0, samples - len(played_T)))


def played_frames(frames: int, ratio: float) -> Tensor:
    """Which frame of a recording stands at each of `frames` places when it is played faster."""
    return ((torch.arange(frames) + 0.5) * ratio).long()


def substitute_codes(
    codes_BKF: Tensor, codebook_size: int, share: float, rng: torch.Generator
) -> Tensor:
    """Codes of which a `share` are replaced by any entry, all equally likely.

    A decoder that is trained on such codes forgives a generator's mistakes. `rng` is on the
    device of the codes.
    """
    drawn_BKF = torch.rand(codes_BKF.shape, generator=rng, device=rng.device)
    any_BKF = torch.randint(codebook_size, codes_BKF.shape, generator=rng, device=rng.device)
    return torch.where(drawn_BKF < share, any_BKF, codes_BKF)
