"""Deeper networks that start as the shallower ones they grow from.

A residual block whose last layer is zero changes nothing, but its gradient is not zero: a trained
stack can be given more blocks and goes on learning from where it stands (Chen et al. 2016,
"Net2Net", §2.2, for residual networks).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from speechkit.facodec.convnext import ConvNeXtStack
from speechkit.facodec.small.codec import FACodec
from speechkit.facodec.small.config import FACodecConfig


def grown_config(found: FACodecConfig, wanted: FACodecConfig) -> FACodecConfig:
    """`found` with as many blocks in decoder and vocoder as `wanted` asks for, never fewer.

    And with a decoder that listens to phones, where `wanted` has one.
    """
    blocks = max(found.vocoder.blocks, wanted.vocoder.blocks)
    return replace(
        found,
        decoder_blocks=max(found.decoder_blocks, wanted.decoder_blocks),
        vocoder=replace(found.vocoder, blocks=blocks),
        told_phones=found.told_phones or wanted.told_phones,
    )


def grown_state(state: dict[str, Tensor], codec: FACodec) -> dict[str, Tensor]:
    """The weights of a smaller codec with the parts of `codec` that it lacks, silent at first.

    `codec` is deeper than the one `state` is of, or as deep; its weights are fresh.
    """
    fresh = codec.state_dict()
    grown = {key: value for key, value in fresh.items() if key.startswith("told_phones.")} | state
    stacks = {"decoder": codec.decoder, "vocoder.net": codec.vocoder.net}
    for name, stack in stacks.items():
        assert isinstance(stack, ConvNeXtStack)
        for number in range(len(stack.blocks)):
            block = f"{name}.blocks.{number}."
            if any(key.startswith(block) for key in state):
                continue
            for key, value in fresh.items():
                if key.startswith(block):
                    silent = key.startswith(f"{block}down.")
                    grown[key] = torch.zeros_like(value) if silent else value
    return grown
