"""The pre-training loss of a model on each clip of a corpus it never heard, to compare models by.

A run's own held-out loss is on speakers of its own corpus: between runs on different speech it
compares nothing. Here every model is asked the same: the same clips, crops and masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from speechkit.core.errors import DataError
from speechkit.core.metrics import Interval, bootstrap
from speechkit.data.packed import PackedCorpus
from speechkit.ssl.checkpoints import Pretrainer
from speechkit.ssl.crops import CropConfig, CropDataset
from speechkit.ssl.ctc.score import FEWEST_GROUPS
from speechkit.ssl.units.file import Units
from speechkit.train.prefetch import to_device

DRAWS = 4
"""Crops and masks of each clip."""


@dataclass(frozen=True, kw_only=True)
class ClipLoss:
    """One clip, over all its draws."""

    clip: str
    """Its name."""
    speaker: str
    """Who speaks."""
    loss: float
    """Sum over the masked frames, in nats: of naming the unit (HuBERT, BEST-RQ) or of finding the
    frame among distractors (wav2vec 2.0)."""
    frames: int
    """Masked frames."""


@torch.no_grad()
def clip_losses(
    model: Pretrainer, corpus: PackedCorpus, config: CropConfig, units: Units | None = None
) -> list[ClipLoss]:
    """Return the loss on every clip that is long enough, in evaluation mode.

    Of ``config`` the shortest and longest length count; nothing is distorted. Depends on nothing
    but the model and the clips. Raises DataError where no clip is long enough, ConfigError where
    units do not fit the model.
    """
    whole = replace(config, held_out_clips=0)
    crops = CropDataset(corpus, whole, model.config, seed=0, units=units)
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    found = []
    for clip in crops.clips:
        loss, frames = 0.0, 0
        for draw in range(DRAWS):
            result = model(to_device(crops.alone(clip, draw), device))
            name = "loss/masked" if "loss/masked" in result else "loss/contrastive"
            loss += float(result[name])
            frames += int(result["targets"])
        info = corpus.clips[clip]
        found.append(ClipLoss(clip=info["id"], speaker=info["speaker"], loss=loss, frames=frames))
    model.train(training)
    return found


def mean_loss(clips: Sequence[ClipLoss]) -> float:
    """Return the loss a masked frame."""
    return sum(clip.loss for clip in clips) / max(sum(clip.frames for clip in clips), 1)


def interval_of_less(ones: Sequence[ClipLoss], others: Sequence[ClipLoss]) -> Interval | None:
    """Return the 95 % interval of the first mean less the second, whole speakers drawn.

    None for fewer than five speakers. Raises DataError where the clips are not the same.
    """
    if [(c.clip, c.frames) for c in ones] != [(c.clip, c.frames) for c in others]:
        raise DataError("Losses on other clips or masks cannot be compared: measure both again.")
    speakers = [clip.speaker for clip in ones]
    if len(set(speakers)) < FEWEST_GROUPS:
        return None
    frames = [clip.frames for clip in ones]
    return bootstrap(
        [clip.loss for clip in ones],
        frames,
        speakers,
        minus=([clip.loss for clip in others], frames),
    )
