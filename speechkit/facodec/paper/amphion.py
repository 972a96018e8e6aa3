"""Our names and the public code's names for the same weights, both ways.

The public layout is that of `models/codec/ns3_codec` in open-mmlab/Amphion: flat dicts, one for
the encoder, one for everything behind it, one for the redecoder. What we compute (filter taps,
position codes, mel filters) it stores; that is made again on the way out and compared on the way
in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from speechkit.core.checkpoint import build_without_memory
from speechkit.core.mel import mel_filterbank
from speechkit.facodec.paper.alias_free import TAPS, low_pass_taps
from speechkit.facodec.paper.codec import build_paper_codec
from speechkit.facodec.paper.config import PaperCodecConfig, RedecoderConfig
from speechkit.facodec.paper.redecoder import build_redecoder
from speechkit.facodec.paper.transformer import sinusoids

File = Literal["encoder", "decoder", "redecoder"]
"""Which of the public dicts."""

POSITIONS = 5000
"""Position codes that the public code stores."""

LEAVES = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
    "log_alpha": "act.alpha",
    "log_beta": "act.beta",
    "codebook_VC": "_codebook.weight",
    "weight": "weight",
    "bias": "bias",
}
"""Names of parameters inside a module: ours, theirs."""

UNIT = {"act1": "block.0", "conv1": "block.1", "act2": "block.2", "conv2": "block.3"}
PREDICTORS = {
    "f0": "f0_predictor",
    "phone": "phone_predictor",
    "detail_f0": "res_f0_predictor.1",
    "detail_phone": "res_phone_predictor.1",
    "content_f0": "content_f0_predictor.1",
    "prosody_phone": "prosody_phone_predictor.1",
    "speaker": "x_timbre_predictor.1",
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the public layout keeps one tensor."""

    file: File
    """The dict it is in."""

    name: str
    """Its name there."""

    shape: tuple[int, ...]
    """Its shape, the same in both layouts."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The whole public layout of one model."""

    places: Mapping[str, Place]
    """Where each of our parameters goes, by our name."""

    derived: Mapping[File, Mapping[str, Tensor]]
    """What the public dicts hold besides, by public name."""


Pairs = Iterator[tuple[str, str]]
"""Names of modules: ours, theirs."""


def _units(ours: str, theirs: str, count: int = 3, first: int = 0) -> Pairs:
    for unit in range(count):
        for part, place in UNIT.items():
            yield f"{ours}.units.{unit}.{part}", f"{theirs}.{first + unit}.{place}"


def _encoder(blocks: int) -> Pairs:
    yield "encoder.stem", "block.0"
    for i in range(blocks):
        ours, theirs = f"encoder.down.{i}", f"block.{i + 1}.block"
        yield from _units(ours, theirs)
        yield f"{ours}.act", f"{theirs}.3"
        yield f"{ours}.conv", f"{theirs}.4"
    yield "encoder.final_act", f"block.{blocks + 1}"
    yield "encoder.final_conv", f"block.{blocks + 2}"


def _generator(blocks: int) -> Pairs:
    yield "generator.stem", "model.0"
    for i in range(blocks):
        ours, theirs = f"generator.up.{i}", f"model.{i + 1}.block"
        yield f"{ours}.act", f"{theirs}.0"
        yield f"{ours}.conv", f"{theirs}.1"
        yield from _units(ours, theirs, first=2)
    yield "generator.final_act", f"model.{blocks + 1}"
    yield "generator.final_conv", f"model.{blocks + 2}"


def _transformer(ours: str, theirs: str, layers: int) -> Pairs:
    for i in range(layers):
        inner, outer = f"{ours}.layers.{i}", f"{theirs}.layers.{i}"
        for n in (1, 2):
            yield f"{inner}.norm{n}", f"{outer}.ln_{n}"
            yield f"{inner}.norm{n}.affine", f"{outer}.ln_{n}.style"
        yield f"{inner}.attention.qkv", f"{outer}.self_attn.in_proj_"
        yield f"{inner}.attention.out", f"{outer}.self_attn.out_proj"
        yield f"{inner}.widen", f"{outer}.ffn.ffn_1"
        yield f"{inner}.narrow", f"{outer}.ffn.ffn_2"
    yield f"{ours}.final_norm", f"{theirs}.last_ln"
    yield f"{ours}.final_norm.affine", f"{theirs}.last_ln.style"


