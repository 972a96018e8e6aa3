"""Training of the small codec's decoder alone: sharper log-mel, and voices that come out as asked.

Starts from a codec whose codes and timbre are settled; encoders, codebooks, timbre and vocoder stay
as they are, so codes, voices and generators made before keep their meaning.

Two things are added to the distances the decoder was trained with. A patch discriminator scores
its log-mel, which distances alone leave blurred. And codes are also decoded in the timbre of
another recording, where no target exists: the codec's own timbre encoder must find that timbre in
the result (Casanova et al. 2022, "YourTTS", §3.2, speaker consistency loss) and its content
codebooks must read the same content as before (as in cycle-consistent voice conversion, Kaneko &
Kameoka 2018).

Shapes: B batch, G mel frames, M mel bands, F code frames, D channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.config import require_range, to_dict
from speechkit.core.rng import generator
from speechkit.facodec.small.codec import FACodec, Parts
from speechkit.facodec.small.features import active_mean, pair_frames
from speechkit.facodec.training.acoustic_task import mel_losses
from speechkit.facodec.training.adversarial import AdversarialSchedule, adversarial_losses
from speechkit.facodec.training.analysis import analysis_of
from speechkit.facodec.training.discriminators import PatchConfig, build_patch_discriminator
from speechkit.facodec.training.segments import SegmentBatch, SegmentSampler
from speechkit.train.prefetch import to_device


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """What the decoder is trained towards once codes and timbre are settled."""

    batch_size: int = 16
    """Crops a step."""

    crop_frames: int = 100
    """Code frames (20 ms) of a crop."""

    detail_dropout: float = 0.3
    """Share of items that are decoded without their detail codes."""

    patch: PatchConfig = field(default_factory=PatchConfig)
    """Discriminator of the log-mel."""

    schedule: AdversarialSchedule = field(
        default_factory=lambda: AdversarialSchedule(ramp_steps=200)
    )
    """When the discriminator's losses count, and how features are compared."""

    mel: float = 1.0
    """Weight of the log-mel distance; that of its changes over time is half of it."""

    patch_generator: float = 0.05
    """Weight of passing as real."""

    patch_features: float = 0.3
    """Weight of matching the discriminator's features."""

    timbre: float = 0.3
    """Weight of the wanted timbre in converted speech."""

    content: float = 0.3
    """Weight of the content kept in converted speech."""

    def __post_init__(self) -> None:
        require_range(self, batch_size=(2, 65_536), crop_frames=(8, 10**6), detail_dropout=(0, 1))


