"""Folders of transformers: `…Model`, `Wav2Vec2ForPreTraining` and `…ForCTC` of both families.

Published folders and ours differ in names alone. Read and written as safetensors and JSON; neither
way imports transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
from torch import Tensor

from speechkit.core.checkpoint import CONFIG_FILE, MODEL_FILE, load_checkpoint
from speechkit.core.config import from_dict, to_dict
from speechkit.core.errors import CheckpointError
from speechkit.core.files import write_atomically, write_json
from speechkit.ssl.config import SAMPLE_RATE_HZ, EncoderConfig, HubertConfig, Wav2Vec2Config
from speechkit.ssl.ctc.characters import BLANK
from speechkit.ssl.ctc.model import CtcConfig, CtcModel, build_ctc
from speechkit.ssl.encoder import build_encoder
from speechkit.ssl.interop.states import (
    Exchanged,
    Imported,
    Source,
    assemble,
    kind_of,
    read_source,
    to_state,
)
from speechkit.ssl.interop.vocabulary import (
    TOKENIZER_FILE,
    VOCABULARY_FILE,
    read_characters,
    tokenizer_config,
    vocabulary,
)
from speechkit.ssl.wav2vec2 import build_wav2vec2

Family = Literal["wav2vec2", "hubert"]
"""`model_type` of a folder: the two are one network under two class names."""

PREPROCESSOR_FILE = "preprocessor_config.json"
OURS = "speechkit"
"""Key in config.json for what transformers has no key for; it keeps what it does not know."""

# Field, transformers' key, what it takes where the key is absent.
_ENCODER_KEYS: tuple[tuple[str, str, object], ...] = (
    ("conv_channels", "conv_dim", [512] * 7),
    ("conv_kernels", "conv_kernel", [10, 3, 3, 3, 3, 2, 2]),
    ("conv_strides", "conv_stride", [5, 2, 2, 2, 2, 2, 2]),
    ("conv_bias", "conv_bias", False),
    ("conv_norm", "feat_extract_norm", "group"),
    ("model_dim", "hidden_size", 768),
    ("layers", "num_hidden_layers", 12),
    ("heads", "num_attention_heads", 12),
    ("ffn_dim", "intermediate_size", 3072),
    ("position_kernel", "num_conv_pos_embeddings", 128),
    ("position_groups", "num_conv_pos_embedding_groups", 16),
    ("dropout", "hidden_dropout", 0.1),
    ("attention_dropout", "attention_dropout", 0.1),
    ("ffn_dropout", "activation_dropout", 0.1),
    ("input_dropout", "feat_proj_dropout", 0.0),
    ("layer_drop", "layerdrop", 0.1),
)
_HEAD_KEYS: tuple[tuple[str, str, object], ...] = (
    ("final_dim", "proj_codevector_dim", 256),
    ("codebooks", "num_codevector_groups", 2),
    ("codebook_size", "num_codevectors_per_group", 320),
    ("code_dim", "codevector_dim", 256),
    ("distractors", "num_negatives", 100),
    ("logit_temperature", "contrastive_logits_temperature", 0.1),
    ("diversity_weight", "diversity_loss_weight", 0.1),
)
# Fields without a key there.
_ENCODER_OWN = ("conv_gradient_scale",)
_HEAD_OWN = ("mask", "gumbel_start", "gumbel_end", "gumbel_decay", "penalty_weight")
_GELU = ("gelu", "gelu_python")
# Key, the values that our network has, the first where the key is absent.
_FIXED: tuple[tuple[str, tuple[object, ...]], ...] = (
    ("hidden_act", _GELU),
    ("feat_extract_activation", _GELU),
    ("layer_norm_eps", (1e-5,)),
    ("feat_proj_layer_norm", (True,)),
    ("conv_pos_batch_norm", (False,)),
    ("add_adapter", (False,)),
    ("adapter_attn_dim", (None,)),
)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A folder for transformers."""

    architecture: str
    """The class that reads all of it."""
    left_out: tuple[str, ...]
    """Our tensors that the class has no place for."""


