"""Labels of a batch on the paper codec's own frames, and what its predictors make of them.

Shapes: B batch, F code frames, G pitch frames (100/s), P phone classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechkit.facodec.paper.codec import PaperOutput
from speechkit.facodec.paper.predictors import Pitch
from speechkit.facodec.training.acoustic_task import contour_loss
from speechkit.facodec.training.segments import UNLABELLED, SegmentBatch


@dataclass(frozen=True, kw_only=True)
class PaperLabels:
    """What the predictors should read, on the codec's frames."""

    f0_BF: Tensor
    """Log F0, interpolated where unvoiced, less the recording's mean and over its deviation."""

    voiced_BF: Tensor
    """1 where voiced, else 0."""

    phone_BF: Tensor
    """Frame classes, `UNLABELLED` where no alignment exists."""


def nearest_frames(x_BG: Tensor, frames: int) -> Tensor:
    """`x_BF`: of the frames that cover the same time, those nearest to the new frames' centres."""
    places_F = (torch.arange(frames, device=x_BG.device) + 0.5) * x_BG.shape[1] / frames
    return x_BG[:, places_F.long()]


def paper_labels(batch: SegmentBatch, frames: int) -> PaperLabels:
    """The labels of a batch on `frames` code frames.

    The paper normalises F0 by z-score and leaves open over what, and what an unvoiced frame is
    worth: here over the voiced frames of the recording, and nothing.
    """
    z_BG = (batch.contour_BG - batch.contour_mean_B[:, None]) / batch.contour_deviation_B[:, None]
    return PaperLabels(
        f0_BF=nearest_frames(z_BG, frames),
        voiced_BF=nearest_frames(batch.voiced_BG, frames),
        phone_BF=nearest_frames(batch.phone_BF, frames),
    )


def pitch_losses(prefix: str, pitch: Pitch, labels: PaperLabels) -> dict[str, Tensor]:
    """Distance of F0 over voiced frames, and cross-entropy of voicing."""
    return {
        f"{prefix}/f0": contour_loss(pitch.f0_BF, labels.f0_BF, labels.voiced_BF),
        f"{prefix}/voicing": nn.functional.binary_cross_entropy_with_logits(
            pitch.voiced_logit_BF, labels.voiced_BF
        ),
    }


def held_out_figures(out: PaperOutput, labels: PaperLabels) -> dict[str, float]:
    """F0 error in the recording's deviations, voicing error and phone accuracy."""
    pitch, voiced = out.predictions.pitch, labels.voiced_BF > 0
    labelled = labels.phone_BF != UNLABELLED
    right = (out.predictions.phone_BFP.argmax(-1) == labels.phone_BF)[labelled]
    missed = (pitch.f0_BF - labels.f0_BF).abs()[voiced]
    return {
        "f0/deviations": float(missed.sum() / voiced.sum().clamp_min(1)),
        "f0/voicing_error": float(((pitch.voiced_logit_BF > 0) != voiced).float().mean()),
        "phone/accuracy": float(right.float().sum() / labelled.sum().clamp_min(1)),
    }
