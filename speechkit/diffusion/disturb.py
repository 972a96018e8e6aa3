"""Disturbances of training, so that a generator does not learn a small corpus by heart.

Shapes: B batch, L frames, N residual branches.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from speechkit.core.config import require_range
from speechkit.diffusion.stage import StageBatch, StageDraws


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """What is left out and shown wrong in training, never in validation."""

    left_out: float = 0.0
    """Share of items that each residual branch of the network is left out of."""

    mistaken: float = 0.0
    """Share of a target's frames that show the codes of another frame."""

    def __post_init__(self) -> None:
        require_range(self, left_out=(0.0, 0.9), mistaken=(0.0, 0.9))

    def of(
        self, draws: StageDraws, batch: StageBatch, paths: int, rng: torch.Generator
    ) -> StageDraws:
        """The draws for a network of so many residual branches, disturbed."""
        if self.mistaken:
            draws = replace(draws, shown_BL=draw_mistakes(batch, self.mistaken, rng))
        if self.left_out:
            items = len(batch.keep_BL)
            draws = replace(draws, paths_BN=draw_paths(items, paths, self.left_out, rng))
        return draws


def draw_mistakes(batch: StageBatch, share: float, rng: torch.Generator) -> Tensor:
    """`shown_BL`: the frame, counted through the batch, whose codes each frame shows.

    So many frames of the targets show those of any other. What a stage is told by those before it,
    and by its own earlier passes, is drawn and wrong in part; a network that has seen nothing but
    recordings takes all of it for true (scheduled sampling, Bengio et al. 2015, with mistakes made
    at random).
    """
    keep_BL = batch.keep_BL
    own_BL = torch.arange(keep_BL.numel()).reshape(keep_BL.shape)
    frames_M = keep_BL.flatten().nonzero()[:, 0]
    other_BL = frames_M[torch.randint(len(frames_M), keep_BL.shape, generator=rng)]
    wrong_BL = torch.rand(keep_BL.shape, generator=rng) < share
    return torch.where(wrong_BL & keep_BL & ~batch.prompt_BL, other_BL, own_BL)


def draw_paths(items: int, paths: int, share: float, rng: torch.Generator) -> Tensor:
    """`paths_BN`: weights of the residual branches, 0 for so many of them and the more for the
    others (stochastic depth, Huang et al. 2016)."""
    kept_BN = torch.rand(items, paths, generator=rng) >= share
    return kept_BN / (1 - share)
