"""The verb `ssl pretrain`."""

from __future__ import annotations

import argparse
from pathlib import Path

from speechkit.cli import arguments
from speechkit.cli.output import Outcome
from speechkit.cli.train import outcome_of, recipe_of
from speechkit.train import add_training_arguments


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `pretrain`."""
    pretrain = verbs.add_parser(
        "pretrain", help="train wav2vec 2.0, HuBERT or BEST-RQ on audio alone"
    )
    arguments.add_corpora(pretrain)
    pretrain.add_argument(
        "--units", type=Path, metavar="FOLDER", help="for HuBERT, from `ssl units`"
    )
    pretrain.add_argument(
        "--initial", type=Path, metavar="FOLDER", help="model folder to start from"
    )
    add_training_arguments(pretrain)
    arguments.add_json(pretrain)
    pretrain.set_defaults(handler=_pretrain)


def _pretrain(args: argparse.Namespace) -> Outcome:
    """Train."""
    from speechkit.ssl.pretrain import PretrainConfig, pretrain

    config = recipe_of(args, PretrainConfig)
    return outcome_of(
        pretrain(args.corpus, config, args.out, units=args.units, initial=args.initial)
    )
