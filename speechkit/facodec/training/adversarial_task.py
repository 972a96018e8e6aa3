"""Adversarial training of the small codec's vocoder.

Starts from a codec that speaks already. Everything but the vocoder stays as it is, so codes and
voices made before keep their meaning.

Shapes: B batch, T samples, G mel frames, M mel bands, F code frames.
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
from speechkit.facodec.small.codec import FACodec
from speechkit.facodec.training.adversarial import AdversarialSchedule, adversarial_losses
from speechkit.facodec.training.analysis import coded, window_of
from speechkit.facodec.training.discriminators import (
    DiscriminatorConfig,
    build_wave_discriminator,
)
from speechkit.facodec.training.losses import MultiResolutionSTFTLoss, log_mel_loss
from speechkit.facodec.training.segments import SegmentBatch, SegmentSampler
from speechkit.facodec.training.vocoder_task import EDGE_FRAMES, VocoderTask
from speechkit.train.prefetch import to_device


def _small_discriminator() -> DiscriminatorConfig:
    return DiscriminatorConfig(
        periods=(2, 3, 5, 7, 11),
        period_channels=(8, 16, 32, 64, 64),
        windows=(1024, 512),
        band_channels=4,
    )


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """What the vocoder is trained towards once its spectra are right."""

    batch_size: int = 8
    """Crops a step."""

    crop_frames: int = 60
    """Code frames of a crop that are encoded."""

    window_frames: int = 34
    """Code frames of a crop that are spoken."""

    discriminator: DiscriminatorConfig = field(default_factory=_small_discriminator)
    """Discriminator of the waves."""

    redrawn: float = 0.0
    """Share of the crops with codes that a generator drew, see `speechkit train redraw`."""

    schedule: AdversarialSchedule = field(
        default_factory=lambda: AdversarialSchedule(ramp_steps=200)
    )
    """When the discriminators' losses count, and how features are compared."""

    spectral: float = 1.0
    """Factor of the losses that the vocoder was trained with before."""

    wave_generator: float = 1.0
    """Weight of passing as real."""

    wave_features: float = 2.0
    """Weight of matching the wave discriminator's features."""

    def __post_init__(self) -> None:
        require_range(
            self,
            batch_size=(1, 65_536),
            crop_frames=(8, 10**6),
            window_frames=(8, self.crop_frames),
            redrawn=(0, 1),
        )


class AdversarialModel(nn.Module):
    """The codec and its discriminators, as one thing to optimise."""

    def __init__(self, codec: FACodec, config: AdversarialConfig) -> None:
        super().__init__()
        self.codec = codec.requires_grad_(False).eval()
        codec.vocoder.requires_grad_(True)
        self.stft = MultiResolutionSTFTLoss()
        self.wave_discriminator = build_wave_discriminator(config.discriminator)


class AdversarialTask:
    """Trains `codec.vocoder` on the log-mel that the codec makes of its own codes.

    It gives no score: spectral distances, which could rank the exports, are what adversarial
    training gives away for a more natural sound. The export to use is the last one.
    """

    def __init__(
        self,
        codec: FACodec,
        train: SegmentSampler,
        held_out: SegmentSampler,
        config: AdversarialConfig,
    ) -> None:
        self.config, self.train, self.held_out = config, train, held_out
        self.model: AdversarialModel = AdversarialModel(codec, config)
        self.spectral = {
            key: config.spectral * weight for key, weight in VocoderTask.weights.items()
        }
        self.weights: Mapping[str, float] = {
            **self.spectral,
            "wave/discriminator": 1.0,
            "wave/generator": config.wave_generator,
            "wave/features": config.wave_features,
        }

    def batch(self, rng: torch.Generator, number: int = 0) -> SegmentBatch:
        """Crops to re-speak."""
        return self.train.draw(self.config.batch_size, rng)

    def losses(self, batch: SegmentBatch, rng: torch.Generator, step: int) -> dict[str, Tensor]:
        """Spectral distances of the wave, and the discriminators' losses on it."""
        model, schedule = self.model, self.config.schedule
        wave_BT, target_BT = self._spoken(batch, rng)
        losses = self._distances(wave_BT, target_BT)
        adversarial = adversarial_losses(
            model.wave_discriminator, target_BT, wave_BT, schedule, step
        )
        return losses | adversarial.named("wave")

    def _spoken(self, batch: SegmentBatch, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """A window of the wave spoken from the crops' codes, and of the recordings, `[B, T]`."""
        codec, window = self.model.codec, self.config.window_frames
        heard = coded(codec, batch)
        first = window_of(heard.mel_BMG.shape[-1] // 2, window, rng)
        span, hop = slice(2 * first, 2 * (first + window)), codec.hop_samples
        wave_BT = codec.vocoder(
            heard.mel_BMG[..., span], heard.f0_BG[:, span], heard.voiced_BG[:, span], rng
        )
        target_BT = batch.wave_BT[:, hop * first : hop * (first + window)]
        inner = slice(hop * EDGE_FRAMES, -hop * EDGE_FRAMES)
        return wave_BT.float()[:, inner], target_BT[:, inner]

    def _distances(self, wave_BT: Tensor, target_BT: Tensor) -> dict[str, Tensor]:
        """The losses that the vocoder was trained with before."""
        mel = self.model.codec.mel
        with torch.autocast(wave_BT.device.type, enabled=False):
            losses: dict[str, Tensor] = self.model.stft(wave_BT, target_BT)
            losses["mel/l1"] = log_mel_loss(mel, wave_BT, mel(target_BT))
        return losses

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The losses on fixed held-out segments, at full strength, and the weighted spectral one.

        "wave/discriminator" says how the contest stands: 0.5 where they cannot tell.
        """
        device = next(self.model.parameters()).device
        draws, rng = generator(0), generator(0, device)
        last_step = self.config.schedule.start_step + self.config.schedule.ramp_steps
        totals: dict[str, float] = {}
        for _ in range(4):
            batch = to_device(self.held_out.draw(8, draws), device)
            for key, value in self.losses(batch, rng, last_step).items():
                totals[key] = totals.get(key, 0.0) + float(value) / 4
        totals["spectral"] = sum(weight * totals[key] for key, weight in self.spectral.items())
        return totals

    def export(self, folder: Path, model: nn.Module) -> None:
        """The codec with this vocoder; the discriminators stay behind."""
        assert isinstance(model, AdversarialModel)
        config = {"codec": to_dict(model.codec.config), "training": {"program": __name__}}
        save_checkpoint(folder, model.codec.state_dict(), config)
