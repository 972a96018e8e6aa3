"""The generator of a model folder, on torch or, where it was exported, on onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from speechkit.core.checkpoint import load_checkpoint
from speechkit.core.onnx import Origin, is_export, origin_of
from speechkit.diffusion.generator import Generator, generator_of


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
