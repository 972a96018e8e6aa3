"""Training of the small codec's decoder alone: sharper log-mel, and voices that come out as asked.

Starts from a codec whose codes and timbre are settled; encoders, codebooks, timbre and vocoder stay
as they are, so codes, voices and generators made before keep their meaning.

Two things are added to the distances the decoder was trained with. A patch discriminator scores
its log-mel, which distances alone leave blurred. And codes are also decoded in the timbre of
another recording, where no target exists: the codec's own timbre encoder must find that timbre in
the result (Casanova et al. 2022, "YourTTS", §3.2, speaker consistency loss) and its content
codebooks must read the same content as before (as in cycle-consistent voice conversion, Kaneko &
Kameoka 2018). Frozen teachers hear decoded and converted speech as waves: a speaker verifier must
hear the speaker that was asked for, a phone recogniser the phones of the recording (`teachers`).

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
from speechkit.core.errors import ConfigError
from speechkit.core.rng import generator
from speechkit.facodec.small.codec import FACodec, Parts
from speechkit.facodec.small.features import (
    TIMBRE_PITCH_SCALE,
    active_mean,
    pair_frames,
    pitch_hz,
)
from speechkit.facodec.training.acoustic_task import mel_losses
from speechkit.facodec.training.adversarial import AdversarialSchedule, adversarial_losses
from speechkit.facodec.training.analysis import analysis_of, references_of, voice_of
from speechkit.facodec.training.discriminators import PatchConfig, build_patch_discriminator
from speechkit.facodec.training.perturb import substitute_codes
from speechkit.facodec.training.segments import SegmentBatch, SegmentSampler
from speechkit.facodec.training.teachers import Teachers, phone_distance, speaker_distance
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

    discriminator_lr_scale: float = 1.0
    """Its learning rate over the decoder's. It has to learn from nothing what tells the two apart
    while the decoder waits (two time-scales, Heusel et al. 2017, "TTUR")."""

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

    speaker: float = 0.0
    """Weight of the speaker that the teacher hears in decoded speech; above 0, teachers listen."""

    conversion_speaker: float = 0.0
    """Weight of the same in converted speech."""

    phones: float = 0.0
    """Weight of the phones that the teacher hears in decoded and in converted speech."""

    taught_items: int = 16
    """Items of a batch that the teachers listen to, decoded and converted."""

    substituted: float = 0.0
    """Share of the codes that are replaced by any, so that a generator's mistakes are forgiven."""

    other_reference: float = 0.0
    """Share of the items whose timbre is read from another clip of the speaker."""

    resampled: float = 0.0
    """Share of the items that are played a little faster or slower: new voices."""

    redrawn: float = 0.0
    """Share of the items with codes that a generator drew, see `speechkit train redraw`."""

    told_phones: float = 0.0
    """Share of the items whose phones the decoder is told; those with drawn codes always are."""

    with_text: bool = False
    """Train on clips with a text alone: those of the voices that a generator learns from."""

    def __post_init__(self) -> None:
        shares = dict.fromkeys(
            (
                "detail_dropout",
                "substituted",
                "other_reference",
                "resampled",
                "redrawn",
                "told_phones",
            ),
            (0, 1),
        )
        require_range(
            self, batch_size=(2, 65_536), crop_frames=(8, 10**6), taught_items=(1, 65_536), **shares
        )

    @property
    def taught(self) -> bool:
        """Whether teachers are needed."""
        return max(self.speaker, self.conversion_speaker, self.phones) > 0


