"""Phones read off the codec's frames: what a prompt without a transcript is taken to say.

Shapes: F frames, V phone classes, P phones.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from speechkit.core.checkpoint import WEIGHTS
from speechkit.core.results import Codes
from speechkit.facodec.codec import Codec
from speechkit.text.frames import FrameClasses
from speechkit.text.vocab import DEFAULT_VOCABULARY, WORD_BOUNDARY, PhoneVocabulary

if TYPE_CHECKING:
    from speechkit.data.align.reader import PhoneReader

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


def recognise(
    codec: Codec,
    codes: Codes,
    wave_T: Tensor,
    vocabulary: PhoneVocabulary = DEFAULT_VOCABULARY,
) -> Tensor:
    """`phone_F`: what a recording of which nobody gave the text says, a phone id each frame.

    Read off the content codes by the codec's phone predictor; where that has other phones (those of
    the public weights are not known) by the bundled aligner on the wave.
    """
    if codec.phone_symbols == FrameClasses(vocabulary).symbols:
        logits_FV = codec.phone_logits(codes.content_KF[None])[0]
        return recognise_phones(logits_FV, codec.phone_symbols, vocabulary)
    reader = bundled_reader()
    names = [WORD_BOUNDARY, *(_with_stress(name, vocabulary) for name in reader.names[1:])]
    class_H = smooth_path(reader.posteriors(wave_T), SWITCH_PENALTY)
    at_F = torch.arange(codes.frames) * len(class_H) // codes.frames
    return torch.tensor(vocabulary.ids(names))[class_H[at_F]]


@lru_cache(maxsize=1)
def bundled_reader() -> PhoneReader:
    """The aligner that is shipped, loaded once."""
    from speechkit.data.align.reader import PhoneReader

    return PhoneReader(WEIGHTS / "aligner")


def _with_stress(name: str, vocabulary: PhoneVocabulary) -> str:
    """A phone of the vocabulary for one of the aligner's, which have no stress."""
    return name if name in vocabulary else f"{name}1"


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
