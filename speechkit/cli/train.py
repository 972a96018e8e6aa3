"""The verb `train`: the training programs under one name, with the arguments passed on as they are.

The programs themselves run without this package's command line, see `recipes`.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping

from speechkit.cli import arguments

PROGRAMS: Mapping[str, str] = {
    "aligner": "speechkit.data.align.train",
    "codec": "speechkit.facodec.train",
    "generator": "speechkit.diffusion.train",
}


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add the verb."""
    train = verbs.add_parser("train", help="train the aligner, the codec or the generator")
    train.add_argument("part", choices=tuple(PROGRAMS), help="which model")
    train.add_argument(
        "arguments", nargs=argparse.REMAINDER, help="of its program; --help prints them"
    )
    train.set_defaults(handler=_train)


def _train(args: argparse.Namespace) -> int:
    """Run the program; its exit code."""
    main = importlib.import_module(PROGRAMS[args.part]).main
    return int(main(args.arguments) or 0)