class DecoderModel(nn.Module):
    """The codec and the discriminator of its log-mel, as one thing to optimise."""

    def __init__(self, codec: FACodec, config: DecoderConfig) -> None:
        super().__init__()
        self.codec = codec.requires_grad_(False).eval()
        codec.decoder.requires_grad_(True)
        codec.to_mel.requires_grad_(True)
        if codec.told_phones is not None:
            codec.told_phones.requires_grad_(True)
        elif config.told_phones:
            raise ConfigError(
                "This codec's decoder cannot be told phones: set codec.told_phones = true too, and "
                "it grows the part for it."
            )
        self.discriminator = build_patch_discriminator(config.patch)


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What the frozen part of the codec makes of a batch."""

    mel_BMG: Tensor
    """Log-mel of the recordings."""

    parts: Parts
    """The quantised parts."""

    prosody_BFD: Tensor
    """Vectors of the prosody codes, mistakes and all."""

    coarse_BFD: Tensor
    """The same of prosody and content together."""

    detail_BFD: Tensor
    """The same of the detail codes."""

    timbre_BD: Tensor
    """Timbre, read from other crops of the same recordings or speakers, with the spectrum of the
    voice before it where the codec has it."""

    voiced_BG: Tensor
    """Voicing of the recordings."""


class DecoderTask:
    """Trains `codec.decoder` and `codec.to_mel`.

    It gives no score: distances, which could rank the exports, are what adversarial training
    gives away for sharpness. The export to use is the last one.
    """

    def __init__(
        self,
        codec: FACodec,
        train: SegmentSampler,
        held_out: SegmentSampler,
        config: DecoderConfig,
        teachers: Teachers | None = None,
    ) -> None:
        """`teachers` are needed where `config.taught`."""
        self.config, self.train, self.held_out = config, train, held_out
        self.teachers = teachers if config.taught else None
        self.model: DecoderModel = DecoderModel(codec, config)
        self.weights: dict[str, float] = {
            "mel/l1": config.mel,
            "mel/change": 0.5 * config.mel,
            "patch/discriminator": 1.0,
            "patch/generator": config.patch_generator,
            "patch/features": config.patch_features,
            "conversion/discriminator": 1.0,
            "conversion/generator": config.patch_generator,
        }
        if max(config.timbre, config.content) > 0:
            self.weights |= {
                "conversion/timbre": config.timbre,
                "conversion/content": config.content,
            }
        if config.taught:
            self.weights |= {
                "decoded/speaker": config.speaker,
                "decoded/phones": config.phones,
                "conversion/speaker": config.conversion_speaker,
                "conversion/phones": config.phones,
            }

    def lr_scale(self, name: str) -> float:
        """The discriminator's parameters have a learning rate of their own."""
        ours = name.startswith("discriminator.")
        return self.config.discriminator_lr_scale if ours else 1.0

    def batch(self, rng: torch.Generator, number: int = 0) -> SegmentBatch:
        """Crops with references for timbre."""
        return self.train.draw(self.config.batch_size, rng)

    @torch.no_grad()
    def settled(self, batch: SegmentBatch, rng: torch.Generator) -> Settled:
        """Codes and timbre of a batch, without gradients."""
        codec = self.model.codec
        with torch.autocast(batch.wave_BT.device.type, enabled=False):
            analysis = analysis_of(codec, batch)
            references = references_of(codec, batch)
            both_BMG = torch.cat([analysis.mel_BMG, references.mel_BMG], dim=-1)
            mean_mel_BM1 = active_mean(both_BMG)
            if self.teachers is not None:
                level_BM1 = batch.level_B[:, None, None].expand_as(mean_mel_BM1)
                known_BM1 = self.teachers.known_mean_mel(batch.clip_B, mean_mel_BM1 - level_BM1)
                mean_mel_BM1 = known_BM1 + level_BM1
        parts = codec.quantize(analysis, mean_mel_BM1)
        found = (parts.prosody.codes_BKF, parts.content.codes_BKF, parts.detail.codes_BKF)
        codes_BKF, size = torch.cat(found, dim=1), codec.quantizer.codebook_size
        if batch.redrawn_BKF.shape[1]:
            codes_BKF = torch.where(batch.redrawn_BKF < 0, codes_BKF, batch.redrawn_BKF)
        codes_BKF = substitute_codes(codes_BKF, size, self.config.substituted, rng)
        books = (codec.prosody_codebooks, codec.content_codebooks, codec.detail_codebooks)
        prosody_BFD, content_BFD, detail_BFD = (
            codebooks.embed(part_BKF)
            for codebooks, part_BKF in zip(
                books, torch.split(codes_BKF, [part.shape[1] for part in found], dim=1), strict=True
            )
        )
        return Settled(
            mel_BMG=analysis.mel_BMG,
            parts=parts,
            prosody_BFD=prosody_BFD,
            coarse_BFD=prosody_BFD + content_BFD,
            detail_BFD=detail_BFD,
            timbre_BD=voice_of(codec, references),
            voiced_BG=analysis.voiced_BG,
        )

    def losses(self, batch: SegmentBatch, rng: torch.Generator, step: int) -> dict[str, Tensor]:
        """Distances to the recordings, adversarial losses, and those of encoders and teachers."""
        known, schedule = self.settled(batch, rng), self.config.schedule
        drawn_B11 = torch.rand(len(known.mel_BMG), 1, 1, generator=rng, device=rng.device)
        redrawn_B11 = (batch.redrawn_BKF >= 0).flatten(1).any(1)[:, None, None]
        keep_B11 = (drawn_B11 >= self.config.detail_dropout) | redrawn_B11
        told_BF = self._told(batch, redrawn_B11[:, 0, 0], rng)
        z_BFD = known.coarse_BFD + known.detail_BFD * keep_B11
        made_BMG = self._decoded(z_BFD, known, known.timbre_BD, told_BF)
        losses = mel_losses(made_BMG, known.mel_BMG)
        adversarial = adversarial_losses(
            self.model.discriminator, known.mel_BMG, made_BMG, schedule, step
        )
        losses |= adversarial.named("patch")
        other_BD = known.timbre_BD.roll(1, dims=0)
        converted_BMG = self._decoded(known.coarse_BFD, known, other_BD, told_BF)
        adversarial = adversarial_losses(
            self.model.discriminator, known.mel_BMG, converted_BMG, schedule, step
        )
        losses |= adversarial.named("conversion")
        if max(self.config.timbre, self.config.content) > 0:
            losses |= self._consistency(converted_BMG, known, other_BD)
        if self.teachers is not None:
            made = {
                "decoded": (made_BMG, known.timbre_BD, batch.clip_B),
                "conversion": (converted_BMG, other_BD, batch.clip_B.roll(1, dims=0)),
            }
            losses |= self._taught(self.teachers, batch, known, made, rng)
        return losses

    def _decoded(
        self, z_BFD: Tensor, known: Settled, timbre_BD: Tensor, told_BF: Tensor | None
    ) -> Tensor:
        """Log-mel in a voice, its spectrum included."""
        codec = self.model.codec
        mel_BMG = codec.decode_mel(z_BFD, timbre_BD, None, told_BF)
        return codec.equalised(mel_BMG, known.voiced_BG, timbre_BD)

    def _told(self, batch: SegmentBatch, redrawn_B: Tensor, rng: torch.Generator) -> Tensor | None:
        """Phone classes of the items that the decoder is told of, negative for the others."""
        if not self.config.told_phones:
            return None
        drawn_B = torch.rand(len(redrawn_B), generator=rng, device=rng.device)
        told_B = (drawn_B < self.config.told_phones) | redrawn_B
        return torch.where(told_B[:, None], batch.phone_BF, -1)

    def _taught(
        self,
        teachers: Teachers,
        batch: SegmentBatch,
        known: Settled,
        made: Mapping[str, tuple[Tensor, Tensor, Tensor]],
        rng: torch.Generator,
    ) -> dict[str, Tensor]:
        """What teachers hear in waves of `made`: log-mel, timbre and the timbre's clips."""
        teachers.to(batch.wave_BT.device)
        codec, some = self.model.codec, slice(self.config.taught_items)
        with torch.no_grad():
            wanted_BFC = teachers.phones(batch.wave_BT[some])
            predicted = codec.predict_prosody(known.prosody_BFD[some])
            voiced_BG = (predicted.voiced_logit_BG > 0).to(predicted.contour_BG.dtype)
        losses: dict[str, Tensor] = {}
        for name, (mel_BMG, timbre_BD, clip_B) in made.items():
            f0_BG = pitch_hz(predicted.contour_BG, timbre_BD[some, -1] * TIMBRE_PITCH_SCALE)
            wave_BT = codec.vocoder(mel_BMG[some], f0_BG, voiced_BG, rng).float()
            wanted_BD = teachers.known_speaker(clip_B[some])
            losses |= {
                f"{name}/speaker": speaker_distance(teachers.speaker(wave_BT), wanted_BD),
                f"{name}/phones": phone_distance(teachers.phones(wave_BT), wanted_BFC),
            }
        return losses

    def _consistency(self, mel_BMG: Tensor, known: Settled, timbre_BD: Tensor) -> dict[str, Tensor]:
        """How far timbre and content of converted speech are from the wanted ones, 0 to 2."""
        codec = self.model.codec
        made_timbre_BD = codec.timbre_encoder(mel_BMG)
        hidden_BFD = codec.encoder(pair_frames((mel_BMG - active_mean(mel_BMG)) / 2.0))
        content = codec.content_codebooks(hidden_BFD)
        learnt_BD = timbre_BD[:, -codec.timbre_channels : -1]
        alike_B = nn.functional.cosine_similarity(made_timbre_BD, learnt_BD, dim=-1)
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
