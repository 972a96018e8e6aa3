"""HuBERT pre-training (Hsu et al. 2021): name the cluster of each masked frame.

Shapes: B batch, T samples, F frames, D final width, V clusters, N frames of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechkit.core.errors import ConfigError
from speechkit.core.rng import derive, seeded
from speechkit.ssl.batch import PretrainBatch, counted
from speechkit.ssl.config import HubertConfig
from speechkit.ssl.encoder import SslEncoder, build_encoder
from speechkit.ssl.quantizer import perplexity

NO_LABEL = -100
"""Frames beyond the end of their units carry it and do not count."""


class HubertPretrainer(nn.Module):
    """Encoder, a projection, and one embedding for each cluster."""

    def __init__(self, config: HubertConfig, encoder: SslEncoder) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.final_proj = nn.Linear(config.encoder.model_dim, config.final_dim)
        # fairseq draws from [0, 1), where all embeddings point the same way; these do not.
        self.clusters_VD = nn.Parameter(torch.randn(config.clusters, config.final_dim))

    def forward(self, batch: PretrainBatch) -> dict[str, Tensor]:
        """Return the losses of a batch, see `counted`."""
        if batch.labels_BF is None:
            raise ConfigError("HuBERT needs a batch with units.")
        config = self.config
        features = self.encoder.features(batch.wave_BT)
        x_BFD = self.encoder.project(features, batch.masked_BF)
        x_BFD = self.encoder.transform(x_BFD, features.frames_B)
        logits_BFV = self.logits(x_BFD)
        weights = {
            "masked": config.masked_weight,
            "seen": config.seen_weight,
            "penalty": config.penalty_weight,
        }
        penalty = features.raw_BFC.float().square().mean()
        return naming_losses(
            logits_BFV, batch.labels_BF, batch.masked_BF, weights, {"penalty": penalty}
        )

    def logits(self, x_BFD: Tensor) -> Tensor:
        """Return logits_BFV: cosines to the cluster embeddings over the temperature."""
        x_BFD = functional.normalize(self.final_proj(x_BFD).float(), dim=-1, eps=1e-8)
        clusters_VD = functional.normalize(self.clusters_VD.float(), dim=-1, eps=1e-8)
        return x_BFD @ clusters_VD.T / self.config.logit_temperature


def naming_losses(
    logits_BFV: Tensor,
    labels_BF: Tensor,
    masked_BF: Tensor,
    weights: Mapping[str, float],
    means: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return the losses of naming the class of each frame, see `counted`.

    Losses are "masked", "seen" where its weight is above 0, and ``means``, other losses that are
    means over the batch. Labels of `NO_LABEL` do not count.
    """
    hidden_BF = masked_BF & (labels_BF != NO_LABEL)
    targets = hidden_BF.sum()
    logits_BVF = logits_BFV.transpose(1, 2)
    losses = {
        # All frames are named and those that do not count left out, for a mask as an index would
        # have to be read first.
        "masked": functional.cross_entropy(
            logits_BVF, labels_BF.masked_fill(~hidden_BF, NO_LABEL), reduction="sum"
        )
    }
    losses |= {name: targets * mean for name, mean in (means or {}).items()}
    if weights["seen"] > 0:
        losses["seen"] = functional.cross_entropy(
            logits_BVF, labels_BF.masked_fill(masked_BF, NO_LABEL), reduction="sum"
        )
    classes = logits_BFV.shape[-1]
    predicted_BF = logits_BFV.detach().argmax(dim=2)
    right_BF = (predicted_BF == labels_BF) & hidden_BF
    return counted(
        losses,
        weights,
        targets,
        accuracy=right_BF.sum() / targets.clamp(min=1),
        prediction_perplexity=_perplexity_of(predicted_BF, hidden_BF, classes),
        label_perplexity=_perplexity_of(labels_BF, hidden_BF, classes),
        masked_share=masked_BF.float().mean(),
    )


def _perplexity_of(labels_BF: Tensor, counts_BF: Tensor, classes: int) -> Tensor:
    """Return the perplexity of how often each class occurs in the frames that count."""
    weights_N = counts_BF.flatten().float()
    labels_N = labels_BF.flatten().clamp(min=0)
    use_V = torch.zeros(classes, device=weights_N.device).scatter_add(0, labels_N, weights_N)
    return perplexity(use_V / use_V.sum().clamp(min=1))


def align_labels(units_U: Tensor, first_frame: int, frames: int, units_per_frame: float) -> Tensor:
    """Return labels_F int64: the unit at the start of each frame, `NO_LABEL` beyond the last.

    ``first_frame`` is where the crop starts in the clip (fairseq: index i * label_rate / 50).
    """
    index_F = ((torch.arange(frames) + first_frame) * units_per_frame).long()
    labels_F = units_U[index_F.clamp(max=len(units_U) - 1)].long()
    return labels_F.masked_fill(index_F >= len(units_U), NO_LABEL)


def build_hubert(config: HubertConfig, seed: int = 0) -> HubertPretrainer:
    """Return a model with random weights, the same for the same seed."""
    encoder = build_encoder(config.encoder, seed)
    with seeded(derive(seed, "hubert")):
        return HubertPretrainer(config, encoder)
