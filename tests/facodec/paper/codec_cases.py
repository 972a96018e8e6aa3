"""Parity cases of the whole codec, its gradients, V2 and the redecoder.

Shapes: B batch, D channels, T samples, F frames, K codebooks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from speechkit.core.rng import generator
from speechkit.facodec.paper.amphion import codec_layout
from speechkit.facodec.paper.codec import PaperCodec, PaperParts
from speechkit.facodec.paper.config import PaperCodecConfig, RedecoderConfig
from speechkit.facodec.paper.predictors import Pitch, Predictions
from speechkit.facodec.paper.redecoder import Redecoder
from tests.facodec.paper import builders, reference
from tests.facodec.paper.builders import noise, randomize
from tests.facodec.paper.cases import WAVE_TOLERANCE, Case, Tensors, parts
from tests.facodec.paper.quantizer_cases import quantizer_cases

KEEP = (True, False)
"""Which of two items keep their detail part where gradients are compared."""


@cache
def cases(config: PaperCodecConfig) -> dict[str, Case]:
    """All cases at one size, by name."""
    return {
        case.name: case for case in (*parts(config), *quantizer_cases(config), *codec_cases(config))
    }


def codec_cases(config: PaperCodecConfig) -> Iterator[Case]:
    """P11 to P19."""
    for version in ("v1", "v2"):
        versioned = replace(config, version=version)
        yield _analysis(versioned)
        yield _synthesis(versioned)
        yield _training(versioned)
        yield _end_to_end(versioned)
    yield _mel(replace(config, version="v2"))
    for detail in (False, True):
        yield _redecoder(config, detail=detail)


def _wave(config: PaperCodecConfig) -> Tensor:
    return noise(2, 800 if config.channels < 256 else 8000)


def _codec(config: PaperCodecConfig) -> PaperCodec:
    return builders.codec(config, seed=4)


def _tags(config: PaperCodecConfig, v1: str, v2: str) -> str:
    return v1 if config.version == "v1" else v2


def _parts(parts: PaperParts) -> Tensors:
    names = ("prosody", "content", "detail")
    return {f"z {name}": part.z_BDF for name, part in zip(names, parts.all(), strict=True)}


def _analysis(config: PaperCodecConfig) -> Case:
    """The parts, the codes and the timbre of a batch."""

    def ours() -> Tensors:
        codec = _codec(config)
        out = codec(_wave(config))
        return _parts(out.parts) | {"codes": out.parts.codes(), "timbre": out.timbre_BD}

    def public(m: ModuleType) -> Tensors:
        encoder, decoder = reference.codec(m, _codec(config))
        _, codes, _, parts, timbre = _public_analysis(encoder, decoder, _wave(config))
        names = ("z prosody", "z content", "z detail")
        return dict(zip(names, parts, strict=True)) | {
            "codes": codes.transpose(0, 1),
            "timbre": timbre,
        }

    name = _tags(config, "P11 parts, codes, timbre", "P16 parts, codes, timbre, V2")
    return Case(name=name, ours=ours, public=public)


def _public_analysis(encoder: Any, decoder: Any, wave_BT: Tensor, **kwargs: Any) -> Any:
    mel = getattr(encoder, "get_prosody_feature", None)
    features = () if mel is None else (mel(wave_BT[:, None]),)
    return decoder(encoder(wave_BT[:, None]), *features, vq=True, **kwargs)


def _synthesis(config: PaperCodecConfig) -> Case:
    """Waves and embeddings of given codes, with and without detail."""
    quant, frames = config.quantizer, 4 if config.channels < 256 else 40
    codes_BKF = torch.randint(
        quant.codebook_size, (2, quant.codebooks, frames), generator=generator(5)
    )
    timbre_BD = noise(2, config.channels, seed=6, peak=1.0)

    def ours() -> Tensors:
        codec, tensors = _codec(config), {}
        for detail in (True, False):
            z_BDF = codec.embed(codes_BKF, without=() if detail else ("detail",))
            tensors[f"z, detail {detail}"] = z_BDF
            tensors[f"wave, detail {detail}"] = codec.generate(z_BDF, timbre_BD)
        return tensors

    def public(m: ModuleType) -> Tensors:
        _, decoder = reference.codec(m, _codec(config))
        flag, tensors = _tags(config, "use_residual_code", "use_residual"), {}
        for detail in (True, False):
            z = decoder.vq2emb(codes_BKF.transpose(0, 1), **{flag: detail})
            tensors[f"z, detail {detail}"] = z
            tensors[f"wave, detail {detail}"] = decoder.inference(z, timbre_BD)[:, 0]
        return tensors

    name = _tags(config, "P12 embeddings and waves of codes", "P16 waves of codes, V2")
    return Case(name=name, ours=ours, public=public)


def _training(config: PaperCodecConfig) -> Case:
    """All read-outs of a training step, and the gradients of all parameters."""

    def ours() -> Tensors:
        codec = _codec(config)
        for part in (codec.prosody_codebooks, codec.content_codebooks, codec.detail_codebooks):
            part.train()
        out = codec(_wave(config), detail_keep_B=torch.tensor(KEEP))
        reads = _flat(out.predictions) | {"wave": out.wave_BT}
        zs = _parts(out.parts)
        for z in zs.values():
            z.retain_grad()
        torch.autograd.backward(_loss(reads, out.quantizer_loss))
        layout = codec_layout(config)
        named = dict(codec.named_parameters())
        grads = {place.name: named[name].grad for name, place in layout.places.items()}
        return reads | _gradients(zs, grads, len(grads) if config.channels >= 256 else 0)

    def public(m: ModuleType) -> Tensors:
        encoder, decoder = reference.codec(m, _codec(config))
        decoder.quantizer.train()
        with torch.random.fork_rng(devices=[]):
            _, _, losses, parts, timbre = _public_analysis(
                encoder, decoder, _wave(config), eval_vq=False
            )
        for z in parts:
            z.retain_grad()
        unused = () if config.version == "v1" else (None,)
        with patch.object(np.random, "choice", lambda *_, **__: np.array(KEEP, dtype=np.int64)):
            reads = decoder(parts[0], *unused, vq=False, speaker_embedding=timbre, quantized=parts)
        reads = {("wave" if k == "audio" else k): v for k, v in reads.items()}
        reads["wave"] = reads["wave"][:, 0]
        torch.autograd.backward(_loss(reads, losses.sum()))
        named = dict(encoder.named_parameters()) | dict(decoder.named_parameters())
        grads = {name: parameter.grad for name, parameter in named.items()}
        zs = dict(zip(("z prosody", "z content", "z detail"), parts, strict=True))
        return reads | _gradients(zs, grads, len(grads) if config.channels >= 256 else 0)

    name = _tags(
        config, "P13 P14 all predictors, all gradients", "P16 all predictors, all gradients, V2"
    )
    return Case(name=name, ours=ours, public=public)


def _flat(predictions: Predictions) -> Tensors:
    """All read-outs under the public code's names."""
    named: dict[str, Tensor | None] = {
        "phone": predictions.phone_BFP,
        "prosody_phone": predictions.prosody_phone_BFP,
        "res_phone": predictions.detail_phone_BFP,
        "x_timbre": predictions.speaker_BS,
    }
    pitches: dict[str, Pitch | None] = {
        "": predictions.pitch,
        "content_": predictions.content_pitch,
        "res_": predictions.detail_pitch,
    }
    for prefix, pitch in pitches.items():
        named[f"{prefix}f0"] = None if pitch is None else pitch.f0_BF
        named[f"{prefix}uv"] = None if pitch is None else pitch.voiced_logit_BF
    return {name: tensor for name, tensor in named.items() if tensor is not None}


