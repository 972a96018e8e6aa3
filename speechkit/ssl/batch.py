"""What a pre-training model is given and what it returns, whichever model it is.

Shapes: B batch, T samples, F frames, M masked frames of a row, K distractors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(kw_only=True, eq=False)
class PretrainBatch:
    """Crops of equal length with every draw that their losses need, so that resuming is exact."""

    wave_BT: Tensor
    """Crops at 16 kHz."""
    masked_BF: Tensor
    """True on hidden frames, equally many in each row."""
    others_BMK: Tensor | None = None
    """Ranks of distractors among the masked frames of the row, for wav2vec 2.0."""
    labels_BF: Tensor | None = None
    """Unit of each frame, int64, for HuBERT; -100 where there is none."""
    clean_BT: Tensor | None = None
    """The crops before they were mixed or distorted, where targets come from the clean signal."""
    update: int = 0
    """Updates of the optimiser so far: wav2vec 2.0's temperature depends on it."""


def counted(
    losses: Mapping[str, Tensor],
    weights: Mapping[str, float],
    targets: int | Tensor,
    **figures: Tensor,
) -> dict[str, Tensor]:
    """Return the flat mapping of scalars that a model's call gives.

    "total" is the weighted sum of the "loss/…", all summed over "targets" masked frames; figures
    "figure/…" are means over the batch. Nothing is read, so that no device is waited for.
    """
    total = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
    return {
        "total": total,
        "targets": torch.zeros((), device=total.device) + targets,
        **{f"loss/{name}": value for name, value in losses.items()},
        **{f"figure/{name}": value.detach().float() for name, value in figures.items()},
    }
