"""A whole voice model with random weights, small enough that a sentence takes milliseconds."""

from __future__ import annotations

from pathlib import Path

import torch

from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.config import to_dict
from speechkit.diffusion.config import DenoiserConfig, GeneratorConfig
from speechkit.diffusion.generator import build_generator
from speechkit.facodec.quantizer import QuantizerConfig
from speechkit.facodec.small.codec import build_codec
from speechkit.facodec.small.config import FACodecConfig, VocoderConfig
from speechkit.text import DEFAULT_VOCABULARY
from speechkit.text.frames import FrameClasses

CODEBOOK_SIZE = 16

TINY_CODEC = FACodecConfig(
    quantizer=QuantizerConfig(codebook_size=CODEBOOK_SIZE, code_channels=4),
    vocoder=VocoderConfig(channels=16, blocks=1),
    channels=16,
    encoder_blocks=1,
    decoder_blocks=1,
    prosody_channels=8,
    prosody_blocks=1,
    timbre_channels=12,
    timbre_blocks=1,
    phone_symbols=FrameClasses(DEFAULT_VOCABULARY).symbols,
    told_phones=True,
    voice_spectrum=True,
    voice_shapes=2,
    sharpness=0.5,
)

TINY_GENERATOR = GeneratorConfig(
    frame=DenoiserConfig(
        channels=16,
        blocks=2,
        heads=2,
        frame_channels=8,
        codebook_size=CODEBOOK_SIZE,
        timbre_channels=TINY_CODEC.timbre_channels,
    ),
    # Few entries keep the random durations, and so the tests, short.
    duration=DenoiserConfig(
        channels=16,
        blocks=2,
        heads=2,
        patch=1,
        frame_channels=8,
        codebooks=1,
        codebook_size=8,
        stages=1,
    ),
    phone_symbols=DEFAULT_VOCABULARY.symbols,
)


def tiny_model(folder: Path, seed: int = 0) -> Path:
    """Write `codec` and `generator` with random weights into the folder, and return it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        codec = build_codec(TINY_CODEC)
        generator = build_generator(TINY_GENERATOR)
        # A decoder that grew ears for phones does not listen at first.
        assert codec.told_phones is not None
        codec.told_phones.of_class.weight.data.normal_()
        # Gates start at 0; open them, or prompts would have no effect on anything.
        for parameter in generator.parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    save_checkpoint(folder / "codec", codec.state_dict(), {"codec": to_dict(codec.config)})
    save_checkpoint(
        folder / "generator", generator.state_dict(), {"generator": to_dict(generator.config)}
    )
    return folder
