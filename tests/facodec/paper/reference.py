"""The public code, read from a checkout outside this repository, with parts of any size.

Set AMPHION_DIR to a checkout of open-mmlab/Amphion that has models/codec/ns3_codec.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import nn

from speechkit.facodec.paper.amphion import codec_layout, redecoder_layout, to_public
from speechkit.facodec.paper.codec import PaperCodec
from speechkit.facodec.paper.config import TransformerConfig
from speechkit.facodec.paper.redecoder import Redecoder

NEEDED = ("einops", "librosa", "pyworld", "soundfile", "torchaudio")
"""What the public code imports; einops is not among our own dependencies."""

PUBLIC_PHONES, PUBLIC_SPEAKERS = 5003, 245_200
"""Sizes that stand as plain numbers in the public code."""


def amphion() -> ModuleType:
    """The public module `facodec`; skips the test where it is not to be had."""
    folder = os.environ.get("AMPHION_DIR")
    if not folder or not (Path(folder) / "models/codec/ns3_codec/facodec.py").is_file():
        pytest.skip("AMPHION_DIR names no checkout with models/codec/ns3_codec")
    for name in NEEDED:
        pytest.importorskip(name, reason=f"the public code needs {name}")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module("models.codec.ns3_codec.facodec")


def part(module: ModuleType, name: str) -> ModuleType:
    """A module beside `facodec`, such as `transformer`."""
    return importlib.import_module(f"{module.__name__.rpartition('.')[0]}.{name}")


def copy_in_order(source: nn.Module, target: nn.Module) -> None:
    """Copy parameters to a public module that registers the same ones in the same order."""
    theirs, ours = list(target.parameters()), list(source.parameters())
    assert [p.shape for p in theirs] == [p.shape for p in ours]
    with torch.no_grad():
        for their, our in zip(theirs, ours, strict=True):
            their.copy_(our)


@contextmanager
def sized(module: ModuleType, config: TransformerConfig, width: int, **more: Any) -> Iterator[None]:
    """Let the public classes build parts of another size than the numbers in their code."""
    transformer, head = module.TransformerEncoder, module.CNNLSTM

    def smaller_transformer(**kwargs: Any) -> Any:
        kwargs |= {
            "encoder_layer": config.layers,
            "encoder_hidden": width,
            "encoder_head": config.heads,
            "conv_filter_size": config.filter_channels,
            "conv_kernel_size": config.kernel_frames,
        }
        return transformer(**kwargs)

    def smaller_head(channels: int, outputs: int, *args: Any, **kwargs: Any) -> Any:
        return head(channels, more.get("outputs", {}).get(outputs, outputs), *args, **kwargs)

    with ExitStack() as stack:
        stack.enter_context(patch.object(module, "TransformerEncoder", smaller_transformer))
        stack.enter_context(patch.object(module, "CNNLSTM", smaller_head))
        if "mel" in more:
            mel = module.MelSpectrogram
            stack.enter_context(
                patch.object(module, "MelSpectrogram", lambda **_: mel(**more["mel"]))
            )
        yield


def codec(module: ModuleType, ours: PaperCodec) -> tuple[Any, Any]:
    """The public encoder and decoder with the weights of ours, in evaluation mode."""
    config, quant = ours.config, ours.config.quantizer
    suffix = "V2" if config.version == "v2" else ""
    mel = config.prosody_mel
    sizes = {
        "outputs": {PUBLIC_PHONES: config.phone_classes, PUBLIC_SPEAKERS: config.speakers},
        "mel": {
            "n_fft": mel.n_fft,
            "num_mels": mel.n_mels,
            "sampling_rate": mel.sample_rate_hz,
            "hop_size": mel.hop_length,
            "win_size": mel.win_length,
            "fmin": 0,
            "fmax": 8000,
        },
    }
    bits = quant.codebook_size.bit_length() - 1
    with sized(module, config.transformer, config.channels, **sizes):
        encoder = getattr(module, f"FACodecEncoder{suffix}")(
            ngf=config.encoder_channels, up_ratios=config.strides, out_channels=config.channels
        )
        decoder = getattr(module, f"FACodecDecoder{suffix}")(
            in_channels=config.channels,
            upsample_initial_channel=config.generator_channels,
            up_ratios=config.strides[::-1],
            vq_num_q_p=quant.prosody_codebooks,
            vq_num_q_c=quant.content_codebooks,
            vq_num_q_r=quant.detail_codebooks,
            vq_dim=config.channels,
            vq_commit_weight=config.commitment,
            codebook_dim=quant.code_channels,
            codebook_size_prosody=bits,
            codebook_size_content=bits,
            codebook_size_residual=bits,
            use_gr_content_f0=config.reverse_content_f0,
            use_gr_prosody_phone=config.reverse_prosody_phone,
            use_gr_residual_f0=config.reverse_detail_f0,
            use_gr_residual_phone=config.reverse_detail_phone,
            use_gr_x_timbre=config.reverse_speaker,
        )
    if suffix:
        decoder.melspec_linear = nn.Linear(config.prosody_bands, config.channels)
    files = to_public(codec_layout(config), ours.state_dict())
    encoder.load_state_dict(files["encoder"], strict=True)
    decoder.load_state_dict(files["decoder"], strict=True)
    return encoder.eval(), decoder.eval()


def redecoder(module: ModuleType, ours: Redecoder) -> Any:
    """The public redecoder with the weights of ours, in evaluation mode."""
    config = ours.config
    bits = config.quantizer.codebook_size.bit_length() - 1
    with sized(module, config.transformer, config.channels):
        made = module.FACodecRedecoder(
            in_channels=config.channels,
            upsample_initial_channel=config.generator_channels,
            up_ratios=config.strides[::-1],
            vq_dim=config.channels,
            codebook_size_prosody=bits,
            codebook_size_content=bits,
            codebook_size_residual=bits,
        )
    files = to_public(redecoder_layout(config), ours.state_dict())
    made.load_state_dict(files["redecoder"], strict=True)
    return made.eval()
