"""FACodec: a wave as timbre, prosody, content and detail, and back (NS3 §3.2).

Shapes: B batch, T samples, G mel frames (100/s), F code frames (50/s), K codebooks,
D channels, M mel bands, V phone classes.
"""

from __future__ import annotations

from collections.abc import Collection
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
from speechkit.facodec.codec import check_factors
from speechkit.facodec.convnext import ConvNeXtStack
from speechkit.facodec.predictors import FramePredictor
from speechkit.facodec.quantizer import Quantized, QuantizerConfig, ResidualVectorQuantizer
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


@dataclass(frozen=True, kw_only=True)
class Acoustics:
    """What the vocoder speaks from."""

    mel_BMG: Tensor
    """Log-mel at the codec's level."""

    f0_BG: Tensor
    """Pitch in Hz, positive also where unvoiced."""

    voiced_BG: Tensor
    """Voicing, 0 or 1."""


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

    def forward(self, mel_BMG: Tensor) -> Tensor:
        """`timbre_BD` without its last element, [B, channels − 1]."""
        scaled = scale_mel(mel_BMG)
        return self.pool(self.stack(pair_frames(scaled)).float(), scaled)

    def pool(self, h_BFD: Tensor, scaled: Tensor) -> Tensor:
        """The vector of a recording from its hidden frames and its scaled log-mel."""
        weight = torch.softmax(self.attention(h_BFD).float(), dim=1)
        mean = (weight * h_BFD).sum(1)
        variance = (weight * (h_BFD - mean[:, None]).pow(2)).sum(1)
        mean_mel = active_mean(scaled)[..., 0]
        pooled = torch.cat([mean, torch.sqrt(variance + 1e-6), mean_mel], dim=-1)
        timbre: Tensor = self.norm(self.out(pooled))
        return timbre