def from_transformers(folder: str | Path, *, encoder_only: bool = False) -> Imported:
    """Return our model of a folder; the quantiser and projections too where they are there.

    Raises CheckpointError for a pickle, a damaged folder, a network that ours is not (the sentence
    names the key of config.json), and tensors that do not fit it; ConfigError for bad values.
    """
    checkpoint = load_checkpoint(folder)
    _refuse_unsupported(checkpoint.config, Path(folder))
    source = read_source(checkpoint.state, "transformers")
    encoder = _encoder_config(checkpoint.config)
    if source.kind == "encoder" or encoder_only:
        return assemble(partial(build_encoder, encoder), source)
    if source.kind == "ctc":
        return _recogniser(Path(folder), checkpoint.config, encoder, source)
    # Published folders carry the masks of fine-tuning, so only our own say theirs.
    values = {**_values(checkpoint.config, _HEAD_KEYS), **_own(checkpoint.config, "model")}
    config = from_dict(Wav2Vec2Config, {"encoder": encoder, **values})
    return assemble(partial(build_wav2vec2, config), source)


def to_transformers(
    model: Exchanged, folder: str | Path, *, family: Family | None = None
) -> Exported:
    """Write what `from_pretrained` reads: of a recogniser for its processor too.

    ``family`` is wav2vec2 unless the model is a HuBERT; the heads of HuBERT have no place in
    transformers. Raises CheckpointError when the disk refuses.
    """
    kind = kind_of(model)
    if family is None or kind == "wav2vec2":
        family = "hubert" if kind == "hubert" else "wav2vec2"
    whole = kind in ("wav2vec2", "ctc")
    suffix = {"wav2vec2": "ForPreTraining", "ctc": "ForCTC"}.get(kind, "Model")
    architecture = ("Hubert" if family == "hubert" else "Wav2Vec2") + suffix
    state, left_out = to_state(model, "transformers")
    inside = ("masked_spec_embed", "feature_extractor.", "feature_projection.", "encoder.")
    if whole:
        state = {
            f"{family}.{name}" if name.startswith(inside) else name: tensor
            for name, tensor in state.items()
        }
    config = {"architectures": [architecture], "model_type": family, **_their_config(model)}
    tables = {CONFIG_FILE: config, PREPROCESSOR_FILE: preprocessor_config()}
    if isinstance(model, CtcModel):
        tables[VOCABULARY_FILE] = vocabulary(model.characters)
        tables[TOKENIZER_FILE] = tokenizer_config()
    _write(Path(folder), state, tables)
    return Exported(architecture=architecture, left_out=left_out)


def _recogniser(
    folder: Path, config: Mapping[str, Any], encoder: EncoderConfig, source: Source
) -> Imported:
    """Return a recogniser with its classes in our order."""
    characters, order, special = read_characters(folder, config.get("pad_token_id", 0))
    tensors = dict(source.tensors)
    for name in ("lm_head.weight", "lm_head.bias"):
        if name not in tensors or tensors[name].shape[:1] != (characters.size + len(special),):
            raise CheckpointError(
                f"{name} must have one row for each of the {characters.size + len(special)} tokens "
                f"of {VOCABULARY_FILE}: take both from the same folder."
            )
        tensors[name] = tensors[name][order]
    ctc = from_dict(
        CtcConfig, {"encoder": encoder, "final_dropout": config.get("final_dropout", 0.1)}
    )
    imported = assemble(partial(build_ctc, ctc, characters), replace(source, tensors=tensors))
    if not special:
        return imported
    note = f"classes left out, as CTC does not use them: {' '.join(special)}"
    return replace(imported, notes=(note, *imported.notes))


