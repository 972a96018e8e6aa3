"""What model public weights are of, read off their names and shapes, and whether they are whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from speechkit.core.config import from_dict
from speechkit.core.errors import CheckpointError, ConfigError
from speechkit.facodec.paper.amphion import PREDICTORS, File, Layout
from speechkit.facodec.paper.config import PaperCodecConfig, RedecoderConfig

ATTENTION_HEADS = 4
"""Heads of the public transformers; no shape tells."""

DERIVED_TOLERANCE = 0.01
"""How far stored filters and position codes may be from ours: rounding, not another design."""

_NAMES_IN_ERROR = 3

State = Mapping[str, Tensor]
ConfigT = TypeVar("ConfigT")


def codec_config(encoder: State, decoder: State) -> PaperCodecConfig:
    """The configuration of a public encoder and decoder, V1 or V2.

    Raises CheckpointError when they are not of this architecture or not of the same version.
    """
    blocks = _count(encoder, "block.{}.block.4.weight_v", first=1)
    kernels = [
        _shape("encoder", encoder, f"block.{i}.block.4.weight_v", 3)[2]
        for i in range(1, max(blocks, 1) + 1)
    ]
    strides = [kernel // 2 for kernel in kernels]
    stem = _shape("encoder", encoder, "block.0.weight_v", 3)[0]
    first = _shape("decoder", decoder, "model.0.weight_v", 3)
    version = _version(encoder, decoder)
    mapping: dict[str, Any] = {
        "version": version,
        "strides": strides,
        "encoder_channels": stem,
        "channels": first[1],
        "generator_channels": first[0],
        "quantizer": _quantizer(decoder),
        "transformer": _transformer("decoder", decoder, "timbre_encoder"),
        "batch_index_position": True,
        "phone_classes": _shape("decoder", decoder, "phone_predictor.heads.0.weight", 2)[0],
    }
    for predictor in ("prosody_phone", "content_f0", "detail_f0", "detail_phone", "speaker"):
        name = f"{PREDICTORS[predictor]}.heads.0.weight"
        mapping[f"reverse_{predictor}"] = name in decoder
        if predictor == "speaker" and name in decoder:
            mapping["speakers"] = _shape("decoder", decoder, name, 2)[0]
    if version == "v2":
        mapping["prosody_bands"] = _shape("decoder", decoder, "melspec_linear.weight", 2)[1]
        mapping["prosody_mel"] = _mel(encoder, strides)
    return _config(PaperCodecConfig, mapping)


def redecoder_config(redecoder: State) -> RedecoderConfig:
    """The configuration of a public redecoder.

    Raises CheckpointError when it is not of this architecture.
    """
    blocks = _count(redecoder, "model.{}.block.1.weight_v", first=1)
    kernels = [
        _shape("redecoder", redecoder, f"model.{i}.block.1.weight_v", 3)[2]
        for i in range(1, blocks + 1)
    ]
    first = _shape("redecoder", redecoder, "model.0.weight_v", 3)
    mapping = {
        "strides": [kernel // 2 for kernel in reversed(kernels)],
        "channels": first[1],
        "generator_channels": first[0],
        "quantizer": {
            "codebook_size": _shape("redecoder", redecoder, "prosody_embs.0.weight", 2)[0],
            "prosody_codebooks": _count(redecoder, "prosody_embs.{}.weight"),
            "content_codebooks": _count(redecoder, "content_embs.{}.weight"),
            "detail_codebooks": _count(redecoder, "residual_embs.{}.weight"),
        },
        "transformer": _transformer("redecoder", redecoder, "timbre_cond_prosody_enc"),
        "batch_index_position": True,
    }
    return _config(RedecoderConfig, mapping)


def check_public(layout: Layout, files: Mapping[File, State]) -> None:
    """Raise CheckpointError unless the public dicts have just the names and shapes of a layout.

    Stored filters and position codes must be those that we compute, and all numbers finite.
    """
    for file, state in files.items():
        derived = layout.derived[file]
        shapes = {name: tuple(tensor.shape) for name, tensor in derived.items()}
        shapes |= {p.name: p.shape for p in layout.places.values() if p.file == file}
        wrong = [
            f"{name} is {tuple(state[name].shape)} instead of {shape}"
            for name, shape in shapes.items()
            if name in state and state[name].shape != shape
        ]
        _refuse(file, "lacks", [name for name in shapes if name not in state])
        _refuse(file, "has, which it should not,", [name for name in state if name not in shapes])
        _refuse(file, "has another shape:", wrong)
        _refuse(file, "holds numbers that are not finite in", _not_finite(state))
        other = [
            name
            for name, tensor in derived.items()
            if not torch.allclose(state[name].float(), tensor, rtol=0, atol=DERIVED_TOLERANCE)
        ]
        _refuse(file, "was made with other constants:", other)


def _refuse(file: str, what: str, names: Sequence[str]) -> None:
    if not names:
        return
    more = len(names) - _NAMES_IN_ERROR
    shown = ", ".join(names[:_NAMES_IN_ERROR]) + (f" and {more} more" if more > 0 else "")
    raise CheckpointError(
        f"The {file} file {what} {shown}: it is damaged, or not of the codec of the paper. "
        "Download it again."
    )


def _not_finite(state: State) -> list[str]:
    return [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]


def _version(encoder: State, decoder: State) -> str:
    """The version both files are of."""
    versions = {
        "encoder": "v2" if any(name.startswith("mel_transform.") for name in encoder) else "v1",
        "decoder": "v2" if any(name.startswith("melspec_") for name in decoder) else "v1",
    }
    if len(set(versions.values())) > 1:
        found = " and ".join(f"the {file} is {version}" for file, version in versions.items())
        raise CheckpointError(
            f"The two files do not belong together, {found}: convert two of one version."
        )
    return versions["decoder"]


def _quantizer(decoder: State) -> dict[str, int]:
    codebook_size, width = _shape("decoder", decoder, "quantizer.0.layers.0._codebook.weight", 2)
    counts = [_count(decoder, f"quantizer.{q}.layers.{{}}._codebook.weight") for q in range(3)]
    return {
        "codebook_size": codebook_size,
        "code_channels": width,
        **dict(
            zip(("prosody_codebooks", "content_codebooks", "detail_codebooks"), counts, strict=True)
        ),
    }


def _transformer(file: str, state: State, name: str) -> dict[str, int]:
    layers = _count(state, f"{name}.layers.{{}}.ffn.ffn_1.weight")
    wide = _shape(file, state, f"{name}.layers.0.ffn.ffn_1.weight", 3)
    return {
        "layers": layers,
        "heads": ATTENTION_HEADS,
        "filter_channels": wide[0],
        "kernel_frames": wide[2],
    }


def _mel(encoder: State, strides: Sequence[int]) -> dict[str, int]:
    bands, bins = _shape("encoder", encoder, "mel_transform.mel_basis", 2)
    return {
        "n_fft": 2 * (bins - 1),
        "win_length": _shape("encoder", encoder, "mel_transform.hann_window", 1)[0],
        "hop_length": int(torch.tensor(strides).prod()),
        "n_mels": bands,
    }


def _count(state: State, pattern: str, first: int = 0) -> int:
    """How many names of a numbered series there are."""
    count = 0
    while pattern.format(first + count) in state:
        count += 1
    return count


def _shape(file: str, state: State, name: str, ndim: int) -> tuple[int, ...]:
    """The shape of a tensor that has to be there."""
    if name not in state or state[name].ndim != ndim:
        _refuse(file, "lacks", [name])
    return tuple(state[name].shape)


def _config(cls: type[ConfigT], mapping: Mapping[str, Any]) -> ConfigT:
    try:
        return from_dict(cls, mapping)
    except ConfigError as error:
        raise CheckpointError(f"These weights are of no possible model: {error}") from error