class FACodec(nn.Module):
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
        self.to_mel = nn.Linear(width, 2 * mel.n_mels)
        self.vocoder = build_vocoder(config.vocoder, mel)

    @property
    def sample_rate_hz(self) -> int:
        """Samples a second."""
        return self.config.mel.sample_rate_hz

    @property
    def hop_samples(self) -> int:
        """Samples a code frame."""
        return self.config.hop_samples

    @property
    def quantizer(self) -> QuantizerConfig:
        """Its codebooks."""
        return self.config.quantizer

    @property
    def timbre_channels(self) -> int:
        """Width of the timbre vector."""
        return self.config.timbre_channels

    @property
    def phone_symbols(self) -> tuple[str, ...]:
        """What the classes of `phone_logits` stand for."""
        return self.config.phone_symbols

    def code_vectors(self) -> list[Tensor]:
        """The entries `[V, C]` of each codebook: prosody, content, detail."""
        parts = (self.prosody_codebooks, self.content_codebooks, self.detail_codebooks)
        return [level.codebook_VC.detach() for part in parts for level in part.quantizers()]

    def timbre(self, analysis: Analysis) -> Tensor:
        """`timbre_BD`: the learnt vector and, last, the measured median pitch."""
        return self.with_median(self.timbre_encoder(analysis.mel_BMG), analysis)

    def with_median(self, learnt_BD: Tensor, analysis: Analysis) -> Tensor:
        """`timbre_BD` of its learnt part and the measured median pitch."""
        return torch.cat([learnt_BD, analysis.median_B[:, None] / TIMBRE_PITCH_SCALE], dim=-1)

    def quantize(self, analysis: Analysis, mean_mel_BM1: Tensor | None = None) -> Parts:
        """The three parts; `mean_mel_BM1` is the mean spectrum taken out before content is read."""
        mean_mel = active_mean(analysis.mel_BMG) if mean_mel_BM1 is None else mean_mel_BM1
        hidden = self.encoder(pair_frames((analysis.mel_BMG - mean_mel) / 2.0))
        prosody = self.prosody_codebooks(
            self.prosody_encoder(self._prosody_input(analysis, mean_mel))
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

    def decode_mel(self, z_BFD: Tensor, timbre_BD: Tensor) -> Tensor:
        """Log-mel `mel_BMG` of summed parts in a timbre."""
        scaled = self.to_mel(self.decoder(z_BFD, timbre_BD)).float()
        return unpair_frames(scaled) * 3.0 - 5.0

    def phone_logits(self, content_BKF: Tensor) -> Tensor:
        """Phone class logits `[B, F, V]` of content codes."""
        logits: Tensor = self.phone_predictor(self.content_codebooks.embed(content_BKF))
        return logits

    @torch.no_grad()
    def analyse(self, wave_T: Tensor, f0_G: Tensor | None = None) -> Analysis:
        """Features of a wave, padded to whole code frames; `f0_G` in Hz where already known."""
        prepared = prepare(wave_T, f0_G, self.config.level_rms, self.config.hop_samples)
        mel_BMG, pitch = self.mel(prepared.wave_T[None].to(self.mel.window.device)), prepared.pitch
        device = mel_BMG.device
        return Analysis(
            mel_BMG=mel_BMG,
            contour_BG=pitch.contour_G[None].to(device),
            voiced_BG=pitch.voiced_G[None].to(device),
            median_B=torch.tensor([pitch.median], device=device),
        )

    @torch.no_grad()
    def encode(self, wave_T: Tensor, f0_G: Tensor | None = None) -> tuple[Codes, Tensor]:
        """`(codes, timbre_D)` of a mono wave at `sample_rate_hz`."""
        analysis = self.analyse(wave_T, f0_G)
        parts = self.quantize(analysis)
        codes = Codes(
            prosody_KF=parts.prosody.codes_BKF[0],
            content_KF=parts.content.codes_BKF[0],
            detail_KF=parts.detail.codes_BKF[0],
        )
        return codes, self.timbre(analysis)[0]

    @torch.no_grad()
    def decode(
        self,
        codes: Codes,
        timbre_D: Tensor,
        rng: torch.Generator,
        *,
        without: Collection[str] = (),
    ) -> Tensor:
        """`wave_T` of codes in a timbre, the factors in `without` left out; see `Codec.decode`."""
        heard = self.acoustics(codes, timbre_D, without=without)
        wave_T: Tensor = self.vocoder(heard.mel_BMG, heard.f0_BG, heard.voiced_BG, rng)[0]
        return wave_T.clamp(-1, 1)

    @torch.no_grad()
    def acoustics(
        self, codes: Codes, timbre_D: Tensor, *, without: Collection[str] = ()
    ) -> Acoustics:
        """Log-mel, pitch and voicing of codes in a timbre: `decode` before the vocoder.

        Without prosody, F0, voicing and loudness are predicted from a zero vector.
        """
        if without:
            check_factors(without)
        codes, timbre_D = codes.to(self.to_mel.weight.device), timbre_D.to(self.to_mel.weight)
        z_prosody = self.prosody_codebooks.embed(codes.prosody_KF[None])
        if "prosody" in without:
            z_prosody = torch.zeros_like(z_prosody)
        z_BFD = z_prosody
        if "content" not in without:
            z_BFD = z_BFD + self.content_codebooks.embed(codes.content_KF[None])
        if "detail" not in without:
            z_BFD = z_BFD + self.detail_codebooks.embed(codes.detail_KF[None])
        timbre_BD = timbre_D[None]
        mel_BMG = self.decode_mel(z_BFD, timbre_BD)
        predicted = self.predict_prosody(z_prosody)
        f0_BG = pitch_hz(predicted.contour_BG, timbre_BD[:, -1] * TIMBRE_PITCH_SCALE)
        voiced_BG = (predicted.voiced_logit_BG > 0).to(f0_BG.dtype)
        return Acoustics(mel_BMG=mel_BMG, f0_BG=f0_BG, voiced_BG=voiced_BG)


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