def _decoder(config: PaperCodecConfig) -> Pairs:
    quant, layers = config.quantizer, config.transformer.layers
    counts = (quant.prosody_codebooks, quant.content_codebooks, quant.detail_codebooks)
    for q, (part, count) in enumerate(zip(("prosody", "content", "detail"), counts, strict=True)):
        for i in range(count):
            ours, theirs = f"{part}_codebooks.levels.{i}", f"quantizer.{q}.layers.{i}"
            yield ours, theirs
            yield f"{ours}.down", f"{theirs}.in_proj"
            yield f"{ours}.up", f"{theirs}.out_proj"
    yield from _generator(len(config.strides))
    yield from _transformer("timbre_encoder", "timbre_encoder", layers)
    yield "timbre_norm.affine", "timbre_linear"
    for ours, theirs in PREDICTORS.items():
        yield from _units(f"predictors.{ours}", f"{theirs}.model")
        yield f"predictors.{ours}.act", f"{theirs}.model.3"
        for i in range(2):
            yield f"predictors.{ours}.out.{i}", f"{theirs}.heads.{i}"
    yield "prosody_in", "melspec_linear"
    yield from _transformer("prosody_encoder", "melspec_encoder", layers)


def _redecoder(config: RedecoderConfig) -> Pairs:
    quant = config.quantizer
    counts = {
        ("prosody", "prosody"): quant.prosody_codebooks,
        ("content", "content"): quant.content_codebooks,
        ("detail", "residual"): quant.detail_codebooks,
    }
    for (ours, theirs), count in counts.items():
        for i in range(count):
            yield f"{ours}_tables.{i}", f"{theirs}_embs.{i}"
    yield from _generator(len(config.strides))
    yield "timbre_norm.affine", "timbre_linear"
    yield from _transformer("prosody_encoder", "timbre_cond_prosody_enc", config.transformer.layers)


def codec_layout(config: PaperCodecConfig) -> Layout:
    """The public layout of a codec: an encoder and a decoder."""
    model = build_without_memory(lambda: build_paper_codec(config))
    places = {
        **_places(model, "encoder", _encoder(len(config.strides))),
        **_places(model, "decoder", _decoder(config)),
    }
    encoder, decoder = _taps(places, "encoder"), _taps(places, "decoder")
    decoder["timbre_encoder.position_emb.pe"] = _positions(config.channels)
    if config.version == "v2":
        encoder["mel_transform.mel_basis"] = mel_filterbank(config.prosody_mel)
        encoder["mel_transform.hann_window"] = torch.hann_window(config.prosody_mel.win_length)
        decoder["melspec_encoder.position_emb.pe"] = _positions(config.channels)
    return Layout(places=places, derived={"encoder": encoder, "decoder": decoder})


def redecoder_layout(config: RedecoderConfig) -> Layout:
    """The public layout of a redecoder."""
    model = build_without_memory(lambda: build_redecoder(config))
    places = _places(model, "redecoder", _redecoder(config))
    derived = _taps(places, "redecoder")
    derived["timbre_cond_prosody_enc.position_emb.pe"] = _positions(config.channels)
    return Layout(places=places, derived={"redecoder": derived})


def _places(model: nn.Module, file: File, pairs: Pairs) -> dict[str, Place]:
    """Those parameters of a model whose modules are paired."""
    modules = dict(pairs)
    found = {}
    for name, parameter in model.named_parameters():
        leaf = next(leaf for leaf in LEAVES if name.endswith(f".{leaf}"))
        module = modules.get(name.removesuffix(f".{leaf}"))
        if module is not None:
            joint = "" if module.endswith("_") else "."
            found[name] = Place(
                file=file, name=f"{module}{joint}{LEAVES[leaf]}", shape=tuple(parameter.shape)
            )
    return found


def _taps(places: Mapping[str, Place], file: File) -> dict[str, Tensor]:
    """The two filters that stand beside every activation of a file."""
    filters: dict[str, Tensor] = {}
    for place in places.values():
        if place.file == file and place.name.endswith(".act.alpha"):
            act = place.name.removesuffix(".act.alpha")
            for name in ("upsample.filter", "downsample.lowpass.filter"):
                filters[f"{act}.{name}"] = low_pass_taps().view(1, 1, TAPS)
    return filters


def _positions(channels: int) -> Tensor:
    return sinusoids(POSITIONS, channels, torch.zeros(()))[:, None]


def to_public(layout: Layout, state: Mapping[str, Tensor]) -> dict[File, dict[str, Tensor]]:
    """A state dict of ours as the public dicts, which the public code loads strictly."""
    files: dict[File, dict[str, Tensor]] = {
        file: {name: tensor.clone() for name, tensor in derived.items()}
        for file, derived in layout.derived.items()
    }
    for name, place in layout.places.items():
        files[place.file][place.name] = state[name].detach().clone()
    return files


def to_ours(layout: Layout, files: Mapping[File, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The public dicts as a state dict of ours; they must fit the layout, see `check_public`."""
    return {
        name: files[place.file][place.name].detach().float()
        for name, place in layout.places.items()
    }
