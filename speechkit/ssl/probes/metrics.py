"""Figures that need more than a mean.

Shapes: N trials of the same speaker, M of others, V candidate thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.core.errors import DataError


@dataclass(frozen=True, kw_only=True)
class EqualError:
    """Where a threshold errs as often one way as the other."""

    rate: float
    """Mean of false acceptance and false rejection at the threshold where they differ least."""
    threshold: float
    """Trials that score this or more are accepted."""


def equal_error(same_N: Tensor, other_M: Tensor) -> EqualError:
    """Return the equal error rate of scores; raises DataError without trials of both kinds."""
    if not same_N.numel() or not other_M.numel():
        raise DataError("An equal error rate needs trials of same and of other speakers.")
    same_N = same_N.double().sort().values
    other_M = other_M.double().sort().values
    # Between two neighbouring scores nothing changes; beyond the last, everything is refused.
    beyond = torch.tensor([torch.inf], dtype=torch.float64)
    threshold_V = torch.cat([same_N, other_M, beyond]).sort().values
    rejected_V = torch.searchsorted(same_N, threshold_V) / same_N.numel()
    accepted_V = 1 - torch.searchsorted(other_M, threshold_V) / other_M.numel()
    best = int((rejected_V - accepted_V).abs().argmin())
    return EqualError(
        rate=float(rejected_V[best] + accepted_V[best]) / 2, threshold=float(threshold_V[best])
    )