class DecoderModel(nn.Module):
    """The codec and the discriminator of its log-mel, as one thing to optimise."""

    def __init__(self, codec: FACodec, config: DecoderConfig) -> None:
        super().__init__()
        self.codec = codec.requires_grad_(False).eval()
        codec.decoder.requires_grad_(True)
        codec.to_mel.requires_grad_(True)
        self.discriminator = build_patch_discriminator(config.patch)


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What the frozen part of the codec makes of a batch."""

    mel_BMG: Tensor
    """Log-mel of the recordings."""

    mean_mel_BM1: Tensor
    """Mean spectrum that was taken out before content was read."""

    parts: Parts
    """The quantised parts."""

    timbre_BD: Tensor
    """Timbre, read from other crops of the same recordings."""


class DecoderTask:
    """Trains `codec.decoder` and `codec.to_mel`.

    It gives no score: distances, which could rank the exports, are what adversarial training
    gives away for sharpness. The export to use is the last one.
    """

    def __init__(
        self, codec: FACodec, train: SegmentSampler, held_out: SegmentSampler, config: DecoderConfig
    ) -> None:
        self.config, self.train, self.held_out = config, train, held_out
        self.model: DecoderModel = DecoderModel(codec, config)
        self.weights: Mapping[str, float] = {
            "mel/l1": config.mel,
            "mel/change": 0.5 * config.mel,
            "patch/discriminator": 1.0,
            "patch/generator": config.patch_generator,
            "patch/features": config.patch_features,
            "conversion/timbre": config.timbre,
            "conversion/content": config.content,
            "conversion/discriminator": 1.0,
            "conversion/generator": config.patch_generator,
        }

    def batch(self, rng: torch.Generator) -> SegmentBatch:
        """Crops with references for timbre."""
        return self.train.draw(self.config.batch_size, rng)

    @torch.no_grad()
    def settled(self, batch: SegmentBatch) -> Settled:
        """Codes and timbre of a batch, without gradients."""
        codec = self.model.codec
        with torch.autocast(batch.wave_BT.device.type, enabled=False):
            analysis = analysis_of(codec, batch)
            reference_BMG = codec.mel(batch.reference_BT)
            mean_mel_BM1 = active_mean(torch.cat([analysis.mel_BMG, reference_BMG], dim=-1))
        return Settled(
            mel_BMG=analysis.mel_BMG,
            mean_mel_BM1=mean_mel_BM1,
            parts=codec.quantize(analysis, mean_mel_BM1),
            timbre_BD=codec.timbre(analysis_of(codec, batch, reference_BMG)),
        )

    def losses(self, batch: SegmentBatch, rng: torch.Generator, step: int) -> dict[str, Tensor]:
        """Distances to the recordings, adversarial losses, and those of the codec's encoders."""
        known, schedule, codec = self.settled(batch), self.config.schedule, self.model.codec
        coarse_BFD = known.parts.prosody.z_BFD + known.parts.content.z_BFD
        drawn_B11 = torch.rand(len(coarse_BFD), 1, 1, generator=rng, device=rng.device)
        keep_B11 = drawn_B11 >= self.config.detail_dropout
        z_BFD = coarse_BFD + known.parts.detail.z_BFD * keep_B11
        made_BMG = codec.decode_mel(z_BFD, known.timbre_BD)
        losses = mel_losses(made_BMG, known.mel_BMG)
        adversarial = adversarial_losses(
            self.model.discriminator, known.mel_BMG, made_BMG, schedule, step
        )
        losses |= adversarial.named("patch")
        other_BD = known.timbre_BD.roll(1, dims=0)
        converted_BMG = codec.decode_mel(coarse_BFD, other_BD)
        adversarial = adversarial_losses(
            self.model.discriminator, known.mel_BMG, converted_BMG, schedule, step
        )
        losses |= adversarial.named("conversion")
        return losses | self._consistency(converted_BMG, known, other_BD)

    def _consistency(self, mel_BMG: Tensor, known: Settled, timbre_BD: Tensor) -> dict[str, Tensor]:
        """How far timbre and content of converted speech are from the wanted ones, 0 to 2."""
        codec = self.model.codec
        made_timbre_BD = codec.timbre_encoder(mel_BMG)
        hidden_BFD = codec.encoder(pair_frames((mel_BMG - active_mean(mel_BMG)) / 2.0))
        content = codec.content_codebooks(hidden_BFD)
        alike_B = nn.functional.cosine_similarity(made_timbre_BD, timbre_BD[:, :-1], dim=-1)
        alike_BF = nn.functional.cosine_similarity(content.z_BFD, known.parts.content.z_BFD, dim=-1)
        return {
            "conversion/timbre": 1 - alike_B.mean(),
            "conversion/content": 1 - alike_BF.mean(),
        }

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The losses on fixed held-out segments, at full strength.

        "patch/discriminator" says how the contest stands: 0.5 where it cannot tell real from made.
        """
        device = next(self.model.parameters()).device
        draws, rng = generator(0), generator(0, device)
        last_step = self.config.schedule.start_step + self.config.schedule.ramp_steps
        totals: dict[str, float] = {}
        for _ in range(4):
            batch = to_device(self.held_out.draw(16, draws), device)
            for key, value in self.losses(batch, rng, last_step).items():
                totals[key] = totals.get(key, 0.0) + float(value) / 4
        return totals

    def export(self, folder: Path, model: nn.Module) -> None:
        """The codec with this decoder; the discriminator stays behind."""
        assert isinstance(model, DecoderModel)
        config = {"codec": to_dict(model.codec.config), "training": {"program": __name__}}
        save_checkpoint(folder, model.codec.state_dict(), config)
