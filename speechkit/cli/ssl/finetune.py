"""The verb `ssl finetune`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.cli import arguments
from speechkit.cli.output import Outcome
from speechkit.cli.train import outcome_of, recipe_of
from speechkit.train import add_training_arguments

if TYPE_CHECKING:
    from speechkit.ssl.config import EncoderConfig
    from speechkit.ssl.encoder import SslEncoder


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `finetune`."""
    finetune = verbs.add_parser("finetune", help="turn an encoder into a recogniser, with CTC")
    arguments.add_corpora(finetune, "--corpus", ", with text")
    source = finetune.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--encoder", type=Path, metavar="FOLDER", help="pre-trained model, from ssl pretrain"
    )
    source.add_argument(
        "--random-init",
        type=Path,
        metavar="CONFIG",
        help="start from nothing, with the encoder of this pre-training config (TOML)",
    )
    finetune.add_argument(
        "--minutes-of-labels",
        type=arguments.number(1e-3, 1e7),
        metavar="N",
        help="labelled speech to learn from, balanced over speakers (all)",
    )
    arguments.add_selection(finetune, "languages")
    finetune.add_argument(
        "--skip-unknown",
        action="store_true",
        help="leave out clips with digits and the like instead of stopping",
    )
    add_training_arguments(finetune)
    arguments.add_json(finetune)
    finetune.set_defaults(handler=_finetune)


def _finetune(args: argparse.Namespace) -> Outcome:
    """Train a recogniser."""
    from speechkit.core.checkpoint import load_checkpoint
    from speechkit.core.config import load_toml
    from speechkit.ssl.checkpoints import load_encoder
    from speechkit.ssl.ctc.finetune import FinetuneConfig, finetune
    from speechkit.ssl.pretrain import PretrainConfig

    if args.minutes_of_labels is not None:
        args.overrides.append(f"clips.minutes={args.minutes_of_labels}")
    if args.languages:
        args.overrides.append(f"clips.selection.languages={args.languages}")
    if args.skip_unknown:
        args.overrides.append("clips.on_unknown=skip")
    config = recipe_of(args, FinetuneConfig)
    encoder: SslEncoder | EncoderConfig
    if args.encoder is not None:
        encoder, source = load_encoder(args.encoder), load_checkpoint(args.encoder).sha256
    else:
        encoder, source = load_toml(args.random_init, PretrainConfig).model.encoder, "random"
    report = finetune(args.corpus, config, args.out, encoder=encoder, source=source)
    run = outcome_of(report.run)
    if not run.text:
        return run
    return Outcome(text=f"{report.labels}\n{run.text}", data={"labels": report.labels, **run.data})