def _refuse_unsupported(config: Mapping[str, Any], folder: Path) -> None:
    """Raise CheckpointError for a network that ours is not."""
    model_type = config.get("model_type")
    if model_type not in ("wav2vec2", "hubert"):
        raise CheckpointError(
            f"{folder} is not a folder of transformers with wav2vec 2.0 or HuBERT: its config.json "
            f'says model_type {json.dumps(model_type)} instead of "wav2vec2" or "hubert".'
        )
    for key, allowed in _FIXED:
        value = config.get(key, allowed[0])
        if not any(type(value) is type(one) and value == one for one in allowed):
            raise CheckpointError(
                f"{folder} cannot be imported: its config.json says {key} {json.dumps(value)}, and "
                f"our encoder has only {' or '.join(json.dumps(one) for one in allowed)}."
            )


def _encoder_config(config: Mapping[str, Any]) -> EncoderConfig:
    stable = config.get("do_stable_layer_norm", False)
    return from_dict(
        EncoderConfig,
        {
            **_values(config, _ENCODER_KEYS),
            "norm_order": "pre" if stable is True else "post",
            **_own(config, "encoder"),
        },
    )


def _values(config: Mapping[str, Any], keys: tuple[tuple[str, str, object], ...]) -> dict[str, Any]:
    """Return our fields from transformers' keys."""
    return {field: config.get(key, default) for field, key, default in keys}


def _own(config: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Return what an export of ours says beyond transformers' keys."""
    own = config.get(OURS, {})
    part_of_it = own.get(part, {}) if isinstance(own, dict) else None
    if not isinstance(part_of_it, dict):
        raise CheckpointError(
            f"{OURS} in {CONFIG_FILE} must be a table: remove it or export again."
        )
    return part_of_it


def _their_config(model: Exchanged) -> dict[str, Any]:
    """Return config.json's keys for a model."""
    config = model.config
    encoder = config if isinstance(config, EncoderConfig) else config.encoder
    values = to_dict(encoder)
    theirs = {key: values[field] for field, key, _ in _ENCODER_KEYS}
    own = {"encoder": {field: values[field] for field in _ENCODER_OWN}}
    theirs |= {key: allowed[0] for key, allowed in _FIXED}
    theirs |= {
        "do_stable_layer_norm": encoder.norm_order == "pre",
        "feat_quantizer_dropout": encoder.input_dropout,
        "num_feat_extract_layers": len(encoder.conv_channels),
    }
    if isinstance(config, Wav2Vec2Config):
        values = to_dict(config)
        theirs |= {key: values[field] for field, key, _ in _HEAD_KEYS}
        own["model"] = {field: values[field] for field in _HEAD_OWN}
    elif isinstance(model, CtcModel):
        theirs |= {
            "vocab_size": model.characters.size,
            "pad_token_id": BLANK,
            "bos_token_id": None,
            "eos_token_id": None,
            "final_dropout": model.config.final_dropout,
            "ctc_zero_infinity": True,
        }
    if isinstance(config, Wav2Vec2Config | HubertConfig):
        theirs |= {
            "mask_time_prob": config.mask.share,
            "mask_time_length": config.mask.span_frames,
            "mask_time_min_masks": config.mask.min_spans,
        }
    return {**theirs, "torch_dtype": "float32", OURS: own}


def preprocessor_config() -> dict[str, Any]:
    """Return what transformers' feature extractor is told about waves.

    No normalisation: our models are trained on waves as they are, as fairseq's base recipes do, and
    a wave of unit variance would be some twenty times louder than all they heard. With the mask of
    padding, rows of a batch do not attend to each other's padding, as in our encoder.
    """
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": SAMPLE_RATE_HZ,
        "padding_side": "right",
        "padding_value": 0.0,
        "do_normalize": False,
        "return_attention_mask": True,
    }


def _write(
    folder: Path, state: Mapping[str, Tensor], tables: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write all files, each whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in tables.items():
            write_json(folder / name, content)
        write_atomically(
            folder / MODEL_FILE,
            # transformers refuses files that do not say which framework wrote them.
            lambda path: safetensors.torch.save_file(tensors, str(path), {"format": "pt"}),
        )
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"Cannot write the model to {folder}: {error}.") from error
