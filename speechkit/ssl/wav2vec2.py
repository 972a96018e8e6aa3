"""wav2vec 2.0 pre-training (Baevski et al. 2020).

Shapes: B batch, T samples, F frames, M masked frames of a row, K distractors, D final width,
G groups of the quantiser.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechkit.core.errors import ConfigError
from speechkit.core.rng import derive, seeded
from speechkit.ssl.batch import PretrainBatch, counted
from speechkit.ssl.config import Wav2Vec2Config
from speechkit.ssl.encoder import SslEncoder, build_encoder
from speechkit.ssl.quantizer import GumbelQuantizer, Quantized


class Wav2Vec2Pretrainer(nn.Module):
    """Encoder, quantiser and the two projections into the space where they are compared."""

    def __init__(self, config: Wav2Vec2Config, encoder: SslEncoder) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.quantizer = GumbelQuantizer(config.encoder.conv_channels[-1], config)
        self.final_proj = nn.Linear(config.encoder.model_dim, config.final_dim)
        self.final_target_proj = nn.Linear(config.code_dim, config.final_dim)

    def temperature(self, update: int) -> float:
        """Return the Gumbel temperature after so many updates of the optimiser."""
        config = self.config
        return max(config.gumbel_start * config.gumbel_decay**update, config.gumbel_end)

    def forward(self, batch: PretrainBatch) -> dict[str, Tensor]:
        """Return the losses of a batch, see `counted`.

        Where the batch has a clean wave, the quantised targets come from it, the context from the
        distorted one (Kharitonov et al. 2021: distort the past, not what is to be told).
        """
        if batch.others_BMK is None:
            raise ConfigError("wav2vec 2.0 needs a batch with distractors.")
        features = self.encoder.features(batch.wave_BT)
        source = features if batch.clean_BT is None else self.encoder.features(batch.clean_BT)
        rows = batch.masked_BF.shape[0]
        target_BFC = self.encoder.encoder_frontend.first_pass_dropout(source.normed_BFC)
        x_BFD = self.encoder.project(features, batch.masked_BF)
        x_BFD = self.encoder.transform(x_BFD, features.frames_B)
        places_BM = masked_places(batch.masked_BF, batch.others_BMK.shape[1])
        context_BMD = self.final_proj(taken(x_BFD, places_BM))
        target_NC = taken(target_BFC, places_BM).flatten(0, 1)
        quantized = self.quantizer(target_NC, self.temperature(batch.update))
        target_BMD = self.final_target_proj(quantized.vectors_NC).unflatten(0, (rows, -1))
        same_BMK = same_code(quantized.codes_NG.unflatten(0, (rows, -1)), batch.others_BMK)
        logits_BMK1 = self.contrast(context_BMD, target_BMD, batch.others_BMK, same_BMK)
        return self._losses(logits_BMK1, same_BMK, quantized, source.raw_BFC, batch.masked_BF)

    def contrast(
        self, context_BMD: Tensor, target_BMD: Tensor, others_BMK: Tensor, same_BMK: Tensor
    ) -> Tensor:
        """Return logits with the true target first; distractors equal to it are out of the race."""
        context_BMD = functional.normalize(context_BMD.float(), dim=-1, eps=1e-8)
        target_BMD = functional.normalize(target_BMD.float(), dim=-1, eps=1e-8)
        # All pairs of a row cost less than gathering K vectors for each frame.
        cosines_BMM = context_BMD @ target_BMD.transpose(1, 2)
        true_BM = cosines_BMM.diagonal(dim1=1, dim2=2)
        others = cosines_BMM.gather(2, others_BMK).masked_fill(same_BMK, -torch.inf)
        logits = torch.cat([true_BM[:, :, None], others], dim=2)
        return logits / self.config.logit_temperature

    def _losses(
        self,
        logits_BMK1: Tensor,
        same_BMK: Tensor,
        quantized: Quantized,
        raw_BFC: Tensor,
        masked_BF: Tensor,
    ) -> dict[str, Tensor]:
        """Return the sums of section 3.2 and the figures that show a collapse."""
        flat = logits_BMK1.flatten(0, 1)
        targets = flat.shape[0]
        entries = self.config.codebooks * self.config.codebook_size
        truth = torch.zeros(targets, dtype=torch.int64, device=flat.device)
        losses = {
            "contrastive": functional.cross_entropy(flat, truth, reduction="sum"),
            "diversity": targets * (entries - quantized.soft_perplexity) / entries,
            "penalty": targets * raw_BFC.float().square().mean(),
        }
        weights = {
            "contrastive": 1.0,
            "diversity": self.config.diversity_weight,
            "penalty": self.config.penalty_weight,
        }
        return counted(
            losses,
            weights,
            targets,
            accuracy=(flat.argmax(dim=1) == 0).float().mean(),
            soft_perplexity=quantized.soft_perplexity,
            hard_perplexity=quantized.hard_perplexity,
            distractor_hits=same_BMK.float().mean(),
            masked_share=masked_BF.float().mean(),
        )


def masked_places(masked_BF: Tensor, masked: int) -> Tensor:
    """Return places_BM: the frames that are True, as many in each row as is said."""
    return masked_BF.byte().argsort(dim=1, descending=True, stable=True)[:, :masked]


def taken(x_BFD: Tensor, places_BM: Tensor) -> Tensor:
    """Return x_BMD at these frames. Unlike a mask as an index, it does not wait for the device."""
    return x_BFD.gather(1, places_BM[:, :, None].expand(-1, -1, x_BFD.shape[-1]))


def same_code(codes_BMG: Tensor, others_BMK: Tensor) -> Tensor:
    """Return same_BMK bool: whether a distractor has the very codes of the true frame."""
    equal_BMM = (codes_BMG[:, :, None] == codes_BMG[:, None, :]).all(dim=-1)
    return equal_BMM.gather(2, others_BMK)


def build_wav2vec2(config: Wav2Vec2Config, seed: int = 0) -> Wav2Vec2Pretrainer:
    """Return a model with random weights, the same for the same seed."""
    encoder = build_encoder(config.encoder, seed)
    with seeded(derive(seed, "wav2vec2")):
        return Wav2Vec2Pretrainer(config, encoder)
