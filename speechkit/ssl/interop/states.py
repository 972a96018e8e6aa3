"""From tensors under another library's names to a model of ours, and back.

torchaudio and fairseq keep no config beside the weights: sizes are read off the shapes, and the
rest (strides, heads, order of norms) is that of the published models unless it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from speechkit.core.checkpoint import build_and_load, build_without_memory
from speechkit.core.config import from_dict
from speechkit.core.errors import CheckpointError, ConfigError, listed
from speechkit.core.rng import derive, generator
from speechkit.ssl import checkpoints
from speechkit.ssl.config import EncoderConfig, HubertConfig, Wav2Vec2Config
from speechkit.ssl.ctc.model import CtcModel
from speechkit.ssl.encoder import SslEncoder, build_encoder
from speechkit.ssl.hubert import HubertPretrainer, build_hubert
from speechkit.ssl.interop.names import (
    Kind,
    Layout,
    bare,
    detect_layout,
    head_stems,
    kind_of_names,
    translate,
)
from speechkit.ssl.wav2vec2 import Wav2Vec2Pretrainer, build_wav2vec2

_HEADS = {768: 12, 1024: 16, 1280: 16, 1920: 16}
"""Attention heads of the published models, by width."""
_STANDARD = EncoderConfig()
_PROJECTION = "encoder_frontend.model_dim_proj"

NormOrder = Literal["pre", "post"]
Exchanged = SslEncoder | Wav2Vec2Pretrainer | HubertPretrainer | CtcModel
"""Models that other libraries know."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Imported:
    """A model that came from another library."""

    model: Exchanged
    """Ours, in evaluation mode."""
    layout: Layout
    """Whose names its tensors had."""
    notes: tuple[str, ...] = ()
    """What the source did not say, and what was left out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """Tensors of another library under their bare names."""

    tensors: Mapping[str, Tensor]
    layout: Layout
    kind: Kind

    def find(self, ours: str) -> Tensor | None:
        """Return the tensor that our encoder or head calls so."""
        return self.tensors.get(self._name(ours))

    def size(self, ours: str, axis: int) -> int:
        """Return one size of a tensor; raises CheckpointError where there is none."""
        tensor = self.find(ours)
        if tensor is None or tensor.ndim <= axis:
            raise CheckpointError(
                f"The weights lack {self._name(ours)}, or it has another shape than it should."
            )
        return int(tensor.shape[axis])

    def _name(self, ours: str) -> str:
        in_encoder = ours.startswith(("encoder", "mask"))
        return translate(ours, "encoder" if in_encoder else self.kind, self.layout)


def read_source(state: Mapping[str, Tensor], layout: Layout | None = None) -> Source:
    """Return the tensors with what they are; raises CheckpointError for names of no library."""
    layout = layout or detect_layout(state)
    tensors = bare(state, layout)
    return Source(tensors=tensors, layout=layout, kind=kind_of_names(tensors, layout))


def from_state(
    state: Mapping[str, Tensor],
    *,
    layout: Layout | None = None,
    encoder: EncoderConfig | None = None,
    heads: int | None = None,
    norm_order: NormOrder | None = None,
    encoder_only: bool = False,
) -> Imported:
    """Return the model that tensors without a config describe.

    ``encoder`` overrides what the shapes say; ``heads`` and ``norm_order`` say what they cannot.
    Raises CheckpointError for tensors that are missing, unknown or of a wrong shape, with their
    names, and ConfigError for impossible sizes.
    """
    source = read_source(state, layout)
    notes: tuple[str, ...] = ()
    if encoder is None:
        encoder = encoder_from_shapes(source, heads=heads, norm_order=norm_order)
        # fairseq2 calls the LayerNorm before the first block and behind the last differently.
        if norm_order is None and source.layout != "fairseq2":
            notes = (
                "the weights do not say whether LayerNorm comes before each part or after its sum: "
                f'"{encoder.norm_order}" is assumed, as published models pair it (--norm-order)',
            )
    imported = _with_heads(source, encoder, encoder_only)
    return replace(imported, notes=(*notes, *imported.notes))


def _with_heads(source: Source, encoder: EncoderConfig, encoder_only: bool) -> Imported:
    """Return the encoder with what stands on it."""
    if encoder_only or source.kind == "encoder":
        return assemble(partial(build_encoder, encoder), source)
    if source.kind == "ctc":
        raise CheckpointError(
            "These are the weights of a recogniser, which do not tell the characters of "
            "its classes: take the encoder alone (--encoder-only), or transformers' folder of "
            "the model."
        )
    if source.kind == "wav2vec2":
        return assemble(partial(build_wav2vec2, wav2vec2_from_shapes(source, encoder)), source)
    config = hubert_from_shapes(source, encoder)
    imported = assemble(partial(build_hubert, config), source)
    note = f"the weights do not say how many units a second they name: {config.label_rate_hz}?"
    return replace(imported, notes=(note, *imported.notes))


def encoder_from_shapes(
    source: Source, *, heads: int | None = None, norm_order: NormOrder | None = None
) -> EncoderConfig:
    """Return the encoder's config from the shapes of its tensors."""
    conv = "encoder_frontend.feature_extractor.layers.{}.conv.weight"
    block = "encoder.layers.{}.self_attn.q_proj.weight"
    count, blocks = _count(source, conv), _count(source, block)
    channels = tuple(source.size(conv.format(i), 0) for i in range(count))
    kernels = tuple(source.size(conv.format(i), 2) for i in range(count))
    if kernels != _STANDARD.conv_kernels:
        raise CheckpointError(
            f"The weights do not tell the strides of convolutions with kernels {kernels}: give "
            "the whole config of the encoder."
        )
    second = source.find("encoder_frontend.feature_extractor.layers.1.layer_norm.weight")
    norm_every = second is not None
    dim = source.size("encoder_frontend.pos_encoder.conv.bias", 0)
    if heads is None and dim not in _HEADS:
        raise CheckpointError(
            f"The weights do not tell how many attention heads a model of width {dim} has: give "
            "--heads."
        )
    values = {
        "conv_channels": channels,
        "conv_kernels": kernels,
        "conv_strides": _STANDARD.conv_strides,
        "conv_bias": source.find(conv.format(0).replace("weight", "bias")) is not None,
        "conv_norm": "layer" if norm_every else "group",
        "model_dim": dim,
        "layers": blocks,
        "heads": _HEADS[dim] if heads is None else heads,
        "ffn_dim": source.size("encoder.layers.0.ffn.inner_proj.weight", 0),
        # Published models pair them so; outside fairseq2 the names are the same either way.
        "norm_order": norm_order or _norm_order(source, norm_every),
        "position_kernel": source.size("encoder_frontend.pos_encoder.conv.weight_v", 2),
        "position_groups": dim
        // max(source.size("encoder_frontend.pos_encoder.conv.weight_v", 1), 1),
    }
    return from_dict(EncoderConfig, values)


