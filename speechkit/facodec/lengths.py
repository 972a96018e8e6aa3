"""Items of unlike length in one batch, so that each sounds as it does alone.

An item ends where its length says; what stands beyond must be to it what lies beyond the end alone:
silence to a convolution that pads with zeros, the last value to one that pads by repetition. None
in place of the lengths says that all items fill the batch.

Shapes: B batch, L positions along the last axis, D channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def padded(items: Sequence[Tensor]) -> Tensor:
    """Tensors `[…, L]` that differ in their last axis as one `[B, …, L]`, zeros at the end."""
    longest = max(item.shape[-1] for item in items)
    return torch.stack([nn.functional.pad(item, (0, longest - item.shape[-1])) for item in items])


def lengths_of(items: Sequence[Tensor]) -> Tensor | None:
    """`lengths_B` of what `padded` joins; None where all are as long."""
    lengths = [item.shape[-1] for item in items]
    if len(set(lengths)) == 1:
        return None
    return torch.tensor(lengths, device=items[0].device)


def kept(lengths_B: Tensor, length: int) -> Tensor:
    """`keep_BL`: True where an item has a position."""
    return torch.arange(length, device=lengths_B.device) < lengths_B[:, None]


def silenced(x_BDL: Tensor, lengths_B: Tensor | None) -> Tensor:
    """Zeros beyond the end of each item."""
    if lengths_B is None:
        return x_BDL
    keep_BL = kept(lengths_B, x_BDL.shape[-1])
    return x_BDL * keep_BL.view(len(keep_BL), *[1] * (x_BDL.ndim - 2), -1)


def held(x_BDL: Tensor, lengths_B: Tensor | None) -> Tensor:
    """The last value of each item from its end on."""
    if lengths_B is None:
        return x_BDL
    at_BL = torch.arange(x_BDL.shape[-1], device=x_BDL.device).expand(len(x_BDL), -1)
    at_BL = torch.minimum(at_BL, lengths_B[:, None] - 1)
    at_BL = at_BL.view(len(at_BL), *[1] * (x_BDL.ndim - 2), -1)
    return x_BDL.gather(-1, at_BL.expand_as(x_BDL))
