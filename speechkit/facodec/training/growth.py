"""Deeper networks that start as the shallower ones they grow from.

A residual block whose last layer is zero changes nothing, but its gradient is not zero: a trained
stack can be given more blocks and goes on learning from where it stands (Chen et al. 2016,
"Net2Net", §2.2, for residual networks).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from speechkit.facodec.small.codec import FACodec
from speechkit.facodec.small.config import FACodecConfig


def grown_config(found: FACodecConfig, wanted: FACodecConfig) -> FACodecConfig:
    """`found` with as many blocks in decoder and vocoder as `wanted` asks for, never fewer.

    And with a decoder that listens to phones, voices with their spectrum and a sharper log-mel,
    where `wanted` has them.
    """
    blocks = max(found.vocoder.blocks, wanted.vocoder.blocks)
    return replace(
        found,
        decoder_blocks=max(found.decoder_blocks, wanted.decoder_blocks),
        vocoder=replace(found.vocoder, blocks=blocks),
        told_phones=found.told_phones or wanted.told_phones,
        voice_spectrum=found.voice_spectrum or wanted.voice_spectrum,
        voice_shapes=wanted.voice_shapes or found.voice_shapes,
        sharpness=wanted.sharpness or found.sharpness,
    )


def grown_state(
    state: dict[str, Tensor], found: FACodecConfig, codec: FACodec
) -> dict[str, Tensor]:
    """The weights of a codec `found` with the parts of `codec` that it lacks, silent at first.

    `codec` has the `grown_config` of it and fresh weights.
    """
    new = [] if found.told_phones else ["told_phones."]
    for name, before, after in (
        ("decoder", found.decoder_blocks, codec.config.decoder_blocks),
        ("vocoder.net", found.vocoder.blocks, codec.config.vocoder.blocks),
    ):
        new += [f"{name}.blocks.{number}." for number in range(before, after)]
    grown = dict(state)
    for key, value in codec.state_dict().items():
        if key.startswith(tuple(new)):
            grown[key] = torch.zeros_like(value) if ".down." in key else value
    return grown