def _loss(reads: Tensors, quantizer_loss: Tensor) -> Tensor:
    """Something that every read-out has a part in, of about its own size."""
    terms = [reads[name].square().mean() for name in sorted(reads)]
    return torch.stack(terms).sum() + quantizer_loss


def _gradients(zs: Tensors, grads: dict[str, Tensor | None], whole: int) -> Tensors:
    """Gradients of the parts, and of all parameters: whole, or two numbers of each."""
    tensors = {}
    for name, z in zs.items():
        assert z.grad is not None
        tensors[f"grad {name}"] = z.grad
    marks = []
    for name in sorted(grads):
        grad = grads[name]
        assert grad is not None, f"{name} has no gradient"
        if whole:
            tensors[f"grad {name}"] = grad
        else:
            weights = noise(grad.numel(), seed=7, peak=1.0)
            marks += [grad.norm(), grad.flatten() @ weights]
    return tensors if whole else tensors | {"grad of parameters": torch.stack(marks)}


def _end_to_end(config: PaperCodecConfig) -> Case:
    """Noise and a sweep to codes and back to a wave."""
    samples = 1200 if config.channels < 256 else 16_000
    times_T = torch.arange(samples) / config.sample_rate_hz
    sweep_T = 0.5 * torch.sin(2 * torch.pi * (200 + 2000 * times_T) * times_T)
    waves_NT = torch.stack([noise(samples), sweep_T])

    def ours() -> Tensors:
        codec, tensors = _codec(config), {}
        for n, wave_T in enumerate(waves_NT):
            codes, timbre_D = codec.encode(wave_T)
            tensors[f"codes {n}"] = codes.stacked()
            tensors[f"wave {n}"] = codec.decode(codes, timbre_D, generator(0))
        return tensors

    def public(m: ModuleType) -> Tensors:
        encoder, decoder = reference.codec(m, _codec(config))
        tensors = {}
        for n, wave_T in enumerate(waves_NT):
            z, codes, _, _, timbre = _public_analysis(encoder, decoder, wave_T[None], eval_vq=False)
            tensors[f"codes {n}"] = codes[:, 0]
            tensors[f"wave {n}"] = decoder.inference(z, timbre)[0, 0]
        return tensors

    name = _tags(config, "P19 wave to codes to wave", "P19 wave to codes to wave, V2")
    return Case(name=name, ours=ours, public=public, tolerance=WAVE_TOLERANCE)


