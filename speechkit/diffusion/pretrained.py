"""The generator of a model folder, on torch or, where it was exported, on onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from speechkit.core.checkpoint import load_checkpoint
from speechkit.core.errors import CheckpointError
from speechkit.core.onnx import Origin, is_export, origin_of
from speechkit.diffusion.generator import Generator, generator_of
from speechkit.facodec.codec import Codec, codes_sign


@dataclass(frozen=True, kw_only=True)
class PretrainedGenerator:
    """A generator that was found, and which one it is."""

    generator: Generator
    """Ready for inference."""

    origin: Origin
    """Its weights."""


def load_pretrained_generator(folder: str | Path) -> PretrainedGenerator:
    """The generator of a folder; raises CheckpointError or ConfigError where it holds none,
    MissingPackageError for an export without the extra `onnx`."""
    checkpoint = load_checkpoint(folder)
    if is_export(checkpoint.config):
        from speechkit.diffusion.onnx import exported_generator

        generator = exported_generator(Path(folder), checkpoint)
    else:
        generator = generator_of(checkpoint)
    return PretrainedGenerator(generator=generator, origin=origin_of(checkpoint))


def check_partners(codec: Codec, generator: Generator) -> None:
    """Raise CheckpointError unless the generator writes the codes that the codec reads."""
    sizes, made = codec.quantizer, generator.config
    agree = (
        sizes.prosody_codebooks,
        sizes.content_codebooks,
        sizes.detail_codebooks,
        sizes.codebook_size,
    ) == (
        made.prosody_codebooks,
        made.content_codebooks,
        made.detail_codebooks,
        made.frame.codebook_size,
    ) and made.frame.timbre_channels in (0, codec.timbre_channels)
    if not agree or made.codes not in ("", codes_sign(codec)):
        raise CheckpointError(
            "This generator was trained on the codes of another codec: use the two models that "
            "came together."
        )