def _norm_order(source: Source, norm_every_convolution: bool) -> NormOrder:
    """Return the order of norms that the names tell, or that published models have."""
    if source.layout == "fairseq2":
        return "pre" if "encoder.layer_norm.weight" in source.tensors else "post"
    return "pre" if norm_every_convolution else "post"


def _count(source: Source, name: str) -> int:
    """Return how many numbered parts there are; raises CheckpointError for none."""
    source.size(name.format(0), 0)
    count = 1
    while source.find(name.format(count)) is not None:
        count += 1
    return count


def wav2vec2_from_shapes(source: Source, encoder: EncoderConfig) -> Wav2Vec2Config:
    """Return the config of a pre-training model from the shapes of its heads."""
    code_dim = source.size("final_target_proj.weight", 1)
    codebooks = code_dim // max(source.size("quantizer.entries", 2), 1)
    values = {
        "encoder": encoder,
        "final_dim": source.size("final_proj.weight", 0),
        "codebooks": codebooks,
        "codebook_size": source.size("quantizer.entries", 1) // max(codebooks, 1),
        "code_dim": code_dim,
    }
    return from_dict(Wav2Vec2Config, values)


def hubert_from_shapes(source: Source, encoder: EncoderConfig) -> HubertConfig:
    """Return the config of a pre-training model from the shapes of its heads."""
    clusters = source.size("clusters_VD", 0)
    values = {
        "encoder": encoder,
        "clusters": clusters,
        # The paper's first iteration has 100 clusters of MFCC, its second 500 of an encoder.
        "label_rate_hz": 100 if clusters == 100 else 50,
        "final_dim": source.size("clusters_VD", 1),
    }
    return from_dict(HubertConfig, values)


