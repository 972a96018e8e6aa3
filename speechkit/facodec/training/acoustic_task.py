"""Training task of everything but the vocoder: log-mel in, four factors, log-mel out.

Shapes: B batch, G mel frames, F code frames, M mel bands, D channels, V phone classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.config import to_dict
from speechkit.core.rng import generator
from speechkit.facodec.convnext import ConvNeXtBlock
from speechkit.facodec.predictors import (
    FramePredictor,
    SpeakerAdversary,
    SpeakerClassifier,
    reverse_gradient,
)
from speechkit.facodec.quantizer import VectorQuantizer, code_usage
from speechkit.facodec.small.codec import Analysis, FACodec, Parts, ProsodyPrediction
from speechkit.facodec.small.features import PITCH_SCALE, active_mean
from speechkit.facodec.training.analysis import analysis_of, references_of
from speechkit.facodec.training.segments import UNLABELLED, SegmentBatch, SegmentSampler
from speechkit.train.blocks import blocks_of
from speechkit.train.prefetch import to_device


@dataclass(frozen=True, kw_only=True)
class AcousticConfig:
    """What the codec is trained towards; loss names as in NS3 appendix B.1 where they exist."""

    batch_size: int = 24
    """Crops a step."""

    crop_frames: int = 100
    """Code frames (20 ms) of a crop."""

    reference_frames: int = 150
    """Code frames of the crop that timbre is read from."""

    detail_dropout: float = 0.3
    """Share of items that are decoded without their detail codes."""

    reversal: float = 0.3
    """Strength of the reversed gradients once ramped up."""

    reversal_ramp: tuple[int, int] = (500, 2000)
    """Steps between which the reversal grows from nothing to `reversal`."""

    seed_codebooks: bool = True
    """Fill the codebooks from the first batch; off where a trained codec is trained on."""

    restart_every_steps: int = 40
    """Steps between restarts of dead codes."""

    restart_until_step: int = 1_000_000
    """No restarts from this step on, so that the averaged weights settle."""

    mel: float = 1.0
    """Weight of the log-mel distance."""

    mel_change: float = 0.5
    """Weight of the distance of log-mel differences from frame to frame."""

    pitch: float = 2.0
    """Weight of the pitch contour read from prosody codes."""

    voicing: float = 0.5
    """Weight of voicing read from prosody codes."""

    energy: float = 1.0
    """Weight of the energy read from prosody codes."""

    phone: float = 0.3
    """Weight of the phones read from content codes."""

    speaker: float = 0.1
    """Weight of the speaker read from the timbre vector."""

    codebook: float = 1.0
    """Weight of the codebooks' pull towards the encoder."""

    commitment: float = 0.25
    """Weight of the encoder's pull towards the codebooks."""

    adversary: float = 0.3
    """Weight of each adversary's own loss; its reversed gradient is scaled by `reversal` too."""


class Supervision(nn.Module):
    """Predictors that only training needs: the speaker classifier and the adversaries."""

    running: Tensor

    def __init__(self, codec: FACodec) -> None:
        super().__init__()
        config = codec.config
        width, phones, speakers = config.channels, len(config.phone_symbols), config.speakers
        self.speaker = SpeakerClassifier(config.timbre_channels - 1, speakers)
        self.adversaries = nn.ModuleDict(
            {
                "prosody_phone": FramePredictor(width, 128, phones, blocks=1),
                "content_pitch": FramePredictor(width, 128, 2, blocks=1),
                "content_speaker": SpeakerAdversary(width, speakers),
                "detail_phone": FramePredictor(width, 128, phones, blocks=1),
                "detail_pitch": FramePredictor(width, 128, 2, blocks=1),
                "detail_speaker": SpeakerAdversary(width, speakers),
            }
        )
        self.names = tuple(self.adversaries)
        kinds = {"phone": math.log(phones), "pitch": 0.4, "speaker": math.log(speakers)}
        self.chance = {name: kinds[name.split("_")[1]] for name in self.names}
        self.register_buffer("running", torch.zeros(len(self.names)))

    def headroom(self, name: str) -> Tensor:
        """How far the adversary is below chance, 0 to 1: past chance there is nothing to gain."""
        # A copy, for what is remembered until the backward pass must not change it.
        last = self.running[self.names.index(name)].clone()
        if self.chance[name] <= 0:
            return torch.zeros_like(last)
        return (1 - last / self.chance[name]).clamp(0.0, 1.0)

    @torch.no_grad()
    def remember(self, name: str, loss: Tensor) -> None:
        """Update the running loss that `headroom` reads."""
        index = self.names.index(name)
        self.running[index] = 0.98 * self.running[index] + 0.02 * loss.detach()


