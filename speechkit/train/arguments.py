"""Command-line arguments that all training programs share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TypeVar

from speechkit.core.config import load_toml

ConfigT = TypeVar("ConfigT")

_FLAGS = ("minutes", "steps", "device", "threads", "seed")


def add_training_arguments(
    parser: argparse.ArgumentParser, default_config: Path | None = None
) -> None:
    """Add --out, --config, --set, and flags for the `TrainConfig` fields that change most."""
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the run; an existing run is resumed"
    )
    parser.add_argument("--config", type=Path, default=default_config, help="TOML config")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="KEY=VALUE",
        help="change one value of the config, such as train.lr=1e-4; may be given many times",
    )
    parser.add_argument("--minutes", type=float, help="time budget over all resumed parts")
    parser.add_argument("--steps", type=int, help="budget in optimiser steps")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="where to train")
    parser.add_argument("--threads", type=int, help="CPU threads of each process")
    parser.add_argument("--seed", type=int, help="all draws follow from it")


def config_from_args(
    args: argparse.Namespace, cls: type[ConfigT], section: str = "train"
) -> ConfigT:
    """Return a ``cls`` from --config, changed by --set and then by the flags.

    ``section`` is the dotted path of the `TrainConfig` in ``cls``; empty when ``cls`` is it.
    Without --config, all values are defaults at first. Raises ConfigError.
    """
    prefix = f"{section}." if section else ""
    flags = [
        f"{prefix}{name}={getattr(args, name)}"
        for name in _FLAGS
        if getattr(args, name) is not None
    ]
    path = args.config if args.config is not None else os.devnull
    return load_toml(path, cls, [*args.overrides, *flags])
