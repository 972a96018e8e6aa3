"""A flat start: one Gaussian per phone class, fitted by Baum-Welch from linear alignments.

A network's full-sum loss alone settled where all frames have the same posteriors. Single
diagonal Gaussians on cepstra cannot, and find phone times from nothing (as in the
monophone stage of classical systems: Young et al., The HTK Book): half of them to within
11 ms of the truth. The network then learns from them.

The full sum over all paths through a phone graph, and with it the probability of each class in each
frame (Baum 1972; Rabiner, "A tutorial on hidden Markov models", 1989), runs in the log domain, over
whole batches and all states at once; only time is a loop.

Shapes: B batch, H mel frames (100 Hz), M mel bands, F frames (50 Hz), S states, C classes,
K cepstral features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.data.align.corpus import FeatureCache, Utterance
from speechkit.data.align.graph import GraphBatch, batch_graphs, linear_path
from speechkit.data.align.model import STACK
from speechkit.data.align.viterbi import LOG_ZERO, best_path

_CEPSTRA = 13
_BATCH_FRAMES = 12_000
_QUIET_SHARE = 0.3
_VARIANCE_FLOOR = 0.05


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


@dataclass(frozen=True)
class Gaussians:
    """One diagonal Gaussian per class over standardised cepstra."""

    mean_CK: Tensor
    variance_CK: Tensor

    def scores(self, cepstra_BFK: Tensor) -> Tensor:
        """Log densities `[B, F, C]`."""
        precision_CK = 1 / self.variance_CK
        constant_C = (self.mean_CK.square() * precision_CK + self.variance_CK.log()).sum(dim=1)
        linear_BFC = cepstra_BFK @ (self.mean_CK * precision_CK).T
        square_BFC = cepstra_BFK.square() @ precision_CK.T
        return linear_BFC - 0.5 * (square_BFC + constant_C)


def cepstra(mel_HM: Tensor) -> Tensor:
    """Cepstra with first and second differences, `[F, 39]`, roughly of unit variance."""
    mel_FM = mel_HM.reshape(-1, STACK, mel_HM.shape[1]).mean(dim=1)
    bands = mel_FM.shape[1]
    angle_MK = torch.outer(torch.arange(bands) + 0.5, torch.arange(_CEPSTRA)) * math.pi / bands
    static_FK = mel_FM @ (torch.cos(angle_MK) / bands)
    first_FK = _difference(static_FK)
    parts = (static_FK, first_FK, _difference(first_FK))
    return torch.cat([part / (part.std(dim=0) + 1e-3) for part in parts], dim=1)


def _difference(values_FK: Tensor) -> Tensor:
    padded = torch.cat([values_FK[:1], values_FK, values_FK[-1:]])
    return padded[2:] - padded[:-2]


def loud_span(mel_HM: Tensor) -> tuple[int, int]:
    """First and end 50 Hz frame of the part that is louder than the quietest by a third.

    Loudness is the mean over mel bands; the scale runs from its 5th to its 95th percentile.
    """
    loudness_F = mel_HM.mean(dim=1).reshape(-1, STACK).mean(dim=1)
    quiet, loud = torch.quantile(loudness_F, torch.tensor([0.05, 0.95])).tolist()
    above = (loudness_F > quiet + _QUIET_SHARE * (loud - quiet)).nonzero()[:, 0]
    if len(above) == 0:
        return 0, len(loudness_F)
    return int(above[0]), int(above[-1]) + 1


class _Statistics:
    """Zeroth to second moments of each class."""

    def __init__(self, classes: int) -> None:
        self.count_C = torch.zeros(classes, dtype=torch.float64)
        self.sum_CK = torch.zeros(classes, 3 * _CEPSTRA, dtype=torch.float64)
        self.square_CK = torch.zeros(classes, 3 * _CEPSTRA, dtype=torch.float64)

    def add(self, weight_NC: Tensor, cepstra_NK: Tensor) -> None:
        self.count_C += weight_NC.sum(dim=0)
        self.sum_CK += weight_NC.T @ cepstra_NK
        self.square_CK += weight_NC.T @ cepstra_NK.square()

    def gaussians(self) -> Gaussians:
        """The Gaussians, each pulled a little towards that of all frames together."""
        total = self.count_C.sum()
        mean_K = self.sum_CK.sum(dim=0) / total
        square_K = self.square_CK.sum(dim=0) / total
        # Ten frames' worth of the global Gaussian keeps classes that never occur usable.
        count_C1 = self.count_C[:, None] + 10
        mean_CK = (self.sum_CK + 10 * mean_K) / count_C1
        variance_CK = (self.square_CK + 10 * square_K) / count_C1 - mean_CK.square()
        return Gaussians(mean_CK.float(), variance_CK.clamp_min(_VARIANCE_FLOOR).float())


def fit_gaussians(
    utterances: Sequence[Utterance], features: FeatureCache, classes: int, rounds: int
) -> Gaussians:
    """Linear alignments, then `rounds` of Baum-Welch on the graphs of `utterances`."""
    inputs = [cepstra(features(item.clip).float()) for item in utterances]
    statistics = _Statistics(classes)
    for item, cepstra_FK in zip(utterances, inputs, strict=True):
        start, stop = loud_span(features(item.clip).float())
        path_F = linear_path(item.graph, item.frames, start, stop)
        one_hot_FC = torch.nn.functional.one_hot(path_F, classes).float()
        statistics.add(one_hot_FC, cepstra_FK)
    result = statistics.gaussians()
    for _ in range(rounds):
        statistics = _Statistics(classes)
        for chosen in _batches(utterances):
            rows = [inputs[index] for index in chosen]
            padded_BFK = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            frames_B = torch.tensor([len(row) for row in rows])
            graphs = batch_graphs([utterances[index].graph for index in chosen])
            scores_BFC = result.scores(padded_BFK)
            occupancy_BFC = forward_backward(scores_BFC, graphs, frames_B).occupancy_BFC
            statistics.add(occupancy_BFC.flatten(0, 1), padded_BFK.flatten(0, 1))
        result = statistics.gaussians()
    return result


def _batches(utterances: Sequence[Utterance]) -> list[list[int]]:
    order = sorted(range(len(utterances)), key=lambda index: utterances[index].frames)
    batches: list[list[int]] = [[]]
    for index in order:
        if utterances[index].frames * (len(batches[-1]) + 1) > _BATCH_FRAMES and batches[-1]:
            batches.append([])
        batches[-1].append(index)
    return batches


def gaussian_paths(
    gaussians: Gaussians, mel_BHM: Tensor, frames_B: Tensor, graphs: GraphBatch
) -> Tensor:
    """Frame classes `[B, F]` of the Viterbi paths; −100 in padded frames."""
    with torch.autocast(mel_BHM.device.type, enabled=False):
        lengths = frames_B.tolist()
        rows = [cepstra(mel_BHM[row, : STACK * frames]) for row, frames in enumerate(lengths)]
        padded_BFK = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        states_BF = best_path(gaussians.scores(padded_BFK), graphs, frames_B).states_BF
    classes_BF = graphs.classes_BS.gather(1, states_BF.clamp_min(0))
    return classes_BF.masked_fill(states_BF < 0, -100)
