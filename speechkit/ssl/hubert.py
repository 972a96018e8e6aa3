"""HuBERT pre-training (Hsu et al. 2021): name the cluster of each masked frame.

fairseq2 has no HuBERT; this one stands on its encoder.

Shapes: B batch, T samples, F frames, D final width, V clusters, N frames that count.
"""

from __future__ import annotations

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
        known_BF = batch.labels_BF != NO_LABEL
        hidden_BF = batch.masked_BF & known_BF
        logits_NV = self.logits(x_BFD[hidden_BF])
        labels_N = batch.labels_BF[hidden_BF]
        losses = {
            "masked": functional.cross_entropy(logits_NV, labels_N, reduction="sum"),
            "penalty": labels_N.numel() * features.raw_BFC.float().square().mean(),
        }
        weights = {"masked": config.masked_weight, "penalty": config.penalty_weight}
        if config.seen_weight > 0:
            seen_BF = ~batch.masked_BF & known_BF
            seen = functional.cross_entropy(
                self.logits(x_BFD[seen_BF]), batch.labels_BF[seen_BF], reduction="sum"
            )
            losses["seen"], weights["seen"] = seen, config.seen_weight
        predicted_N = logits_NV.detach().argmax(dim=1)
        return counted(
            losses,
            weights,
            int(labels_N.numel()),
            accuracy=(predicted_N == labels_N).float().mean(),
            prediction_perplexity=_perplexity_of(predicted_N, config.clusters),
            label_perplexity=_perplexity_of(labels_N, config.clusters),
            masked_share=batch.masked_BF.float().mean(),
        )

    def logits(self, x_ND: Tensor) -> Tensor:
        """Return logits_NV: cosines to the cluster embeddings over the temperature."""
        x_ND = functional.normalize(self.final_proj(x_ND).float(), dim=-1, eps=1e-8)
        clusters_VD = functional.normalize(self.clusters_VD.float(), dim=-1, eps=1e-8)
        return x_ND @ clusters_VD.T / self.config.logit_temperature


def _perplexity_of(labels_N: Tensor, classes: int) -> Tensor:
    """Return the perplexity of how often each class occurs."""
    return perplexity(torch.bincount(labels_N, minlength=classes) / max(labels_N.numel(), 1))


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
