"""The learning rate as a pure function of where training stands."""

from __future__ import annotations

import math

from speechkit.train.config import Decay


def progress_of(
    step: int, elapsed_seconds: float, *, steps: int | None, minutes: float | None
) -> float:
    """Return the share of the budget used: 0 at the start, 1 or more at the end.

    With a budget of steps and one of minutes, the one that is used up more counts.
    """
    by_steps = step / steps if steps is not None else 0.0
    by_time = elapsed_seconds / (60.0 * minutes) if minutes is not None else 0.0
    return max(by_steps, by_time)


def lr_multiplier(
    step: int,
    progress: float,
    *,
    warmup_steps: int,
    decay: Decay,
    decay_share: float,
    final_lr_share: float,
) -> float:
    """Return what to multiply the learning rate with, from 0 to 1.

    ``step`` counts from 0 and drives the linear warm-up; ``progress`` from 0 to 1 drives the decay.
    "cosine" is Loshchilov & Hutter (2017) without restarts. "trapezoid" is constant until the last
    ``decay_share`` and linear after that: as good as a cosine, and the length need not be known
    early (Hägele et al. 2024). "tri-stage" is wav2vec 2.0's (Baevski et al. 2020, appendix B), with
    fairseq's initial and final scales 0.01 and 0.05, and knows neither warm-up nor final share.
    """
    if decay == "tri-stage":
        return _tri_stage(min(max(progress, 0.0), 1.0))
    warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps > 0 else 1.0
    progress = min(max(progress, 0.0), 1.0)
    if decay == "constant":
        remaining = 1.0
    elif decay == "linear":
        remaining = 1.0 - progress
    elif decay == "cosine":
        remaining = 0.5 * (1.0 + math.cos(math.pi * progress))
    else:
        remaining = min(1.0, (1.0 - progress) / decay_share) if decay_share > 0 else 1.0
    return warmup * (final_lr_share + (1.0 - final_lr_share) * remaining)


def _tri_stage(progress: float) -> float:
    """Up, hold, and exponentially down."""
    if progress < 0.1:
        return 0.01 + 0.99 * progress / 0.1
    return 1.0 if progress < 0.5 else float(0.05 ** ((progress - 0.5) / 0.5))
