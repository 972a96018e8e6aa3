"""Training program of the generator: `python -m speechkit.diffusion.train …`.

Needs the packed corpus with its alignment and codes beside it, and the codec they came from.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from speechkit.core.checkpoint import load_checkpoint, load_state
from speechkit.core.rng import generator
from speechkit.data.alignment import Alignment, sidecar_path
from speechkit.data.codes import CorpusCodes, codes_path
from speechkit.data.packed import PackedCorpus
from speechkit.diffusion.config import GeneratorConfig
from speechkit.diffusion.generator import Generator, build_generator, generator_config
from speechkit.diffusion.sequences import Sequences
from speechkit.diffusion.task import GeneratorTask, GeneratorTaskConfig
from speechkit.facodec.small.codec import FACodec, load_codec
from speechkit.text.vocab import DEFAULT_VOCABULARY
from speechkit.train import (
    TrainConfig,
    add_training_arguments,
    config_from_args,
    show_progress,
    train,
)


@dataclass(frozen=True, kw_only=True)
class GeneratorTraining:
    """A whole recipe of the generator."""

    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    """The networks."""

    task: GeneratorTaskConfig = field(default_factory=GeneratorTaskConfig)
    """What a step trains on."""

    train: TrainConfig = field(default_factory=lambda: TrainConfig(amp="auto"))
    """Optimiser, budget and log."""


def start_generator(
    config: GeneratorConfig, codec: FACodec, init: Path | None, seed: int
) -> Generator:
    """A fresh generator whose tables start from the codec's books, or the one in `init`."""
    if init is not None:
        checkpoint = load_checkpoint(init)
        model = build_generator(generator_config(checkpoint.config))
        load_state(model, checkpoint.state)
        return model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_generator(replace(config, phone_symbols=DEFAULT_VOCABULARY.symbols))
    books = [codec.prosody_books, codec.content_books, codec.detail_books]
    tables = [level.book_VC.detach() for part in books for level in part.quantizers()]
    model.frame.adopt_books(torch.stack(tables), generator(seed))
    return model


def build_task(
    recipe: GeneratorTraining, data: Path, codec: Path, init: Path | None
) -> GeneratorTask:
    """The task on a packed corpus with alignment and codes beside it."""
    corpus = PackedCorpus(data)
    ids = [clip["id"] for clip in corpus.clips]
    alignment = Alignment(sidecar_path(data), ids)
    codes = CorpusCodes(codes_path(data), ids)
    model = start_generator(recipe.generator, load_codec(codec), init, recipe.train.seed)

    def sequences(validation: bool) -> Sequences:
        return Sequences(
            corpus,
            alignment,
            codes,
            model.config,
            target_frames=recipe.task.target_frames,
            prompt_drop=recipe.task.prompt_drop,
            validation=validation,
        )

    return GeneratorTask(model, sequences(False), sequences(True), recipe.task)


def main(argv: list[str] | None = None) -> None:
    """Train the generator."""
    parser = argparse.ArgumentParser(
        prog="python -m speechkit.diffusion.train", description=__doc__
    )
    parser.add_argument("--data", type=Path, required=True, help="packed corpus")
    parser.add_argument("--codec", type=Path, required=True, help="folder of the codec")
    parser.add_argument("--init", type=Path, help="export of an earlier run to go on from")
    add_training_arguments(parser)
    args = parser.parse_args(argv)
    show_progress()
    recipe = config_from_args(args, GeneratorTraining)
    train(build_task(recipe, args.data, args.codec, args.init), recipe.train, args.out)


if __name__ == "__main__":
    main()
