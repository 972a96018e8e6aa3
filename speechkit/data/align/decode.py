"""From posteriors to durations, in batches of similar length.

Shapes: B batch, F frames, C classes, P phones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.data.align.corpus import FeatureCache, Utterance
from speechkit.data.align.graph import batch_graphs
from speechkit.data.align.model import Aligner, pad_features
from speechkit.data.align.viterbi import best_path, durations

_BATCH_FRAMES = 16_000


@dataclass(frozen=True)
class Decoded:
    """The best path of one utterance."""

    frames_P: Tensor
    """Duration of each phone in 20 ms frames."""

    score: float
    """Mean log posterior a frame along the path."""


@torch.no_grad()
def decode_utterances(
    model: Aligner, utterances: Sequence[Utterance], features: FeatureCache
) -> dict[int, Decoded]:
    """Viterbi alignments by clip index."""
    was_training = model.training
    model.eval()
    result: dict[int, Decoded] = {}
    pending: list[Utterance] = []
    for utterance in sorted(utterances, key=lambda item: item.frames):
        if pending and utterance.frames * (len(pending) + 1) > _BATCH_FRAMES:
            result.update(_decode_batch(model, pending, features))
            pending = []
        pending.append(utterance)
    if pending:
        result.update(_decode_batch(model, pending, features))
    model.train(was_training)
    return result


def _decode_batch(
    model: Aligner, utterances: Sequence[Utterance], features: FeatureCache
) -> dict[int, Decoded]:
    mel_BHM, frames_B = pad_features([features(item.clip) for item in utterances])
    device = model.prior_C.device
    log_posterior_BFC = model(mel_BHM.to(device), frames_B.to(device))
    scores_BFC = model.scores(log_posterior_BFC).cpu()
    log_posterior_BFC = log_posterior_BFC.cpu()
    graphs = batch_graphs([item.graph for item in utterances])
    states_BF = best_path(scores_BFC, graphs, frames_B).states_BF
    classes_BF = graphs.classes_BS.gather(1, states_BF.clamp_min(0))
    along_BF = log_posterior_BFC.gather(2, classes_BF[..., None])[..., 0]
    result = {}
    for row, item in enumerate(utterances):
        score = float(along_BF[row, : item.frames].mean())
        result[item.clip] = Decoded(durations(states_BF[row], item.graph), score)
    return result
