"""Phones read off the codec's frames: what a prompt without a transcript is taken to say.

Shapes: F frames, V phone classes, P phones.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from speechkit.text.vocab import WORD_BOUNDARY, PhoneVocabulary

SWITCH_PENALTY = 4.0
"""Log-probability that a change of phone costs when phones are read off frames."""


def recognise_phones(
    logits_FV: Tensor, symbols: tuple[str, ...], vocabulary: PhoneVocabulary
) -> Tensor:
    """`phone_F`: phone id of each frame from frame logits; every pause is a word boundary.

    `symbols` name the classes V, the first of which is silence.
    """
    path_F = smooth_path(torch.log_softmax(logits_FV.float(), dim=-1), SWITCH_PENALTY)
    id_of = torch.tensor(vocabulary.ids((WORD_BOUNDARY, *symbols[1:])))
    return id_of[path_F]


def smooth_path(log_share_FV: Tensor, switch_penalty: float) -> Tensor:
    """`path_F`: the best class sequence when each change of class costs `switch_penalty`."""
    scores_FV = log_share_FV.detach().cpu().numpy()
    best_V = scores_FV[0].copy()
    stay_V = np.arange(scores_FV.shape[1])
    came_FV = np.zeros(scores_FV.shape, dtype=np.int64)
    for frame, frame_V in enumerate(scores_FV[1:], start=1):
        winner = int(best_V.argmax())
        top = best_V[winner] - switch_penalty
        came_FV[frame] = np.where(top > best_V, winner, stay_V)
        best_V = np.maximum(best_V, top) + frame_V
    path_F = np.zeros(len(scores_FV), dtype=np.int64)
    path_F[-1] = int(best_V.argmax())
    for frame in range(len(scores_FV) - 1, 0, -1):
        path_F[frame - 1] = came_FV[frame, path_F[frame]]
    return torch.from_numpy(path_F)
