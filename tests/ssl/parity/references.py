"""One tiny random network in four libraries, with weights copied by `speechkit.ssl.interop`.

Shapes: B batch, T samples, F frames, M masked frames of a row, K distractors.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from speechkit.core.rng import generator
from speechkit.ssl.config import EncoderConfig, HubertConfig, Wav2Vec2Config
from speechkit.ssl.encoder import SslEncoder, build_encoder
from speechkit.ssl.hubert import HubertPretrainer, build_hubert
from speechkit.ssl.interop.states import Exchanged, kind_of, to_state
from speechkit.ssl.interop.transformers import to_transformers
from speechkit.ssl.wav2vec2 import Wav2Vec2Pretrainer, build_wav2vec2
from tests.ssl.parity.fairseq2 import fairseq2_config

Style = Literal["base", "large", "mixed"]
CHANNELS, DIM, HEADS, FFN, LAYERS, KERNEL, GROUPS = 16, 32, 4, 64, 2, 8, 4
CLASSES, FINAL, CODEBOOK_SIZE, CODEBOOKS, DISTRACTORS = 7, 16, 20, 2, 10


def encoder_config(style: Style = "base") -> EncoderConfig:
    """As the base models, the large ones, or with the norms of both; without dropout."""
    return EncoderConfig(
        conv_channels=(CHANNELS,) * 7,
        conv_norm="group" if style == "base" else "layer",
        conv_bias=style == "large",
        norm_order="pre" if style == "large" else "post",
        model_dim=DIM,
        layers=LAYERS,
        heads=HEADS,
        ffn_dim=FFN,
        position_kernel=KERNEL,
        position_groups=GROUPS,
        dropout=0.0,
        attention_dropout=0.0,
        ffn_dropout=0.0,
        input_dropout=0.0,
        layer_drop=0.0,
    )


def stir(module: nn.Module, seed: int = 5) -> None:
    """Move every parameter: fresh biases are 0 and gains 1, which would hide exchanged names."""
    rng = generator(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))


def our_encoder(style: Style = "base") -> SslEncoder:
    """Our encoder."""
    encoder = build_encoder(encoder_config(style))
    stir(encoder)
    return encoder.eval()


def our_wav2vec2(style: Style = "base", **changes: Any) -> Wav2Vec2Pretrainer:
    """Our wav2vec 2.0."""
    config = Wav2Vec2Config(
        encoder=encoder_config(style),
        final_dim=FINAL,
        codebooks=CODEBOOKS,
        codebook_size=CODEBOOK_SIZE,
        code_dim=16,
        distractors=DISTRACTORS,
    )
    model = build_wav2vec2(replace(config, **changes))
    stir(model)
    return model.eval()


def our_hubert(**changes: Any) -> HubertPretrainer:
    """Our HuBERT."""
    config = HubertConfig(encoder=encoder_config(), clusters=CLASSES, final_dim=FINAL)
    model = build_hubert(replace(config, **changes))
    stir(model)
    return model.eval()


def in_fairseq2(model: Wav2Vec2Pretrainer) -> Any:
    """fairseq2's model with the same weights; skips where it is not installed."""
    pytest.importorskip("fairseq2", reason="parity with fairseq2 wants the extra parity")
    from fairseq2.models import wav2vec2 as library

    config = model.config
    there = library.create_wav2vec2_model(
        library.Wav2Vec2Config(
            encoder_config=fairseq2_config(config.encoder),
            final_dim=config.final_dim,
            quantized_dim=config.code_dim,
            num_codebooks=config.codebooks,
            num_codebook_entries=config.codebook_size,
            num_distractors=config.distractors,
        )
    )
    state, left_out = to_state(model, "fairseq2")
    assert not left_out
    there.load_state_dict({**state, "quantizer.num_updates": torch.tensor(0)})
    return there.eval()


def in_transformers(model: Exchanged, folder: Path, **options: Any) -> Any:
    """transformers' model, read from a folder that we export."""
    import transformers

    exported = to_transformers(model, folder, **options)
    there, info = getattr(transformers, exported.architecture).from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(info.values()), info
    return there.eval()


def to_torchaudio(model: Exchanged) -> dict[str, Tensor]:
    """A state dict of torchaudio's `wav2vec2_model`, or `hubert_pretrain_model` of HuBERT."""
    state, _ = to_state(model, "torchaudio")
    original = ".parametrizations.weight.original"
    state = {
        name.replace(".weight_g", f"{original}0").replace(".weight_v", f"{original}1"): tensor
        for name, tensor in state.items()
    }
    outside = ("mask_generator.", "logit_generator.")
    if kind_of(model) == "hubert":
        return {n if n.startswith(outside) else f"wav2vec2.{n}": t for n, t in state.items()}
    return {name: tensor for name, tensor in state.items() if not name.startswith(outside)}


def in_torchaudio(model: SslEncoder | HubertPretrainer) -> Any:
    """torchaudio's model with the same weights."""
    from torchaudio import models

    encoder = model if isinstance(model, SslEncoder) else model.encoder
    config = encoder.config
    sizes = (
        f"{config.conv_norm}_norm",
        list(zip(config.conv_channels, config.conv_kernels, config.conv_strides, strict=True)),
        config.conv_bias,
        *(config.model_dim, 0.0, config.position_kernel, config.position_groups),
        *(config.layers, config.heads, 0.0, config.ffn_dim, 0.0, 0.0),
        *(config.norm_order == "pre", 0.0),
    )
    if isinstance(model, SslEncoder):
        there = models.wav2vec2_model(*sizes, aux_num_out=None)
    else:
        time_mask = (0.8, "static", 0.0, 10, False, 1)
        no_mask = (0.0, "static", 0.0, 10, False, 1)
        heads = (False, False, CLASSES, FINAL, config.conv_gradient_scale)
        there = models.hubert_pretrain_model(*sizes, *time_mask, *no_mask, *heads)
    there.load_state_dict(to_torchaudio(model))
    return there.eval()


def noise(rows: int = 2, samples: int = 32_000, seed: int = 1) -> Tensor:
    """wave_BT of noise."""
    return 0.3 * torch.randn(rows, samples, generator=generator(seed))


def masks(frames: int = 99) -> Tensor:
    """masked_BF with equally many hidden frames in two rows, at different places."""
    masked_BF = torch.zeros(2, frames, dtype=torch.bool)
    for row, starts in enumerate([(3, 30, 60, 80), (10, 25, 50, 75)]):
        for start in starts:
            masked_BF[row, start : start + 10] = True
    return masked_BF


def difference(ours: Tensor, reference: Tensor) -> float:
    """Largest absolute difference."""
    assert ours.shape == reference.shape
    return float((ours.double() - reference.double()).abs().max().detach())