def assemble(build: Callable[[], Exchanged], source: Source) -> Imported:
    """Return the model that ``build`` makes with the tensors of a source.

    Names and shapes are checked before anything is allocated. Raises CheckpointError that names, as
    the source calls them, what is missing, not understood or of a wrong shape.
    """
    blank = build_without_memory(build)
    kind = kind_of(blank)
    left = dict(source.tensors)
    state: dict[str, Tensor] = {}
    missing, wrong, notes = [], [], []
    for name, wanted in blank.state_dict().items():
        foreign = translate(name, kind, source.layout)
        tensor = left.pop(foreign, None)
        if tensor is None and name.endswith("mask_D"):
            # Recognisers and torchaudio's encoders have none; drawn as a new model's.
            state[name] = torch.rand(wanted.shape, generator=generator(derive(0, "mask")))
            notes.append("the source has no mask vector: one was drawn")
        elif tensor is None:
            missing.append(foreign or name)
        elif tensor.shape != wanted.shape:
            wrong.append(f"{foreign} is {tuple(tensor.shape)} instead of {tuple(wanted.shape)}")
        else:
            state[name] = tensor
    _drop_identity(left, source.layout)
    heads = _drop_heads(left, source.layout) if kind == "encoder" else []
    if heads:
        notes.append(f"left out, beyond the encoder: {', '.join(heads)}")
    _refuse({"missing": missing, "not understood": sorted(left), "wrong shape": wrong})
    model = build_and_load(build, state).eval()
    return Imported(model=model, layout=source.layout, notes=tuple(notes))


def to_state(model: Exchanged, layout: Layout) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors under a library's bare names, and ours that have no place there.

    Raises ConfigError for an encoder that reads log-mel, which no library has.
    """
    own = model if isinstance(model, SslEncoder) else model.encoder
    if own.config.front != "wave":
        raise ConfigError(
            "No other library reads encoders with a log-mel front end: only those with "
            'front = "wave" can be exported.'
        )
    kind = kind_of(model)
    state: dict[str, Tensor] = {}
    homeless = []
    for name, tensor in model.state_dict().items():
        foreign = translate(name, kind, layout)
        if foreign:
            state[foreign] = tensor
        else:
            homeless.append(name)
    config = own.config
    if config.conv_channels[-1] == config.model_dim and layout in ("transformers", "torchaudio"):
        # These two always project; where widths agree fairseq does not.
        weight = translate(f"{_PROJECTION}.weight", "encoder", layout)
        bias = translate(f"{_PROJECTION}.bias", "encoder", layout)
        state |= {weight: torch.eye(config.model_dim), bias: torch.zeros(config.model_dim)}
    return state, tuple(homeless)


def kind_of(model: Exchanged) -> Kind:
    """Return what stands on a model's encoder."""
    if isinstance(model, CtcModel):
        return "ctc"
    kind = checkpoints.kind_of(model)
    assert kind != "bestrq"
    return kind


def _drop_identity(left: dict[str, Tensor], layout: Layout) -> None:
    """Remove a projection that changes nothing, which our encoder leaves out; see `to_state`."""
    weight = translate(f"{_PROJECTION}.weight", "encoder", layout)
    bias = translate(f"{_PROJECTION}.bias", "encoder", layout)
    tensor = left.get(weight)
    if tensor is None or bias not in left or tensor.ndim != 2 or len(set(tensor.shape)) != 1:
        return
    if torch.equal(tensor.float(), torch.eye(len(tensor))) and not left[bias].any():
        del left[weight], left[bias]


def _drop_heads(left: dict[str, Tensor], layout: Layout) -> list[str]:
    """Remove what stands on an encoder; returns its names."""
    stems = head_stems(layout)
    heads = [name for name in left if name.startswith(stems)]
    for name in heads:
        del left[name]
    return heads


def _refuse(problems: Mapping[str, Sequence[str]]) -> None:
    """Raise CheckpointError if there are any."""
    parts = []
    for label, names in problems.items():
        if names:
            parts.append(f"{label}: {listed(names)}")
    if parts:
        raise CheckpointError(
            f"The weights cannot be imported; {'; '.join(parts)}. They belong to another "
            "architecture or to another config.json."
        )
