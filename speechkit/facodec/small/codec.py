"""FACodec: a wave as timbre, prosody, content and detail, and back (NS3 §3.2).

Shapes: B batch, T samples, G mel frames (100/s), F code frames (50/s), K codebooks,
D channels, M mel bands, V phone classes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechkit.core.checkpoint import Checkpoint, build_and_load, load_checkpoint
from speechkit.core.config import from_dict
from speechkit.core.errors import CheckpointError
from speechkit.core.mel import LogMel
from speechkit.core.results import Codes
from speechkit.core.timebase import frame_count
from speechkit.facodec.codec import check_factors
from speechkit.facodec.convnext import ConvNeXtStack
from speechkit.facodec.lengths import held, kept, lengths_of, padded
from speechkit.facodec.predictors import FramePredictor
from speechkit.facodec.quantizer import Quantized, ResidualVectorQuantizer
from speechkit.facodec.small.base import Acoustics, SmallCodec, told
from speechkit.facodec.small.config import FACodecConfig
from speechkit.facodec.small.features import (
    TIMBRE_PITCH_SCALE,
    active_mean,
    pair_frames,
    pitch_hz,
    prepare,
    scale_mel,
    unpair_frames,
)
from speechkit.facodec.small.source import Excitation, joined
from speechkit.facodec.small.spectrum import Missed, missed
from speechkit.facodec.small.vocoder import build_vocoder


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """A batch as the encoders read it."""

    mel_BMG: Tensor
    """Log-mel at the codec's level."""

    contour_BG: Tensor
    """Normalised pitch contour."""

    voiced_BG: Tensor
    """Voicing, 0 or 1."""

    median_B: Tensor
    """Log median pitch over the reference pitch."""

    lengths_B: Tensor | None = None
    """Mel frames of each item; None where all fill the batch."""

    def keep(self) -> Tensor | None:
        """`keep_BF1`: True at the code frames of an item; None where all have all."""
        if self.lengths_B is None:
            return None
        return kept(self.lengths_B // 2, self.mel_BMG.shape[-1] // 2)[..., None]

    def mean_mel(self) -> Tensor:
        """`active_mean` of each item."""
        if self.lengths_B is None:
            return active_mean(self.mel_BMG)
        items = zip(self.mel_BMG, self.lengths_B.tolist(), strict=True)
        return torch.cat([active_mean(mel_MG[None, :, :frames]) for mel_MG, frames in items])


@dataclass(frozen=True, kw_only=True)
class ProsodyPrediction:
    """What the prosody codes alone say."""

    contour_BG: Tensor
    """Normalised pitch contour."""

    voiced_logit_BG: Tensor
    """Log odds of voicing."""

    energy_BG: Tensor
    """Scaled frame energy."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The three quantised parts of a batch."""

    prosody: Quantized
    content: Quantized
    detail: Quantized

    def codes(self) -> Tensor:
        """`codes_BKF` of all codebooks: prosody, content, detail."""
        parts = (self.prosody, self.content, self.detail)
        return torch.cat([part.codes_BKF for part in parts], dim=1)


class TimbreEncoder(nn.Module):
    """One vector a recording: attentive statistics of hidden frames plus the mean spectrum.

    Okabe et al. 2018, "Attentive statistics pooling". The last element of the vector is the
    measured median pitch and is appended by the codec, not learnt here.
    """

    def __init__(self, n_mels: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.stack = ConvNeXtStack(2 * n_mels, channels, blocks)
        self.attention = nn.Sequential(nn.Linear(channels, 64), nn.Tanh(), nn.Linear(64, channels))
        self.out = nn.Linear(2 * channels + n_mels, channels - 1)
        self.norm = nn.LayerNorm(channels - 1)

    def forward(self, mel_BMG: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """`timbre_BD` without its last element, [B, channels − 1]; `lengths_B` in mel frames."""
        scaled = scale_mel(mel_BMG)
        if lengths_B is None:
            return self.pool(self.stack(pair_frames(scaled)).float(), scaled)
        keep_BF1 = kept(lengths_B // 2, scaled.shape[-1] // 2)[..., None]
        hidden_BFD = self.stack(pair_frames(scaled), None, keep_BF1).float()
        items = zip(hidden_BFD, scaled, lengths_B.tolist(), strict=True)
        return torch.cat([self.pool(h[None, : n // 2], mel[None, :, :n]) for h, mel, n in items])

    def pool(self, h_BFD: Tensor, scaled: Tensor) -> Tensor:
        """The vector of a recording from its hidden frames and its scaled log-mel."""
        weight = torch.softmax(self.attention(h_BFD).float(), dim=1)
        mean = (weight * h_BFD).sum(1)
        variance = (weight * (h_BFD - mean[:, None]).pow(2)).sum(1)
        mean_mel = active_mean(scaled)[..., 0]
        pooled = torch.cat([mean, torch.sqrt(variance + 1e-6), mean_mel], dim=-1)
        timbre: Tensor = self.norm(self.out(pooled))
        return timbre


class PhoneHints(nn.Module):
    """What the decoder is told of the phones: a vector a class, none where nobody knows.

    Codes that a generator drew are wrong in part; the text it spoke from is not.
    """

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.of_class = nn.Embedding(classes, channels)
        nn.init.zeros_(self.of_class.weight)

    def forward(self, phone_BF: Tensor) -> Tensor:
        """Vectors `[B, F, D]` of phone classes, zero where the class is negative: not known."""
        vectors_BFD: Tensor = self.of_class(phone_BF.clamp_min(0))
        return vectors_BFD * (phone_BF >= 0)[..., None]


class FACodec(SmallCodec, nn.Module):
    """The codec: `encode` a wave into `Codes` and a timbre vector, `decode` them again."""

    def __init__(self, config: FACodecConfig) -> None:
        super().__init__()
        self.config = config
        mel, quant, width = config.mel, config.quantizer, config.channels
        self.mel = LogMel(mel)
        self.encoder = ConvNeXtStack(2 * mel.n_mels, width, config.encoder_blocks)
        self.prosody_encoder = ConvNeXtStack(6, config.prosody_channels, config.prosody_blocks)
        self.timbre_encoder = TimbreEncoder(
            mel.n_mels, config.timbre_channels, config.timbre_blocks
        )

        def codebooks(inputs: int, count: int) -> ResidualVectorQuantizer:
            return ResidualVectorQuantizer(
                inputs, width, count, quant.codebook_size, quant.code_channels
            )

        self.prosody_codebooks = codebooks(config.prosody_channels, quant.prosody_codebooks)
        self.content_codebooks = codebooks(width, quant.content_codebooks)
        self.detail_codebooks = codebooks(width, quant.detail_codebooks)
        self.prosody_predictor = FramePredictor(width, config.prosody_channels, 6)
        self.phone_predictor = FramePredictor(
            width, config.prosody_channels, len(config.phone_symbols)
        )
        self.decoder = ConvNeXtStack(
            width, width, config.decoder_blocks, condition_channels=config.timbre_channels
        )
        hints = PhoneHints(len(config.phone_symbols), width) if config.told_phones else None
        self.told_phones: PhoneHints | None = hints
        self.to_mel = nn.Linear(width, 2 * mel.n_mels)
        self.vocoder = build_vocoder(config.vocoder, mel)

    def code_vectors(self) -> list[Tensor]:
        """The entries `[V, C]` of each codebook: prosody, content, detail."""
        parts = (self.prosody_codebooks, self.content_codebooks, self.detail_codebooks)
        return [level.codebook_VC.detach() for part in parts for level in part.quantizers()]

    def timbre(self, analysis: Analysis) -> Tensor:
        """`timbre_BD`: the learnt vector and, last, the measured median pitch."""
        return self.with_median(self.timbre_encoder(analysis.mel_BMG, analysis.lengths_B), analysis)

    def with_median(self, learnt_BD: Tensor, analysis: Analysis) -> Tensor:
        """`timbre_BD` of its learnt part and the measured median pitch."""
        return torch.cat([learnt_BD, analysis.median_B[:, None] / TIMBRE_PITCH_SCALE], dim=-1)

    def quantize(self, analysis: Analysis, mean_mel_BM1: Tensor | None = None) -> Parts:
        """The three parts; `mean_mel_BM1` is the mean spectrum taken out before content is read."""
        mean_mel = analysis.mean_mel() if mean_mel_BM1 is None else mean_mel_BM1
        keep_BF1 = analysis.keep()
        hidden = self.encoder(pair_frames((analysis.mel_BMG - mean_mel) / 2.0), None, keep_BF1)
        prosody = self.prosody_codebooks(
            self.prosody_encoder(self._prosody_input(analysis, mean_mel), None, keep_BF1)
        )
        content = self.content_codebooks(hidden)
        taken = (prosody.z_BFD + content.z_BFD).detach()
        return Parts(prosody=prosody, content=content, detail=self.detail_codebooks(hidden - taken))

    def _prosody_input(self, analysis: Analysis, mean_mel_BM1: Tensor) -> Tensor:
        stacked = torch.stack(
            [analysis.contour_BG, analysis.voiced_BG, self.energy(analysis, mean_mel_BM1)], dim=1
        )
        return pair_frames(stacked)

    def energy(self, analysis: Analysis, mean_mel_BM1: Tensor) -> Tensor:
        """Frame energy `energy_BG` relative to the recording's loud frames, about −2 … 0.5."""
        return (analysis.mel_BMG - mean_mel_BM1).mean(1) / 3.0

    def predict_prosody(self, z_prosody_BFD: Tensor) -> ProsodyPrediction:
        """Pitch contour, voicing and energy, predicted from the prosody part alone."""
        read = unpair_frames(self.prosody_predictor(z_prosody_BFD))
        return ProsodyPrediction(
            contour_BG=read[:, 0], voiced_logit_BG=read[:, 1], energy_BG=read[:, 2]
        )

    def decode_mel(
        self,
        z_BFD: Tensor,
        timbre_BD: Tensor,
        keep_BF1: Tensor | None = None,
        phone_BF: Tensor | None = None,
    ) -> Tensor:
        """Log-mel `mel_BMG` of summed parts in a timbre; frames where `keep_BF1` is 0 are not
        heard. `phone_BF` tells phone classes, negative where not known. The spectrum of the voice
        is not in it yet: see `finished`."""
        if self.told_phones is not None and phone_BF is not None:
            z_BFD = z_BFD + self.told_phones(phone_BF)
        own_BD = timbre_BD[:, -self.timbre_channels :]
        scaled = self.to_mel(self.decoder(z_BFD, own_BD, keep_BF1)).float()
        return unpair_frames(scaled) * 3.0 - 5.0

    def phone_logits(self, content_BKF: Tensor) -> Tensor:
        """Phone class logits `[B, F, V]` of content codes."""
        logits: Tensor = self.phone_predictor(self.content_codebooks.embed(content_BKF))
        return logits

    @torch.no_grad()
    def analyse(self, waves: Sequence[Tensor], f0s: Sequence[Tensor] | None = None) -> Analysis:
        """Features of waves, padded to whole code frames; `f0s` in Hz where already known."""
        level, hop = self.config.level_rms, self.config.hop_samples
        ready = [
            prepare(wave_T, None if f0s is None else f0s[n], level, hop)
            for n, wave_T in enumerate(waves)
        ]
        device = self.mel.window.device
        contours = [one.pitch.contour_G for one in ready]
        lengths_B = lengths_of(contours)
        return Analysis(
            mel_BMG=self.mel(padded([one.wave_T for one in ready]).to(device)),
            contour_BG=padded(contours).to(device),
            voiced_BG=padded([one.pitch.voiced_G for one in ready]).to(device),
            median_B=torch.tensor([one.pitch.median for one in ready], device=device),
            lengths_B=None if lengths_B is None else lengths_B.to(device),
        )

    def encode(self, wave_T: Tensor, f0_G: Tensor | None = None) -> tuple[Codes, Tensor]:
        """`(codes, timbre_D)` of a mono wave at `sample_rate_hz`."""
        return self.encode_batch([wave_T], None if f0_G is None else [f0_G])[0]

    @torch.no_grad()
    def encode_batch(
        self, waves: Sequence[Tensor], f0s: Sequence[Tensor] | None = None, *, whole: bool = True
    ) -> list[tuple[Codes, Tensor]]:
        """`(codes, timbre_D)` of each mono wave at `sample_rate_hz`."""
        if not waves:
            return []
        analysis = self.analyse(waves, f0s)
        parts, timbre_BD = self.quantize(analysis), self.timbre(analysis)
        if whole and self.config.voice_spectrum:
            timbre_BD = self.with_spectrum(timbre_BD, self.missed(analysis, parts, timbre_BD))
        found = []
        for wave_T, codes_KF, timbre_D in zip(waves, parts.codes(), timbre_BD, strict=True):
            frames = frame_count(len(wave_T), self.hop_samples)
            found.append((Codes.of(codes_KF[:, :frames], self.quantizer.counts), timbre_D))
        return found

    def summed(self, codes_BKF: Tensor) -> Tensor:
        """The vectors `z_BFD` that codes of all codebooks stand for."""
        books = (self.prosody_codebooks, self.content_codebooks, self.detail_codebooks)
        parts = torch.split(codes_BKF, list(self.quantizer.counts), dim=1)
        return torch.stack(
            [book.embed(part_BKF) for book, part_BKF in zip(books, parts, strict=True)]
        ).sum(0)

    def missed(self, analysis: Analysis, parts: Parts, timbre_BD: Tensor) -> Missed:
        """What the decoder misses of recordings, from their own codes in their own timbre."""
        z_BFD = parts.prosody.z_BFD + parts.content.z_BFD + parts.detail.z_BFD
        made_BMG = self.decode_mel(z_BFD, timbre_BD, analysis.keep())
        keep_BG = None
        if analysis.lengths_B is not None:
            keep_BG = kept(analysis.lengths_B, made_BMG.shape[-1])
        shapes = self.config.voice_shapes
        return missed(analysis.mel_BMG, made_BMG, analysis.voiced_BG, keep_BG, shapes=shapes)

    @staticmethod
    def with_spectrum(timbre_BD: Tensor, found: Missed) -> Tensor:
        """Timbre vectors that carry what the decoder misses of their voices before them."""
        return torch.cat([found.spectrum().to(timbre_BD.dtype), timbre_BD], dim=-1)

    @torch.no_grad()
    def decode_batch(
        self,
        codes: Sequence[Codes],
        timbre_BD: Tensor,
        rngs: Sequence[torch.Generator],
        *,
        without: Collection[str] = (),
    ) -> list[Tensor]:
        """`wave_T` of each item, the factors in `without` left out; see `Codec.decode_batch`."""
        if not codes:
            return []
        heard = self.acoustics_batch(codes, timbre_BD, without=without)
        waves = self.speak_batch(heard, [item.frames for item in codes], rngs)
        return [wave_T.clamp(-1, 1) for wave_T in waves]

    def speak_batch(
        self, heard: Acoustics, frames: Sequence[int], rngs: Sequence[torch.Generator]
    ) -> list[Tensor]:
        """The vocoder's `wave_T` of each item, which has so many code frames, not clipped."""
        driven = joined(
            [
                self.excite(f0_G[None, : 2 * count], voiced_G[None, : 2 * count], rng)
                for f0_G, voiced_G, count, rng in zip(
                    heard.f0_BG, heard.voiced_BG, frames, rngs, strict=True
                )
            ]
        )
        ends = [count * self.hop_samples for count in frames]
        waves_BT = self.speak(heard, driven)
        return [wave_T[:end] for wave_T, end in zip(waves_BT, ends, strict=True)]

    def acoustics(
        self, codes: Codes, timbre_D: Tensor, *, without: Collection[str] = ()
    ) -> Acoustics:
        """`acoustics_batch` of one item."""
        return self.acoustics_batch([codes], timbre_D[None], without=without)

    @torch.no_grad()
    def acoustics_batch(
        self, codes: Sequence[Codes], timbre_BD: Tensor, *, without: Collection[str] = ()
    ) -> Acoustics:
        """Log-mel, pitch and voicing of codes in a timbre: `decode_batch` before the vocoder.

        Without prosody, F0, voicing and loudness are predicted from a zero vector.
        """
        if without:
            check_factors(without)
        timbre_BD = timbre_BD.to(self.to_mel.weight)
        stacked = [item.stacked().to(timbre_BD.device) for item in codes]
        lengths_B, codes_BKF = lengths_of(stacked), padded(stacked)
        keep_BF1 = None
        if lengths_B is not None:
            keep_BF1 = kept(lengths_B, codes_BKF.shape[-1])[..., None]
        prosody_BKF, content_BKF, detail_BKF = torch.split(
            codes_BKF, list(self.quantizer.counts), dim=1
        )
        z_prosody = self.prosody_codebooks.embed(prosody_BKF)
        if "prosody" in without:
            z_prosody = torch.zeros_like(z_prosody)
        z_BFD = z_prosody
        if "content" not in without:
            z_BFD = z_BFD + self.content_codebooks.embed(content_BKF)
        if "detail" not in without:
            z_BFD = z_BFD + self.detail_codebooks.embed(detail_BKF)
        # Item by item: the phase sums up pitch over the whole length, and with it what a batch
        # rounds otherwise.
        pitches, voicings = [], []
        for n, item in enumerate(codes):
            own_1FD = self.prosody_codebooks.embed(prosody_BKF[n : n + 1, :, : item.frames])
            predicted = self.predict_prosody(own_1FD * float("prosody" not in without))
            median_B = timbre_BD[n : n + 1, -1] * TIMBRE_PITCH_SCALE
            pitches.append(pitch_hz(predicted.contour_BG, median_B)[0])
            voicings.append((predicted.voiced_logit_BG[0] > 0).to(pitches[-1].dtype))
        lengths_B = None if lengths_B is None else 2 * lengths_B
        phone_BF = None if "content" in without else told(codes).to(timbre_BD.device)
        voiced_BG = held(padded(voicings), lengths_B)
        mel_BMG = held(self.decode_mel(z_BFD, timbre_BD, keep_BF1, phone_BF), lengths_B)
        return Acoustics(
            mel_BMG=self.finished(mel_BMG, voiced_BG, timbre_BD),
            f0_BG=held(padded(pitches), lengths_B),
            voiced_BG=voiced_BG,
            lengths_B=lengths_B,
        )

    @torch.no_grad()
    def speak(self, heard: Acoustics, driven: Excitation) -> Tensor:
        """The vocoder's `wave_BT`."""
        wave_BT: Tensor = self.vocoder.speak(
            heard.mel_BMG, heard.f0_BG, heard.voiced_BG, driven, heard.lengths_B
        )
        return wave_BT


def build_codec(config: FACodecConfig) -> FACodec:
    """A codec with fresh weights."""
    return FACodec(config)


def load_codec(folder: str | Path) -> FACodec:
    """The codec of a folder with model.safetensors and config.json, ready for inference.

    Raises CheckpointError or ConfigError for a folder that does not hold one.
    """
    return codec_of(load_checkpoint(folder))


def codec_of(checkpoint: Checkpoint) -> FACodec:
    """The codec of a checkpoint that was read, ready for inference; errors as `load_codec` has."""
    config = codec_config(checkpoint.config)
    return build_and_load(lambda: build_codec(config), checkpoint.state).eval()


def codec_config(mapping: dict[str, Any]) -> FACodecConfig:
    """The codec's configuration from a checkpoint's config.json."""
    if not isinstance(mapping.get("codec"), dict):
        raise CheckpointError("This config.json is not a codec's: it has no part named codec.")
    return from_dict(FACodecConfig, mapping["codec"])
