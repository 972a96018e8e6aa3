"""A paper codec with few channels, and weights that hide nothing.

Shapes: B batch, T samples.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from speechkit.core.mel import MelConfig
from speechkit.core.rng import generator
from speechkit.facodec.paper.codec import PaperCodec, build_paper_codec
from speechkit.facodec.paper.config import PaperCodecConfig, RedecoderConfig, TransformerConfig
from speechkit.facodec.paper.redecoder import Redecoder, build_redecoder
from speechkit.facodec.quantizer import QuantizerConfig

TINY = PaperCodecConfig(
    strides=(8, 5),
    encoder_channels=4,
    channels=16,
    generator_channels=16,
    quantizer=QuantizerConfig(codebook_size=16, code_channels=4),
    transformer=TransformerConfig(layers=1, filter_channels=16),
    prosody_mel=MelConfig(n_fft=256, win_length=160, hop_length=40, n_mels=40),
    phone_classes=7,
    speakers=3,
)
"""Hop 40, every kind of part, V1."""


def randomize(module: nn.Module, seed: int) -> None:
    """Fill every parameter so that a swapped, missing or unscaled one shows.

    Drawn evenly from a range, not from a bell curve: the bits of `torch.rand` are the same in
    every build of torch.
    """
    rng = generator(seed)
    for name, parameter in module.named_parameters():
        draws = torch.rand(parameter.shape, generator=rng)
        if "conv2" in name and name.endswith("original0"):
            # Residual units at full strength let signals grow until tanh says ±1 to everything.
            values = 0.1 + 0.2 * draws
        elif name.endswith("original0"):
            values = 0.5 + draws
        elif name.endswith(("log_alpha", "log_beta")):
            values = draws - 0.5
        elif name.endswith("norm.weight") or "norm1.weight" in name or "norm2.weight" in name:
            values = 0.5 + draws
        elif parameter.ndim > 1 and "original1" not in name and "codebook" not in name:
            values = (2 * draws - 1) * (3 / parameter[0].numel()) ** 0.5
        elif parameter.ndim == 1:
            values = 0.4 * (2 * draws - 1)
        else:
            values = 2 * draws - 1
        parameter.data.copy_(values)


def codec(config: PaperCodecConfig = TINY, seed: int = 0) -> PaperCodec:
    """A codec in evaluation mode with all parameters random."""
    made = build_paper_codec(config).eval()
    randomize(made, seed)
    return made


def noise(*shape: int, seed: int = 1, peak: float = 0.5) -> Tensor:
    """Even noise from −peak to peak, the same bits everywhere."""
    return peak * (2 * torch.rand(shape, generator=generator(seed)) - 1)


def redecoder(seed: int = 0) -> Redecoder:
    """A redecoder for the codes of `TINY`, in evaluation mode with all parameters random."""
    made = build_redecoder(
        RedecoderConfig(
            strides=TINY.strides,
            channels=TINY.channels,
            generator_channels=24,
            # Not seen by a redecoder, so left as a reader of its weights would find it.
            quantizer=replace(TINY.quantizer, code_channels=QuantizerConfig().code_channels),
            transformer=TINY.transformer,
            batch_index_position=True,
        )
    ).eval()
    randomize(made, seed)
    return made