def _mel(config: PaperCodecConfig) -> Case:
    wave_BT = noise(2, 3200)

    def ours() -> Tensors:
        mel = _codec(config).prosody_mel
        assert mel is not None
        return {"mel": mel(wave_BT)}

    def public(m: ModuleType) -> Tensors:
        encoder, _ = reference.codec(m, _codec(config))
        return {"mel": encoder.get_prosody_feature(wave_BT[:, None])}

    return Case(name="P15 prosody features, V2", ours=ours, public=public, tolerance=1e-4)


def _redecoder(config: PaperCodecConfig, *, detail: bool) -> Case:
    own = RedecoderConfig(
        channels=config.channels,
        generator_channels=48 if config.channels < 256 else 1280,
        quantizer=config.quantizer,
        transformer=config.transformer,
        batch_index_position=True,
    )
    frames = 4 if config.channels < 256 else 30
    codes_BKF = torch.randint(own.quantizer.codebook_size, (2, 6, frames), generator=generator(8))
    timbre_BD = noise(2, own.channels, seed=9, peak=1.0)

    def made() -> Redecoder:
        redecoder = Redecoder(own).eval()
        randomize(redecoder, 10)
        return redecoder

    def ours() -> Tensors:
        redecoder = made()
        return {
            "z": redecoder.embed(codes_BKF, timbre_BD, detail=detail),
            "wave": redecoder(codes_BKF, timbre_BD, detail=detail),
        }

    def public(m: ModuleType) -> Tensors:
        theirs = reference.redecoder(m, made())
        z = theirs.vq2emb(codes_BKF.transpose(0, 1), timbre_BD, use_residual=detail)
        return {"z": z, "wave": theirs.inference(z, timbre_BD)[:, 0]}

    kind = "with detail" if detail else "without detail"
    return Case(name=f"P17 redecoder, {kind}", ours=ours, public=public)
