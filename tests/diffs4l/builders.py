"""A seed of tones with its codec, codes, units and generator, all of a few thousand weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.config import to_dict
from speechkit.core.rng import generator
from speechkit.diffusion.config import FRAME_STAGES, DenoiserConfig, GeneratorConfig
from speechkit.diffusion.generator import build_generator
from speechkit.diffusion.train_units import UnitGeneratorTraining, UnitTaskConfig
from speechkit.diffusion.units import unit_symbols
from speechkit.facodec.encode_corpus import encode_corpus
from speechkit.facodec.quantizer import QuantizerConfig
from speechkit.facodec.small.codec import build_codec
from speechkit.facodec.small.config import FACodecConfig, VocoderConfig
from speechkit.ssl.units import KMeansConfig, UnitsConfig, make_units
from speechkit.text import DEFAULT_VOCABULARY
from speechkit.text.frames import FrameClasses
from speechkit.train import TrainConfig
from tests.ssl.tiny import tiny_corpus

CODEC = FACodecConfig(
    quantizer=QuantizerConfig(codebook_size=16, code_channels=4),
    vocoder=VocoderConfig(channels=16, blocks=1),
    channels=16,
    encoder_blocks=1,
    decoder_blocks=1,
    prosody_channels=8,
    prosody_blocks=1,
    timbre_channels=12,
    timbre_blocks=1,
    phone_symbols=FrameClasses(DEFAULT_VOCABULARY).symbols,
)
GENERATOR = GeneratorConfig(
    frame=DenoiserConfig(
        channels=16, blocks=2, heads=2, frame_channels=16, codebook_size=16, timbre_channels=12
    ),
    duration=DenoiserConfig(
        channels=2, blocks=0, heads=1, patch=1, frame_channels=2, codebooks=1, codebook_size=2,
        stages=1,
    ),
    timbre_stages=FRAME_STAGES,
)  # fmt: skip
CLUSTERS = 6
UNITS = UnitsConfig(kmeans=KMeansConfig(clusters=CLUSTERS, batch_frames=500, epochs=3, inits=1))
TRAINING = UnitGeneratorTraining(
    generator=GENERATOR,
    task=UnitTaskConfig(frames=200, target_frames=(30, 50)),
    train=TrainConfig(steps=1, device="cpu", ema_decay=0.0),
)


@dataclass(frozen=True, kw_only=True)
class Seed:
    """Where everything lies."""

    corpus: Path
    units: Path
    kmeans: Path
    codec: Path
    generator: Path


def write_seed(folder: Path, clips: int = 8, seconds: float = 1.2) -> Seed:
    """Clips of four speakers, encoded, with MFCC units, and random weights that are all alive."""
    corpus = tiny_corpus(folder / "seed.safetensors", clips=clips, seconds=seconds)
    rng = generator(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codec = build_codec(CODEC)
        config = replace(GENERATOR, phone_symbols=unit_symbols(CLUSTERS))
        model = build_generator(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng))
    save_checkpoint(folder / "codec", codec.state_dict(), {"codec": to_dict(CODEC)})
    encode_corpus(corpus, folder / "codec", unaligned=True)
    report = make_units(corpus, folder / "units", UNITS)
    save_checkpoint(
        folder / "generator",
        model.state_dict(),
        {"generator": to_dict(config), "units": {"kmeans_sha256": report.kmeans_sha256}},
    )
    return Seed(
        corpus=corpus,
        units=folder / "units",
        kmeans=folder / "units" / "kmeans",
        codec=folder / "codec",
        generator=folder / "generator",
    )
