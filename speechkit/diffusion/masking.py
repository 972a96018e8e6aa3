"""The forward process: which target codes are hidden from the network.

Shapes: B batch, L positions of prompt and target together.
"""

from __future__ import annotations

import torch
from torch import Tensor

from speechkit.diffusion.schedule import mask_ratios


def draw_mask(time_B: Tensor, target_BL: Tensor, rng: torch.Generator) -> Tensor:
    """`masked_BL`: each target position with probability sin(πt/2), at least one an item.

    Positions that are not target (prompt, padding) are never masked.
    """
    draws_BL = torch.rand(target_BL.shape, generator=rng, device=target_BL.device)
    masked_BL = (draws_BL < mask_ratios(time_B)[:, None]) & target_BL
    # An item with nothing masked would teach nothing: mask its most likely position.
    first_BL = torch.where(target_BL, draws_BL, 2.0)
    lowest_BL = (first_BL == first_BL.min(dim=-1, keepdim=True).values) & target_BL
    none_B1 = ~masked_BL.any(dim=-1, keepdim=True)
    return masked_BL | (lowest_BL & none_B1)