class AcousticModel(nn.Module):
    """The codec and its training-only predictors, as one thing to optimise."""

    def __init__(self, codec: FACodec) -> None:
        super().__init__()
        self.codec = codec
        self.supervision = Supervision(codec)

    def codebooks(self) -> list[VectorQuantizer]:
        """All codebooks, in the order prosody, content, detail."""
        parts = (
            self.codec.prosody_codebooks,
            self.codec.content_codebooks,
            self.codec.detail_codebooks,
        )
        return [codebook for part in parts for codebook in part.quantizers()]

    def get_extra_state(self) -> Tensor:
        """Use of the entries since the last restart: part of the run, not of the codec."""
        return torch.stack([codebook.counts_V for codebook in self.codebooks()])

    def set_extra_state(self, state: Tensor) -> None:
        """Take up the counts of an interrupted run."""
        for codebook, counts_V in zip(self.codebooks(), state, strict=True):
            codebook.counts_V.copy_(counts_V)


class AcousticTask:
    """Trains encoder, codebooks, timbre and decoder on log-mel, without a wave."""

    def __init__(
        self,
        codec: FACodec,
        train: SegmentSampler,
        held_out: SegmentSampler,
        config: AcousticConfig,
    ) -> None:
        self.config, self.train, self.held_out = config, train, held_out
        self._restarted = -1
        self.model: AcousticModel = AcousticModel(codec)
        codec.vocoder.requires_grad_(False)
        self.blocks = blocks_of(self.model, ConvNeXtBlock)
        names = self.model.supervision.names
        self.weights: Mapping[str, float] = {
            "mel/l1": config.mel,
            "mel/change": config.mel_change,
            "prosody/pitch": config.pitch,
            "prosody/voicing": config.voicing,
            "prosody/energy": config.energy,
            "content/phone": config.phone,
            "timbre/speaker": config.speaker,
            "vq/codebook": config.codebook,
            "vq/commitment": config.commitment,
            **{f"adversary/{name}": config.adversary for name in names},
        }

    def batch(self, rng: torch.Generator, number: int = 0) -> SegmentBatch:
        """Crops with labels."""
        return self.train.draw(self.config.batch_size, rng)

    def losses(self, batch: SegmentBatch, rng: torch.Generator, step: int) -> dict[str, Tensor]:
        """All losses of one step; restarts dead codes on the way."""
        codec, config = self.model.codec, self.config
        # Once a step, however many batches are accumulated: by the first, as among processes.
        due = step % config.restart_every_steps == 0 and step != self._restarted
        if codec.training and due:
            self._restarted = step
            self._restart(batch, rng, step)
        with torch.autocast(batch.wave_BT.device.type, enabled=False):
            analysis = analysis_of(codec, batch)
            references = references_of(codec, batch)
            mean_mel = active_mean(torch.cat([analysis.mel_BMG, references.mel_BMG], dim=-1))
        parts = codec.quantize(analysis, mean_mel)
        timbre_BD = codec.timbre(references)
        keep_B11 = (
            torch.rand(len(timbre_BD), 1, 1, generator=rng, device=rng.device)
            >= config.detail_dropout
        )
        z = parts.prosody.z_BFD + parts.content.z_BFD + parts.detail.z_BFD * keep_B11
        mel_BMG = codec.decode_mel(z, timbre_BD)
        predicted = codec.predict_prosody(parts.prosody.z_BFD)
        losses = mel_losses(mel_BMG, analysis.mel_BMG)
        losses |= prosody_losses(predicted, analysis, codec.energy(analysis, mean_mel))
        logits = codec.phone_predictor(parts.content.z_BFD)
        losses["content/phone"] = phone_loss(logits, batch.phone_BF)
        losses["timbre/speaker"] = self.model.supervision.speaker(
            timbre_BD[:, :-1], batch.speaker_B
        )
        for key in ("codebook", "commitment"):
            values = [getattr(part, key) for part in vars(parts).values()]
            losses[f"vq/{key}"] = torch.stack(values).mean()
        return losses | self._adversaries(parts, batch, step)

    def _adversaries(self, parts: Parts, batch: SegmentBatch, step: int) -> dict[str, Tensor]:
        supervision, (first, last) = self.model.supervision, self.config.reversal_ramp
        ramp = min(1.0, max(0.0, (step - first) / max(1, last - first)))
        losses = {}
        for name, predictor in supervision.adversaries.items():
            part, kind = name.split("_")
            strength = self.config.reversal * ramp * supervision.headroom(name)
            read = predictor(reverse_gradient(vars(parts)[part].z_BFD, strength, bound=1.0))
            if kind == "phone":
                loss = phone_loss(read, batch.phone_BF)
            elif kind == "pitch":
                loss = contour_loss(read.flatten(1), batch.contour_BG, batch.voiced_BG)
            else:
                loss = nn.functional.cross_entropy(read, batch.speaker_B)
            supervision.remember(name, loss)
            losses[f"adversary/{name}"] = loss
        return losses

    @torch.no_grad()
    def _restart(self, batch: SegmentBatch, rng: torch.Generator, step: int) -> None:
        if step >= self.config.restart_until_step or (step == 0 and not self.config.seed_codebooks):
            return
        draws = torch.Generator().manual_seed(step)
        for number, codebook in enumerate(self.model.codebooks()):
            # Entries are re-seeded from this batch; at first from what earlier codebooks leave of
            # it.
            if step == 0 or number == 0:
                self.model.codec.quantize(analysis_of(self.model.codec, batch))
            codebook.restart_unused(draws, share=1e9 if step == 0 else 0.1)
            if dist.is_initialized():
                dist.broadcast(codebook.codebook_VC.data, src=0)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Held-out distances with and without detail codes, read-outs and code use."""
        codec, rng = self.model.codec, generator(0)
        sums: dict[str, float] = {}
        codes = []
        rounds = 6
        for _ in range(rounds):
            batch = to_device(self.held_out.draw(16, rng), codec.mel.window.device)
            analysis = analysis_of(codec, batch)
            references = references_of(codec, batch)
            mean_mel = active_mean(torch.cat([analysis.mel_BMG, references.mel_BMG], dim=-1))
            parts = codec.quantize(analysis, mean_mel)
            timbre = codec.timbre(references)
            coarse = parts.prosody.z_BFD + parts.content.z_BFD
            figures = held_out_figures(codec, batch, parts, analysis)
            for name, z in (("mel/l1", coarse + parts.detail.z_BFD), ("mel/l1_coarse", coarse)):
                distance = (codec.decode_mel(z, timbre) - analysis.mel_BMG).abs().mean()
                figures[name] = float(distance)
            for key, value in figures.items():
                sums[key] = sums.get(key, 0.0) + value / rounds
            codes.append(torch.cat([p.codes_BKF for p in vars(parts).values()], dim=1))
        stacked_KN = torch.cat(codes).transpose(0, 1).flatten(1)
        for k, use in enumerate(code_usage(stacked_KN, codec.config.quantizer.codebook_size)):
            sums[f"perplexity/{k}"] = use["perplexity"]
        sums["score"] = -sums["mel/l1"] - 0.5 * sums["mel/l1_coarse"]
        return sums

    def export(self, folder: Path, model: nn.Module) -> None:
        """The codec alone; the training-only predictors stay behind."""
        assert isinstance(model, AcousticModel)
        config = {"codec": to_dict(model.codec.config), "training": {"program": __name__}}
        save_checkpoint(folder, model.codec.state_dict(), config)


def mel_losses(mel_BMG: Tensor, target_BMG: Tensor) -> dict[str, Tensor]:
    """Distances of log-mel frames and of their changes over time."""
    change = torch.diff(mel_BMG, dim=-1) - torch.diff(target_BMG, dim=-1)
    return {
        "mel/l1": (mel_BMG - target_BMG).abs().mean(),
        "mel/change": change.abs().mean(),
    }


def contour_loss(contour_BG: Tensor, target_BG: Tensor, voiced_BG: Tensor) -> Tensor:
    """Smooth L1 between pitch contours, over voiced frames."""
    distance = nn.functional.smooth_l1_loss(contour_BG, target_BG, reduction="none", beta=0.2)
    return (distance * voiced_BG).sum() / voiced_BG.sum().clamp_min(1)


def prosody_losses(
    predicted: ProsodyPrediction, analysis: Analysis, energy_BG: Tensor
) -> dict[str, Tensor]:
    """What the prosody codes must tell: contour, voicing, energy."""
    return {
        "prosody/pitch": contour_loss(
            predicted.contour_BG, analysis.contour_BG, analysis.voiced_BG
        ),
        "prosody/voicing": nn.functional.binary_cross_entropy_with_logits(
            predicted.voiced_logit_BG, analysis.voiced_BG
        ),
        "prosody/energy": (predicted.energy_BG - energy_BG).abs().mean(),
    }


def phone_loss(logits_BFV: Tensor, phone_BF: Tensor) -> Tensor:
    """Cross-entropy over labelled frames; zero when the batch has none."""
    total = nn.functional.cross_entropy(
        logits_BFV.flatten(0, 1), phone_BF.flatten(), ignore_index=UNLABELLED, reduction="sum"
    )
    return total / (phone_BF != UNLABELLED).sum().clamp_min(1)


def held_out_figures(
    codec: FACodec, batch: SegmentBatch, parts: Parts, analysis: Analysis
) -> dict[str, float]:
    """Pitch error in cents, voicing error and phone accuracy of a batch's codes."""
    predicted = codec.predict_prosody(parts.prosody.z_BFD)
    cents = (predicted.contour_BG - batch.contour_BG).abs() * PITCH_SCALE * 1200 / math.log(2)
    voiced = batch.voiced_BG > 0
    labelled = batch.phone_BF != UNLABELLED
    phone_BF = codec.phone_predictor(parts.content.z_BFD).argmax(-1)
    return {
        "pitch/cents": float(cents[voiced].mean()),
        "pitch/voicing_error": float(((predicted.voiced_logit_BG > 0) != voiced).float().mean()),
        "phone/accuracy": float(
            (phone_BF == batch.phone_BF)[labelled].float().sum() / labelled.sum().clamp_min(1)
        ),
    }
