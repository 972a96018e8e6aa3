"""What each library calls the tensors of wav2vec 2.0 and HuBERT.

Sources: fairseq (`models/wav2vec`, `models/hubert`), fairseq2 0.8.1, torchaudio 2.9
(`models.wav2vec2`) and transformers 4.57 (`models.wav2vec2`, `models.hubert`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from torch import Tensor

from speechkit.core.errors import CheckpointError

Layout = Literal["transformers", "torchaudio", "fairseq", "fairseq2"]
"""Whose names."""

Kind = Literal["encoder", "wav2vec2", "hubert", "ctc"]
"""Which heads stand on the encoder."""


class Row(NamedTuple):
    """One part under all its names; # stands for a number, an empty name for no place."""

    ours: str
    transformers: str
    torchaudio: str
    fairseq: str
    fairseq2: str


_FRONT = "encoder_frontend."
_BLOCK = "encoder.layers.#."
_TA_BLOCK = "encoder.transformer.layers.#."
_CONVS = "feature_extractor.conv_layers.#."


def _front(ours: str, transformers: str, torchaudio: str, fairseq: str) -> Row:
    """Return the row of a part of the front end, which fairseq2 calls as we do."""
    ours = _FRONT + ours
    return Row(ours, transformers, torchaudio, fairseq, ours)


def _block(ours: str, shared: str, fairseq: str) -> Row:
    """Return the row of a part of a Transformer block."""
    ours = _BLOCK + ours
    return Row(ours, _BLOCK + shared, _TA_BLOCK + shared, _BLOCK + fairseq, ours)


_POSITION = "pos_conv_embed.conv"
_NORMS = ("encoder.layer_norm", "encoder.transformer.layer_norm", "encoder.layer_norm")

ENCODER: tuple[Row, ...] = (
    Row(
        ours="mask_D",
        transformers="masked_spec_embed",
        torchaudio="mask_generator.mask_embedding",
        fairseq="mask_emb",
        fairseq2="masker.temporal_mask_embed",
    ),
    _front("feature_extractor.layers.#.conv", _CONVS + "conv", _CONVS + "conv", _CONVS + "0"),
    _front(
        "feature_extractor.layers.#.group_norm",
        _CONVS + "layer_norm",
        _CONVS + "layer_norm",
        _CONVS + "2",
    ),
    _front(
        "feature_extractor.layers.#.layer_norm",
        _CONVS + "layer_norm",
        _CONVS + "layer_norm",
        _CONVS + "2.1",
    ),
    _front(
        "post_extract_layer_norm",
        "feature_projection.layer_norm",
        "encoder.feature_projection.layer_norm",
        "layer_norm",
    ),
    _front(
        "model_dim_proj",
        "feature_projection.projection",
        "encoder.feature_projection.projection",
        "post_extract_proj",
    ),
    _front(
        "pos_encoder.conv",
        f"encoder.{_POSITION}",
        f"encoder.transformer.{_POSITION}",
        "encoder.pos_conv.0",
    ),
    # LayerNorm before the first block (norm_order "post") or after the last ("pre").
    _front("layer_norm", *_NORMS),
    Row("encoder.layer_norm", *_NORMS, "encoder.layer_norm"),
    *(_block(f"self_attn.{x}_proj", f"attention.{x}_proj", f"self_attn.{x}_proj") for x in "qkv"),
    _block("self_attn.output_proj", "attention.out_proj", "self_attn.out_proj"),
    _block("self_attn_layer_norm", "layer_norm", "self_attn_layer_norm"),
    _block("ffn.inner_proj", "feed_forward.intermediate_dense", "fc1"),
    _block("ffn.output_proj", "feed_forward.output_dense", "fc2"),
    _block("ffn_layer_norm", "final_layer_norm", "final_layer_norm"),
)

HEADS: Mapping[Kind, tuple[Row, ...]] = {
    "encoder": (),
    "wav2vec2": (
        Row(
            "quantizer.entries", "quantizer.codevectors", "", "quantizer.vars", "quantizer.entries"
        ),
        Row(
            ours="quantizer.entry_proj",
            transformers="quantizer.weight_proj",
            torchaudio="",
            fairseq="quantizer.weight_proj",
            fairseq2="quantizer.entry_proj",
        ),
        Row("final_proj", "project_hid", "", "final_proj", "final_proj"),
        Row("final_target_proj", "project_q", "", "project_q", "final_target_proj"),
    ),
    "hubert": (
        Row("final_proj", "", "logit_generator.final_proj", "final_proj", ""),
        Row("clusters_VD", "", "logit_generator.label_embeddings", "label_embs_concat", ""),
    ),
    "ctc": (Row("final_proj", "lm_head", "aux", "proj", ""),),
}

