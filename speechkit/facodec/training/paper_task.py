"""Training task of the paper's codec: every loss and weight of NS3 appendix B.1 at once.

Shapes: B batch, T samples, F code frames, M mel bands, D channels, P phone classes, S speakers,
K codebooks, N codes of a codebook, V entries.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.config import to_dict
from speechkit.core.errors import ConfigError
from speechkit.core.rng import derive, generator
from speechkit.facodec.paper.codec import PaperCodec, PaperOutput
from speechkit.facodec.paper.convolution import DownBlock, UpBlock
from speechkit.facodec.paper.predictors import Reversal
from speechkit.facodec.predictors import SpeakerClassifier, reverse_gradient
from speechkit.facodec.quantizer import code_usage
from speechkit.facodec.training.acoustic_task import phone_loss
from speechkit.facodec.training.adversarial import adversarial_losses
from speechkit.facodec.training.discriminators import build_wave_discriminator
from speechkit.facodec.training.losses import MultiScaleMelLoss
from speechkit.facodec.training.paper_config import PaperConfig
from speechkit.facodec.training.paper_labels import (
    PaperLabels,
    held_out_figures,
    paper_labels,
    pitch_losses,
)
from speechkit.facodec.training.paper_start import start_from_batch
from speechkit.facodec.training.segments import HOP, SegmentBatch, SegmentSampler
from speechkit.train.blocks import blocks_of
from speechkit.train.prefetch import to_device


class PaperModel(nn.Module):
    """The codec, the speaker classifier and the discriminator, as one thing to optimise."""

    def __init__(self, codec: PaperCodec, config: PaperConfig) -> None:
        super().__init__()
        self.codec = codec
        self.speaker = SpeakerClassifier(codec.timbre_channels, codec.config.speakers)
        self.discriminator = build_wave_discriminator(config.discriminator)
        self.mel = MultiScaleMelLoss(codec.sample_rate_hz)

    def get_extra_state(self) -> Tensor:
        """Use of the entries since the last restart: part of the run, not of the codec."""
        return torch.stack([codebook.counts_V for codebook in self.codec.codebooks()])

    def set_extra_state(self, state: Tensor) -> None:
        """Take up the counts of an interrupted run."""
        for codebook, counts_V in zip(self.codec.codebooks(), state, strict=True):
            codebook.counts_V.copy_(counts_V)


class PaperTask:
    """Trains all of the paper's codec on waves."""

    def __init__(
        self,
        codec: PaperCodec,
        train: SegmentSampler,
        held_out: SegmentSampler,
        config: PaperConfig,
    ) -> None:
        """Raises ConfigError for crops that are no whole number of code frames."""
        samples, hop = config.crop_frames * HOP, codec.hop_samples
        if samples % hop:
            raise ConfigError(
                f"crop_frames={config.crop_frames} is {samples} samples, no multiple of the "
                f"codec's hop of {hop}: take a multiple of {hop // math.gcd(hop, HOP)}."
            )
        self.config, self.train, self.held_out = config, train, held_out
        self._restarted = -1
        self.frames = samples // hop
        self.model: PaperModel = PaperModel(codec, config)
        self.blocks = blocks_of(codec, DownBlock, UpBlock)
        flags = codec.config
        adversaries = {
            "reversal/prosody_phone": (flags.reverse_prosody_phone, config.reverse_phone),
            "reversal/content_f0": (flags.reverse_content_f0, config.reverse_f0),
            "reversal/content_voicing": (flags.reverse_content_f0, config.reverse_f0),
            "reversal/detail_f0": (flags.reverse_detail_f0, config.reverse_f0),
            "reversal/detail_voicing": (flags.reverse_detail_f0, config.reverse_f0),
            "reversal/detail_phone": (flags.reverse_detail_phone, config.reverse_phone),
            "reversal/speaker": (flags.reverse_speaker, config.reverse_speaker),
        }
        self.weights: Mapping[str, float] = {
            "mel/multiscale": config.mel,
            "adversarial/discriminator": 1.0,
            "adversarial/generator": config.adversarial,
            "adversarial/features": config.features,
            "vq/codebook": config.codebook,
            "vq/commitment": config.commitment,
            "prosody/f0": config.f0,
            "prosody/voicing": config.f0,
            "content/phone": config.phone,
            "timbre/speaker": config.speaker,
            **{key: weight for key, (wanted, weight) in adversaries.items() if wanted},
        }

    def batch(self, rng: torch.Generator, number: int = 0) -> SegmentBatch:
        """Crops with labels."""
        return self.train.draw(self.config.batch_size, rng)

    def losses(self, batch: SegmentBatch, rng: torch.Generator, step: int) -> dict[str, Tensor]:
        """All losses of one step; restarts dead codes on the way."""
        model, config = self.model, self.config
        # Once a step, however many batches are accumulated: by the first, as among processes.
        due = step % config.restart_every_steps == 0 and step != self._restarted
        if model.training and due:
            self._restarted = step
            self._restart(batch, step)
        reversal = self._reversal(step)
        out = model.codec(batch.wave_BT, rng, reversal=reversal)
        wave_BT = out.wave_BT.float()
        with torch.autocast(wave_BT.device.type, enabled=False):
            losses = {"mel/multiscale": model.mel(wave_BT, batch.wave_BT)}
        adversarial = adversarial_losses(
            model.discriminator, batch.wave_BT, wave_BT, config.schedule, step
        )
        losses |= adversarial.named("adversarial")
        for key in ("codebook", "commitment"):
            values = [getattr(part, f"{key}_K") for part in out.parts.all()]
            losses[f"vq/{key}"] = torch.cat(values).sum()
        labels = paper_labels(batch, self.frames)
        losses |= pitch_losses("prosody", out.predictions.pitch, labels)
        losses["content/phone"] = phone_loss(out.predictions.phone_BFP, labels.phone_BF)
        losses["timbre/speaker"] = model.speaker(out.timbre_BD, batch.speaker_B)
        return losses | dict(self._adversaries(out, labels, batch.speaker_B, reversal))

    def _reversal(self, step: int) -> Reversal:
        first, last = self.config.reversal_ramp
        ramp = min(1.0, max(0.0, (step - first + 1) / max(1, last - first + 1)))
        return Reversal(strength=self.config.reversal * ramp, bound=self.config.reversal_bound)

    def _adversaries(
        self, out: PaperOutput, labels: PaperLabels, speaker_B: Tensor, reversal: Reversal
    ) -> Iterator[tuple[str, Tensor]]:
        """The losses of the predictors behind a gradient reversal, those that the codec has."""
        read = out.predictions
        for part in ("prosody", "detail"):
            logits_BFP = getattr(read, f"{part}_phone_BFP")
            if logits_BFP is not None:
                yield f"reversal/{part}_phone", phone_loss(logits_BFP, labels.phone_BF)
        for part in ("content", "detail"):
            pitch = getattr(read, f"{part}_pitch")
            if pitch is not None:
                for key, loss in pitch_losses("reversal", pitch, labels).items():
                    yield key.replace("/", f"/{part}_"), loss
        logits_BS, predictor = read.speaker_BS, self.model.codec.predictors.speaker
        if logits_BS is not None and predictor is not None:
            if self.config.speaker_from == "sum":
                z_BDF = reverse_gradient(out.parts.summed(), reversal.strength, reversal.bound)
                (logits_BS,) = predictor(z_BDF)
            yield "reversal/speaker", nn.functional.cross_entropy(logits_BS, speaker_B)

    @torch.no_grad()
    def _restart(self, batch: SegmentBatch, step: int) -> None:
        """Re-seed entries that are hardly used from this batch; at first all of them."""
        config, codec = self.config, self.model.codec
        draws = generator(derive(step, "restart"))
        if step == 0:
            if config.start_from_batch:
                start_from_batch(codec, batch.wave_BT, draws)
        elif step < config.restart_until_step:
            mel_BMF = None if codec.prosody_mel is None else codec.prosody_mel(batch.wave_BT)
            codec.quantize(codec.encoder(batch.wave_BT), mel_BMF)
            for codebook in codec.codebooks():
                codebook.restart_unused(draws)
                if dist.is_initialized():
                    dist.broadcast(codebook.codebook_VC.data, src=0)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Held-out mel distances with and without detail codes, read-outs and use of the codebooks.

        The score is minus the mel distance, minus half of that without detail.
        """
        codec, draws, rounds = self.model.codec, generator(0), 4
        device = next(codec.parameters()).device
        sums: dict[str, float] = {}
        codes = []
        for _ in range(rounds):
            batch = to_device(self.held_out.draw(8, draws), device)
            out = codec(batch.wave_BT)
            z_BDF = out.parts.prosody.z_BDF + out.parts.content.z_BDF
            coarse_BT = codec.generate(z_BDF, out.timbre_BD)
            figures = {
                "mel/multiscale": float(self.model.mel(out.wave_BT, batch.wave_BT)),
                "mel/multiscale_coarse": float(self.model.mel(coarse_BT, batch.wave_BT)),
                **held_out_figures(out, paper_labels(batch, self.frames)),
            }
            for key, value in figures.items():
                sums[key] = sums.get(key, 0.0) + value / rounds
            codes.append(out.parts.codes())
        stacked_KN = torch.cat(codes).transpose(0, 1).flatten(1)
        for k, use in enumerate(code_usage(stacked_KN, codec.config.quantizer.codebook_size)):
            sums[f"perplexity/{k}"] = use["perplexity"]
        sums["score"] = -sums["mel/multiscale"] - 0.5 * sums["mel/multiscale_coarse"]
        return sums

    def export(self, folder: Path, model: nn.Module) -> None:
        """The codec with its predictors; speaker classifier and discriminator stay behind."""
        assert isinstance(model, PaperModel)
        config = {"paper_codec": to_dict(model.codec.config), "training": {"program": __name__}}
        save_checkpoint(folder, model.codec.state_dict(), config)
