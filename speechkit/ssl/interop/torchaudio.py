"""torchaudio's models in memory: `Wav2Vec2Model` and `HuBERTPretrainModel`.

Their saved state dicts go through `interop.states`, which reads the same names without the module.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from speechkit.core.errors import CheckpointError
from speechkit.ssl.config import EncoderConfig
from speechkit.ssl.encoder import build_encoder
from speechkit.ssl.hubert import build_hubert
from speechkit.ssl.interop.names import old_to_modern
from speechkit.ssl.interop.states import (
    Exchanged,
    Imported,
    assemble,
    encoder_from_shapes,
    hubert_from_shapes,
    kind_of,
    read_source,
    to_state,
)


def from_torchaudio(module: nn.Module, *, encoder_only: bool = False) -> Imported:
    """Return our model of a torchaudio model, with its weights and dropouts.

    Raises CheckpointError for another module, as WavLM, whose attention has a position bias.
    """
    inner: Any = getattr(module, "wav2vec2", module)
    try:
        source = read_source(module.state_dict(), "torchaudio")
        encoder = _encoder_config(inner, encoder_from_shapes(source, **_beyond_shapes(inner)))
    except AttributeError as error:
        raise CheckpointError(
            f"{type(module).__name__} is not torchaudio's wav2vec 2.0 or HuBERT ({error})."
        ) from error
    if source.kind != "hubert" or encoder_only:
        return assemble(partial(build_encoder, encoder), source)
    scale = getattr(module, "feature_grad_mult", None)
    encoder = replace(encoder, conv_gradient_scale=1.0 if scale is None else float(scale))
    return assemble(partial(build_hubert, hubert_from_shapes(source, encoder)), source)


def to_torchaudio(model: Exchanged) -> dict[str, Tensor]:
    """Return a state dict for torchaudio's `wav2vec2_model`, or `hubert_pretrain_model` of HuBERT.

    wav2vec 2.0's heads and a bare encoder's mask vector have no place there.
    """
    state, _ = to_state(model, "torchaudio")
    state = {old_to_modern(name): tensor for name, tensor in state.items()}
    outside = ("mask_generator.", "logit_generator.")
    if kind_of(model) == "hubert":
        return {
            name if name.startswith(outside) else f"wav2vec2.{name}": tensor
            for name, tensor in state.items()
        }
    return {name: tensor for name, tensor in state.items() if not name.startswith(outside)}


def _beyond_shapes(inner: Any) -> dict[str, Any]:
    """Return what the shapes do not tell."""
    convs = inner.feature_extractor.conv_layers
    return {
        "heads": inner.encoder.transformer.layers[0].attention.num_heads,
        "strides": [block.conv.stride[0] for block in convs],
    }


def _encoder_config(inner: Any, config: EncoderConfig) -> EncoderConfig:
    """Return the config with the order of norms and the dropouts of the module."""
    transformer = inner.encoder.transformer
    block = transformer.layers[0]
    return replace(
        config,
        # The flag says that the stack begins with a LayerNorm: so it does where blocks end in one.
        norm_order="post" if transformer.layer_norm_first else "pre",
        dropout=transformer.dropout.p,
        attention_dropout=block.attention.dropout,
        ffn_dropout=block.feed_forward.intermediate_dropout.p,
        input_dropout=inner.encoder.feature_projection.dropout.p,
        layer_drop=transformer.layer_drop,
    )
