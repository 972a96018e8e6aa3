"""The full-sum loss: the log-likelihood of all paths through a phone graph.

Forward and backward recursions run in the log domain, over whole batches and all
states at once; only time is a loop. The gradient with respect to the scores is the
state occupancy (Baum 1972; Rabiner, "A tutorial on hidden Markov models", 1989),
so nothing of the recursion is kept for autograd.

Shapes: B batch, F frames, S states, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from speechkit.data.align.graph import GraphBatch

LOG_ZERO = float("-inf")


@dataclass(frozen=True)
class Occupancy:
    """Outcome of the two recursions."""

    log_likelihood_B: Tensor
    """Log of the sum over all paths; −inf where no path fits."""

    occupancy_BFC: Tensor
    """Probability of each class in each frame given the graph; zero in padded frames."""


def forward_backward(scores_BFC: Tensor, graphs: GraphBatch, frames_B: Tensor) -> Occupancy:
    """Sum over all paths that enter at the graph's start and leave at its end.

    `scores_BFC` are log scores of the classes, `frames_B` the valid frames of each row.
    """
    batch, frames, _ = scores_BFC.shape
    index_BFS = graphs.classes_BS[:, None].expand(batch, frames, -1)
    scores_FBS = scores_BFC.gather(2, index_BFS).transpose(0, 1).contiguous()
    alpha_FBS = _forward(scores_FBS, graphs)
    beta_FBS = _backward(scores_FBS, graphs, frames_B)
    last_1BS = (frames_B - 1)[None, :, None].expand(1, -1, scores_FBS.shape[2])
    final_BS = alpha_FBS.gather(0, last_1BS)[0].masked_fill(~graphs.last_states(), LOG_ZERO)
    likelihood_B = torch.logsumexp(final_BS, dim=1)
    posterior_FBS = torch.exp(alpha_FBS + beta_FBS - likelihood_B[None, :, None])
    posterior_BFS = torch.nan_to_num(posterior_FBS, nan=0.0).transpose(0, 1)
    occupancy_BFC = torch.zeros_like(scores_BFC).scatter_add_(2, index_BFS, posterior_BFS)
    return Occupancy(likelihood_B, occupancy_BFC)


def _forward(scores_FBS: Tensor, graphs: GraphBatch) -> Tensor:
    frames, batch, states = scores_FBS.shape
    skip_BS = graphs.skip_penalty(scores_FBS.dtype)
    # Two columns of −inf on the left turn "one state before" and "two before" into views.
    padded_FBS = scores_FBS.new_full((frames, batch, states + 2), LOG_ZERO)
    start_BS = scores_FBS[0].masked_fill(~graphs.first_states(), LOG_ZERO)
    padded_FBS[0, :, 2:] = start_BS
    for frame in range(1, frames):
        before_BS = padded_FBS[frame - 1]
        stay_or_step_BS = torch.logaddexp(before_BS[:, 2:], before_BS[:, 1:-1])
        arrive_BS = torch.logaddexp(stay_or_step_BS, before_BS[:, :-2] + skip_BS)
        torch.add(arrive_BS, scores_FBS[frame], out=padded_FBS[frame, :, 2:])
    return padded_FBS[:, :, 2:]


def _backward(scores_FBS: Tensor, graphs: GraphBatch, frames_B: Tensor) -> Tensor:
    frames, batch, states = scores_FBS.shape
    skip_BS = graphs.skip_penalty(scores_FBS.dtype)
    end_BS = torch.zeros_like(skip_BS).masked_fill(~graphs.last_states(), LOG_ZERO)
    beta_FBS = scores_FBS.new_full((frames, batch, states), LOG_ZERO)
    ahead_BS = scores_FBS.new_full((batch, states + 2), LOG_ZERO)
    skipped_BS = scores_FBS.new_full((batch, states + 2), LOG_ZERO)
    for frame in range(frames - 1, -1, -1):
        if frame + 1 < frames:
            ahead_BS[:, :-2] = beta_FBS[frame + 1] + scores_FBS[frame + 1]
            skipped_BS[:, :-2] = ahead_BS[:, :-2] + skip_BS
        stay_or_step_BS = torch.logaddexp(ahead_BS[:, :-2], ahead_BS[:, 1:-1])
        leave_BS = torch.logaddexp(stay_or_step_BS, skipped_BS[:, 2:])
        is_last_B1 = (frames_B == frame + 1)[:, None]
        beta_FBS[frame] = torch.where(is_last_B1, end_BS, leave_BS)
    return beta_FBS


class _FullSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores_BFC: Tensor, graphs: GraphBatch, frames_B: Tensor) -> Tensor:
        result = forward_backward(scores_BFC, graphs, frames_B)
        ctx.save_for_backward(result.occupancy_BFC)
        return result.log_likelihood_B

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (occupancy_BFC,) = ctx.saved_tensors
        return grads[0][:, None, None] * occupancy_BFC, None, None


def full_sum(scores_BFC: Tensor, graphs: GraphBatch, frames_B: Tensor) -> Tensor:
    """Log-likelihood `[B]` of all paths, with the occupancy as its gradient.

    The loss to minimise is the negative of it; rows without any path give −inf.
    """
    result: Tensor = _FullSum.apply(scores_BFC, graphs, frames_B)  # type: ignore[no-untyped-call]
    return result
