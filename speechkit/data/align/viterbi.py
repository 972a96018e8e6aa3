"""The best path through a phone graph (Viterbi 1967), for batches.

Shapes: B batch, F frames, S states, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.data.align.graph import GraphBatch, PhoneGraph

LOG_ZERO = float("-inf")


@dataclass(frozen=True)
class BestPath:
    """The best path of every row."""

    score_B: Tensor
    """Sum of the scores along the path; −inf where no path fits."""

    states_BF: Tensor
    """State of each frame, int64; −1 in padded frames."""


def best_path(scores_BFC: Tensor, graphs: GraphBatch, frames_B: Tensor) -> BestPath:
    """The path with the largest sum of `scores_BFC` from the graph's start to its end."""
    batch, frames, _ = scores_BFC.shape
    index_BFS = graphs.classes_BS[:, None].expand(batch, frames, -1)
    scores_FBS = scores_BFC.gather(2, index_BFS).transpose(0, 1).contiguous()
    states = scores_FBS.shape[2]
    skip_BS = graphs.skip_penalty(scores_FBS.dtype)
    end_BS = torch.zeros_like(skip_BS).masked_fill(~graphs.last_states(), LOG_ZERO)
    jump_FBS = torch.zeros(frames, batch, states, dtype=torch.int64, device=scores_BFC.device)
    best_BS = scores_FBS.new_full((batch, states + 2), LOG_ZERO)
    best_BS[:, 2:] = scores_FBS[0].masked_fill(~graphs.first_states(), LOG_ZERO)
    final_BS = best_BS[:, 2:] + end_BS
    for frame in range(1, frames):
        choices_BS3 = torch.stack(
            (best_BS[:, 2:], best_BS[:, 1:-1], best_BS[:, :-2] + skip_BS), dim=2
        )
        arrive_BS, jump_FBS[frame] = choices_BS3.max(dim=2)
        best_BS[:, 2:] = arrive_BS + scores_FBS[frame]
        is_last_B1 = (frames_B == frame + 1)[:, None]
        final_BS = torch.where(is_last_B1, best_BS[:, 2:] + end_BS, final_BS)
    score_B, state_B = final_BS.max(dim=1)
    return BestPath(score_B, _trace_back(jump_FBS, state_B, frames_B))


def _trace_back(jump_FBS: Tensor, state_B: Tensor, frames_B: Tensor) -> Tensor:
    frames, batch, _ = jump_FBS.shape
    states_FB = torch.full((frames, batch), -1, dtype=torch.int64, device=jump_FBS.device)
    for frame in range(frames - 1, -1, -1):
        inside_B = frame < frames_B
        states_FB[frame] = torch.where(inside_B, state_B, -1)
        jump_B = jump_FBS[frame].gather(1, state_B[:, None])[:, 0]
        state_B = torch.where(inside_B, state_B - jump_B, state_B)
    return states_FB.T


def durations(states_F: Tensor, graph: PhoneGraph) -> Tensor:
    """Frames of every symbol `[P]`, int64, from the path of one row (without its padding)."""
    per_state_S = torch.bincount(states_F[states_F >= 0], minlength=len(graph.classes))
    frames_P = torch.zeros(graph.symbols, dtype=torch.int64)
    frames_P[list(graph.owners)] = per_state_S.cpu()
    return frames_P