_NUMBER = r"(?<=\.)\d+(?=\.)"
_MARKS: tuple[tuple[Kind, str], ...] = (
    ("ctc", "final_proj.weight"),
    ("wav2vec2", "quantizer.entries"),
    ("hubert", "clusters_VD"),
)
_WHOLE = ("mask_D", "clusters_VD", "quantizer.entries")
"""Names that are a tensor's own; of all others the last part (weight, bias …) is the same."""

# What stands before the encoder's names where the encoder is a part of something.
_PREFIXES: Mapping[Layout, str] = {
    "transformers": r"(wav2vec2|hubert)\.",
    "torchaudio": r"wav2vec2\.",
    "fairseq": r"(w2v_encoder\.w2v_model|w2v_encoder|w2v_model)\.",
    "fairseq2": r"(?!)",
}
_SIGNS: tuple[tuple[str, Layout], ...] = (
    ("encoder.transformer.", "torchaudio"),
    ("encoder.pos_conv_embed.", "transformers"),
    ("encoder.pos_conv.", "fairseq"),
    ("encoder_frontend.", "fairseq2"),
)
_COUNTERS = frozenset({"quantizer.num_updates"})
"""Buffers that count updates: our temperature follows the optimiser's own count."""


def detect_layout(names: Iterable[str]) -> Layout:
    """Return whose names these are; raises CheckpointError for names of no known library."""
    names = list(names)
    for sign, layout in _SIGNS:
        if any(sign in name for name in names):
            return layout
    shown = ", ".join(sorted(names)[:3]) or "none at all"
    raise CheckpointError(
        f"These are not the weights of a wav2vec 2.0 or HuBERT model of transformers, torchaudio, "
        f"fairseq or fairseq2: the names of the tensors begin with {shown}."
    )


def bare(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Return the tensors without the prefix of the whole, under the old names of weight norm.

    Raises CheckpointError where two names fall together.
    """
    plain: dict[str, Tensor] = {}
    for name, tensor in state.items():
        short = modern_to_old(re.sub(f"^{_PREFIXES[layout]}", "", name))
        if short in plain:
            raise CheckpointError(f"{name} is there twice, with and without its prefix.")
        if short not in _COUNTERS:
            plain[short] = tensor
    return plain


def modern_to_old(name: str) -> str:
    """Return torch's older name of a part of a weight-normalised weight, other names as is."""
    stem, dot, which = name.rpartition(".parametrizations.weight.original")
    return f"{stem}.weight_{'gv'[int(which)]}" if dot and which in ("0", "1") else name


def kind_of_names(names: Iterable[str], layout: Layout) -> Kind:
    """Return what stands on the encoder, from bare names."""
    found = set(names)
    for kind, mark in _MARKS:
        if translate(mark, kind, layout) in found:
            return kind
    return "encoder"


def theirs(row: Row, layout: Layout) -> str:
    """Return a row's name in a layout."""
    return str(getattr(row, layout))


def translate(ours: str, kind: Kind, layout: Layout) -> str:
    """Return the bare name of one of our tensors in another library; empty where it has no place.

    Raises KeyError for a name that none of our models has.
    """
    in_encoder = kind == "encoder" or ours.startswith("encoder.")
    rows = ENCODER if in_encoder else HEADS[kind]
    name = ours if kind == "encoder" else ours.removeprefix("encoder.")
    table = {row.ours: theirs(row, layout) for row in rows}
    if name in _WHOLE:
        return table[name]
    numbers = re.findall(_NUMBER, name)
    stem, _, leaf = re.sub(_NUMBER, "#", name).rpartition(".")
    found = table[stem]
    for number in numbers:
        found = found.replace("#", number, 1)
    return f"{found}.{leaf}" if found else ""


def head_stems(layout: Layout) -> tuple[str, ...]:
    """Return how the names of all heads of a layout begin."""
    rows = [row for rows in HEADS.values() for row in rows]
    return tuple(name for row in rows if (name := theirs(row, layout)))
