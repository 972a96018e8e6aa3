"""FACodec as published, V1 and V2: a wave as timbre, prosody, content and detail, and back.

Shapes: B batch, T samples, F frames, K codebooks, D channels, M mel bands, P phone classes.
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
from speechkit.core.errors import AudioError, CheckpointError
from speechkit.core.results import Codes
from speechkit.facodec.base import ConfiguredCodec
from speechkit.facodec.codec import FACTORS, check_factors
from speechkit.facodec.lengths import kept, lengths_of, padded
from speechkit.facodec.paper.config import PaperCodecConfig
from speechkit.facodec.paper.convolution import Encoder, Generator, encoded_frames
from speechkit.facodec.paper.predictors import Predictions, Predictors, Reversal
from speechkit.facodec.paper.prosody_mel import ProsodyMel
from speechkit.facodec.paper.quantizer import (
    PaperQuantized,
    PaperResidualQuantizer,
    PaperVectorQuantizer,
)
from speechkit.facodec.paper.transformer import ConditionalLayerNorm, TransformerEncoder

PLAIN_REVERSAL = Reversal()


@dataclass(frozen=True, kw_only=True)
class PaperParts:
    """The three quantised parts of a batch."""

    prosody: PaperQuantized
    content: PaperQuantized
    detail: PaperQuantized

    def all(self) -> tuple[PaperQuantized, PaperQuantized, PaperQuantized]:
        """In the order of the codebooks."""
        return self.prosody, self.content, self.detail

    def summed(self) -> Tensor:
        """`z_BDF`, their sum."""
        return self.prosody.z_BDF + self.content.z_BDF + self.detail.z_BDF

    def codes(self) -> Tensor:
        """`codes_BKF` of all codebooks: prosody, content, detail."""
        return torch.cat([part.codes_BKF for part in self.all()], dim=1)


@dataclass(frozen=True, kw_only=True)
class PaperOutput:
    """What a training step looks at."""

    wave_BT: Tensor
    """The wave again, −1 to 1, T padded to whole frames."""

    parts: PaperParts
    """Codes of the parts, `z_BDF` with straight-through gradients, and their losses by codebook."""

    quantizer_loss: Tensor
    """Codebook loss plus `config.commitment` times commitment, summed over the codebooks."""

    timbre_BD: Tensor
    """Timbre vectors."""

    predictions: Predictions
    """What the predictors read off the parts."""

    z_decoder_BDF: Tensor
    """What the generator got: prosody and content detached, detail where it was kept."""

    detail_keep_B: Tensor
    """True for the items whose detail part the generator got."""


class PaperCodec(ConfiguredCodec, nn.Module):
    """The codec: `encode` a wave into `Codes` and a timbre vector, `decode` them again."""

    config: PaperCodecConfig

    def __init__(self, config: PaperCodecConfig) -> None:
        super().__init__()
        self.config = config
        quant, width = config.quantizer, config.channels

        def codebooks(count: int) -> PaperResidualQuantizer:
            return PaperResidualQuantizer(width, count, quant.codebook_size, quant.code_channels)

        def transformer() -> TransformerEncoder:
            return TransformerEncoder(
                width, config.transformer, batch_index_position=config.batch_index_position
            )

        self.encoder = Encoder(config.encoder_channels, config.strides, width)
        self.prosody_codebooks = codebooks(quant.prosody_codebooks)
        self.content_codebooks = codebooks(quant.content_codebooks)
        self.detail_codebooks = codebooks(quant.detail_codebooks)
        self.generator = Generator(width, config.generator_channels, config.strides)
        self.timbre_encoder = transformer()
        self.timbre_norm = ConditionalLayerNorm(width, width)
        self.predictors = Predictors(config)
        v2 = config.version == "v2"
        self.prosody_mel = ProsodyMel(config.prosody_mel, config.prosody_bands) if v2 else None
        self.prosody_in = nn.Linear(config.prosody_bands, width) if v2 else None
        self.prosody_encoder = transformer() if v2 else None

    def code_vectors(self) -> list[Tensor]:
        """The entries `[V, C]` of each codebook: prosody, content, detail."""
        return [codebook.codebook_VC.detach() for codebook in self.codebooks()]

    def codebooks(self) -> list[PaperVectorQuantizer]:
        """All codebooks in the order of the codes: prosody, content, detail."""
        parts = (self.prosody_codebooks, self.content_codebooks, self.detail_codebooks)
        return [codebook for part in parts for codebook in part.quantizers()]

    def pad(self, wave_BT: Tensor) -> Tensor:
        """`wave_BT` with silence at its end up to whole frames."""
        return nn.functional.pad(wave_BT, (0, -wave_BT.shape[-1] % self.hop_samples))

    def forward(
        self,
        wave_BT: Tensor,
        rng: torch.Generator | None = None,
        *,
        prosody_wave_BT: Tensor | None = None,
        reversal: Reversal = PLAIN_REVERSAL,
        detail_keep_B: Tensor | None = None,
    ) -> PaperOutput:
        """One training step's read-outs; the losses on them are the caller's.

        `rng`, on the device of the wave, draws the dropout of the transformers and, unless
        `detail_keep_B` says it, which items keep their detail part; None drops nothing, which is
        what validation wants. Use `train()` mode and count the use of `codebooks()`. V2 reads
        prosody from `prosody_wave_BT`, the same speech in another pitch, where it is given.

        As in the public code, the generator gets prosody and content detached, so that the wave
        teaches the encoder through detail and timbre alone. `timbre_BD` is not detached. Every
        parameter has a gradient as soon as the loss has the wave, all of `predictions` and
        `quantizer_loss`, or `commitment_K` and `codebook_K` of the parts, in it.
        """
        wave_BT = self.pad(wave_BT)
        hidden_BDF = self.encoder(wave_BT)
        mel_BMF = None
        if self.prosody_mel is not None:
            mel_BMF = self.prosody_mel(
                wave_BT if prosody_wave_BT is None else self.pad(prosody_wave_BT)
            )
        parts = self.quantize(hidden_BDF, mel_BMF, rng)
        timbre_BD = self.timbre(hidden_BDF, rng)
        if detail_keep_B is None:
            detail_keep_B = self._draw_detail(len(wave_BT), wave_BT.device, rng)
        keep_B11 = detail_keep_B[:, None, None].to(parts.detail.z_BDF.dtype)
        known_BDF = parts.prosody.z_BDF.detach() + parts.content.z_BDF.detach()
        z_decoder_BDF = known_BDF + parts.detail.z_BDF * keep_B11
        losses = [
            (part.codebook_K + self.config.commitment * part.commitment_K).sum()
            for part in parts.all()
        ]
        return PaperOutput(
            wave_BT=self.generate(z_decoder_BDF, timbre_BD),
            parts=parts,
            quantizer_loss=torch.stack(losses).sum(),
            timbre_BD=timbre_BD,
            predictions=self.read(parts, z_decoder_BDF, reversal),
            z_decoder_BDF=z_decoder_BDF,
            detail_keep_B=detail_keep_B,
        )

    def _draw_detail(self, batch: int, device: torch.device, rng: torch.Generator | None) -> Tensor:
        if rng is None:
            return torch.ones(batch, dtype=torch.bool, device=device)
        draws_B = torch.rand(batch, generator=rng, device=device)
        return draws_B >= self.config.detail_dropout

    def quantize(
        self,
        hidden_BDF: Tensor,
        mel_BMF: Tensor | None = None,
        rng: torch.Generator | None = None,
        *,
        keep_BF: Tensor | None = None,
        each_alone: bool = False,
    ) -> PaperParts:
        """The three parts of the encoder's output; V2 takes prosody from `mel_BMF` instead.

        Prosody and content are read side by side, detail from what both leave over. `keep_BF`,
        where items are of unlike length, is True at their frames; `each_alone` as of
        `TransformerEncoder`.
        """
        prosody = self.prosody_codebooks(
            self._prosody_input(hidden_BDF, mel_BMF, rng, keep_BF, each_alone)
        )
        content = self.content_codebooks(hidden_BDF)
        taken_BDF = (prosody.z_BDF + content.z_BDF).detach()
        return PaperParts(
            prosody=prosody, content=content, detail=self.detail_codebooks(hidden_BDF - taken_BDF)
        )

    def _prosody_input(
        self,
        hidden_BDF: Tensor,
        mel_BMF: Tensor | None,
        rng: torch.Generator | None,
        keep_BF: Tensor | None,
        each_alone: bool,
    ) -> Tensor:
        if self.prosody_in is None or self.prosody_encoder is None:
            return hidden_BDF
        if mel_BMF is None:
            raise ValueError("V2 reads prosody from mel bands: give mel_BMF")
        read_BFD: Tensor = self.prosody_encoder(
            self.prosody_in(mel_BMF.transpose(1, 2)),
            keep_BF=keep_BF,
            rng=rng,
            each_alone=each_alone,
        )
        return read_BFD.transpose(1, 2)

    def timbre(
        self,
        hidden_BDF: Tensor,
        rng: torch.Generator | None = None,
        *,
        keep_BF: Tensor | None = None,
        each_alone: bool = False,
    ) -> Tensor:
        """`timbre_BD` of the encoder's output, before any codebook; the rest as of `quantize`."""
        read_BFD: Tensor = self.timbre_encoder(
            hidden_BDF.transpose(1, 2), keep_BF=keep_BF, rng=rng, each_alone=each_alone
        )
        if keep_BF is None:
            return read_BFD.mean(1)
        return (read_BFD * keep_BF[..., None]).sum(1) / keep_BF.sum(1, keepdim=True)

    def read(
        self, parts: PaperParts, z_decoder_BDF: Tensor, reversal: Reversal = PLAIN_REVERSAL
    ) -> Predictions:
        """What all predictors give."""
        predictions: Predictions = self.predictors(
            *(part.z_BDF for part in parts.all()), z_decoder_BDF, reversal
        )
        return predictions

    def embed(self, codes_BKF: Tensor, *, without: Collection[str] = ()) -> Tensor:
        """`z_BDF`, the sum of the parts of given codes but for those in `without`."""
        check_factors(without)
        codebooks = (self.prosody_codebooks, self.content_codebooks, self.detail_codebooks)
        parts_BKF = torch.split(codes_BKF, list(self.quantizer.counts), dim=1)
        z_BDF = torch.zeros((), device=codes_BKF.device)
        kept = [name not in without for name in FACTORS]
        for part, part_BKF, keep in zip(codebooks, parts_BKF, kept, strict=True):
            embedded_BDF: Tensor = part.embed(part_BKF)
            z_BDF = z_BDF + (embedded_BDF if keep else torch.zeros_like(embedded_BDF))
        return z_BDF

    def generate(self, z_BDF: Tensor, timbre_BD: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """`wave_BT` of summed parts in a timbre, T = hop · F; items have `lengths_B` frames."""
        conditioned_BFD = self.timbre_norm(z_BDF.transpose(1, 2), timbre_BD)
        wave_BT: Tensor = self.generator(conditioned_BFD.transpose(1, 2), lengths_B)
        return wave_BT

    def phone_logits(self, content_BKF: Tensor) -> Tensor:
        """Phone class logits `[B, F, P]` of content codes."""
        logits: Tensor = self.predictors.phone(self.content_codebooks.embed(content_BKF))[0]
        return logits

    def encode(self, wave_T: Tensor, f0_G: Tensor | None = None) -> tuple[Codes, Tensor]:
        """`(codes, timbre_D)` of a mono wave at `sample_rate_hz`, padded to whole frames.

        Pitch is not looked at: the encoder reads the wave. Raises AudioError for an empty wave.
        """
        return self.encode_batch([wave_T])[0]

    @torch.no_grad()
    def encode_batch(
        self, waves: Sequence[Tensor], f0s: Sequence[Tensor] | None = None, *, whole: bool = True
    ) -> list[tuple[Codes, Tensor]]:
        """`encode` of each wave, computed together; see `Codec.encode_batch`."""
        if not all(wave_T.numel() for wave_T in waves):
            raise AudioError("The wave is empty: there is nothing to encode.")
        if not waves:
            return []
        device = self.timbre_norm.affine.weight.device
        ready = [self.pad(wave_T.float().to(device)) for wave_T in waves]
        samples_B = lengths_of(ready)
        hidden_BDF = self.encoder(padded(ready), samples_B)
        frames = [encoded_frames(len(wave_T), self.config.strides) for wave_T in ready]
        lengths_B = None if samples_B is None else torch.tensor(frames, device=device)
        keep_BF = None if lengths_B is None else kept(lengths_B, hidden_BDF.shape[-1])
        mel_BMF = None
        if self.prosody_mel is not None:
            # One by one: it is continued by reflection where a wave ends.
            mel_BMF = padded([self.prosody_mel(wave_T[None])[0] for wave_T in ready])
        parts = self.quantize(hidden_BDF, mel_BMF, keep_BF=keep_BF, each_alone=True)
        timbres = self.timbre(hidden_BDF, keep_BF=keep_BF, each_alone=True)
        return [
            (Codes.of(codes_KF[:, :count], self.quantizer.counts), timbre_D)
            for codes_KF, count, timbre_D in zip(parts.codes(), frames, timbres, strict=True)
        ]

    def decode(
        self,
        codes: Codes,
        timbre_D: Tensor,
        rng: torch.Generator,
        *,
        without: Collection[str] = (),
    ) -> Tensor:
        """`wave_T` of codes in a timbre; nothing is drawn from `rng`.

        The factors in `without` are left out, see `Codec.decode`. Detail carries some of the voice,
        so voice conversion may want to do without it.
        """
        return self.decode_batch([codes], timbre_D[None], [rng], without=without)[0]

    @torch.no_grad()
    def decode_batch(
        self,
        codes: Sequence[Codes],
        timbre_BD: Tensor,
        rngs: Sequence[torch.Generator],
        *,
        without: Collection[str] = (),
    ) -> list[Tensor]:
        """`decode` of each item, computed together; see `Codec.decode_batch`."""
        if not codes:
            return []
        weight = self.timbre_norm.affine.weight
        stacked = [item.stacked().to(weight.device) for item in codes]
        z_BDF = self.embed(padded(stacked), without=without)
        waves_BT = self.generate(z_BDF, timbre_BD.to(weight), lengths_of(stacked))
        ends = [self.hop_samples * item.frames for item in codes]
        return [wave_T[:end] for wave_T, end in zip(waves_BT, ends, strict=True)]


def build_paper_codec(config: PaperCodecConfig) -> PaperCodec:
    """A codec with fresh weights."""
    return PaperCodec(config)


def load_paper_codec(folder: str | Path) -> PaperCodec:
    """The codec of a folder with model.safetensors and config.json, ready for inference.

    Raises CheckpointError or ConfigError for a folder that does not hold one.
    """
    return paper_codec_of(load_checkpoint(folder))


def paper_codec_of(checkpoint: Checkpoint) -> PaperCodec:
    """The codec of a checkpoint that was read; errors as `load_paper_codec` has."""
    config = paper_codec_config(checkpoint.config)
    return build_and_load(lambda: build_paper_codec(config), checkpoint.state).eval()


def paper_codec_config(mapping: dict[str, Any]) -> PaperCodecConfig:
    """The configuration from a checkpoint's config.json."""
    if not isinstance(mapping.get("paper_codec"), dict):
        raise CheckpointError(
            "This config.json is not a paper codec's: it has no part named paper_codec."
        )
    return from_dict(PaperCodecConfig, mapping["paper_codec"])
