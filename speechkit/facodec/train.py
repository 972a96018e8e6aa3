"""Training program of the codec: `python -m speechkit.facodec.train PHASE …`.

Phases: `vocoder` trains the head on real log-mel; `acoustic` everything else; `finetune` the head
on the codec's own log-mel. Each starts from the export of the one before (`--init`).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from speechkit.core.checkpoint import load_checkpoint, load_state
from speechkit.data.alignment import Alignment, sidecar_path
from speechkit.data.packed import PackedCorpus
from speechkit.facodec.small.codec import FACodec, build_codec, codec_config
from speechkit.facodec.small.config import FACodecConfig
from speechkit.facodec.training.acoustic_task import AcousticConfig, AcousticTask
from speechkit.facodec.training.segments import Segments
from speechkit.facodec.training.vocoder_task import VocoderTask
from speechkit.text.frames import FrameClasses
from speechkit.text.vocab import DEFAULT_VOCABULARY
from speechkit.train import (
    TrainConfig,
    add_training_arguments,
    config_from_args,
    show_progress,
    train,
)


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """How the head is trained."""

    batch_size: int = 24
    """Crops a step."""

    window_frames: int = 34
    """Code frames of a crop that are spoken."""

    crop_frames: int = 60
    """Code frames of a crop that are encoded when the codec's own log-mel is used."""


@dataclass(frozen=True, kw_only=True)
class CodecTraining:
    """A whole recipe of the codec."""

    codec: FACodecConfig = field(default_factory=FACodecConfig)
    """The network."""

    acoustic: AcousticConfig = field(default_factory=AcousticConfig)
    """The acoustic phase."""

    head: HeadConfig = field(default_factory=HeadConfig)
    """The two phases that train the head."""

    train: TrainConfig = field(default_factory=lambda: TrainConfig(amp="bf16"))
    """Optimiser, budget and log."""


def start_codec(
    config: FACodecConfig, corpus: PackedCorpus, init: Path | None, seed: int
) -> FACodec:
    """A fresh codec for the corpus, or the one exported in `init`."""
    if init is not None:
        checkpoint = load_checkpoint(init)
        codec = build_codec(replace(codec_config(checkpoint.config), speakers=len(corpus.speakers)))
        load_state(codec, checkpoint.state)
        return codec
    symbols = FrameClasses(DEFAULT_VOCABULARY).symbols
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_codec(replace(config, phone_symbols=symbols, speakers=len(corpus.speakers)))


def build_task(
    phase: str, recipe: CodecTraining, data: Path, init: Path | None
) -> AcousticTask | VocoderTask:
    """The task of a phase on a packed corpus and, if there is one, its alignment."""
    corpus = PackedCorpus(data)
    sidecar = sidecar_path(data)
    ids = [clip["id"] for clip in corpus.clips]
    alignment = Alignment(sidecar, ids) if sidecar.exists() else None
    codec = start_codec(recipe.codec, corpus, init, recipe.train.seed)
    crop = recipe.acoustic.crop_frames if phase == "acoustic" else recipe.head.crop_frames

    def segments(validation: bool) -> Segments:
        return Segments(
            corpus,
            FrameClasses(DEFAULT_VOCABULARY),
            alignment,
            crop_frames=crop,
            reference_frames=recipe.acoustic.reference_frames,
            level_rms=codec.config.level_rms,
            validation=validation,
        )

    if phase == "acoustic":
        # The heads that only training needs are fresh in every run: their start follows the seed.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.train.seed)
            return AcousticTask(codec, segments(False), segments(True), recipe.acoustic)
    return VocoderTask(
        codec,
        segments(False),
        segments(True),
        batch_size=recipe.head.batch_size,
        window_frames=recipe.head.window_frames,
        coded=phase == "finetune",
    )


def main(argv: list[str] | None = None) -> None:
    """Run one phase."""
    parser = argparse.ArgumentParser(prog="python -m speechkit.facodec.train", description=__doc__)
    parser.add_argument("phase", choices=("vocoder", "acoustic", "finetune"))
    parser.add_argument("--data", type=Path, required=True, help="packed corpus")
    parser.add_argument("--init", type=Path, help="export of an earlier phase")
    add_training_arguments(parser)
    args = parser.parse_args(argv)
    show_progress()
    recipe = config_from_args(args, CodecTraining)
    train(build_task(args.phase, recipe, args.data, args.init), recipe.train, args.out)


if __name__ == "__main__":
    main()
