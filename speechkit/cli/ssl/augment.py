"""The verbs `ssl augment` and `ssl augment-check`: synthetic speech for pre-training (DiffS4L)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.cli import arguments
from speechkit.cli.output import Outcome, say_aside
from speechkit.core.errors import ConfigError

if TYPE_CHECKING:
    from speechkit.ssl.augment.check import Embed


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add the two verbs."""
    augment = verbs.add_parser(
        "augment",
        help="speak a seed corpus anew at four levels, to pre-train on",
        description="Levels: 0 re-synthesis, 1 the same speaker with new prosody, 2 a new speaker, "
        "3 new content. Speech made here carries no watermark: in most of the training audio a "
        "mark would be a label that self-supervised learning can read and real speech lacks. The "
        "manifests say of every clip where it comes from. The same command goes on after an "
        "interruption.",
    )
    augment.add_argument("corpus", type=Path, help="packed seed, encoded with encode --all")
    augment.add_argument("--units", type=Path, required=True, help="of the seed, from ssl units")
    augment.add_argument("--generator", type=Path, metavar="FOLDER", help="from unit-generator")
    arguments.add_codec(augment)
    augment.add_argument("-o", "--out", type=Path, required=True, metavar="POOL", help="folder")
    augment.add_argument(
        "--hours", nargs="+", type=_hours, default=[], metavar="LEVEL=HOURS", help="such as 2=1.5"
    )
    augment.add_argument("--config", type=Path, help="TOML config")
    arguments.add_overrides(augment, "sampler.content.temperature=0.8")
    augment.add_argument("--seed", type=arguments.whole_number(0, 2**62), help="of all draws (0)")
    augment.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    arguments.add_work(augment)
    arguments.add_json(augment)
    augment.set_defaults(handler=_augment)

    check = verbs.add_parser(
        "augment-check", help="does a pool hold what it says? Exit code 1 where a gate is closed"
    )
    check.add_argument("pool", type=Path, help="folder from ssl augment")
    check.add_argument("--corpus", type=Path, required=True, help="the seed")
    check.add_argument("--units", type=Path, required=True, help="of the seed")
    check.add_argument("--kmeans", type=Path, required=True, metavar="FOLDER", help="of the units")
    check.add_argument("--features", default="mfcc", metavar="mfcc|FOLDER", help="of the units")
    check.add_argument("--layer", type=arguments.whole_number(0, 1000), help="of the encoder")
    check.add_argument(
        "--clips", type=arguments.whole_number(1, 10**6), default=50, help="of each level (50)"
    )
    check.add_argument(
        "--verifier",
        choices=("cam++", "resemblyzer", "none"),
        default="cam++",
        help="what tells speakers apart (cam++)",
    )
    arguments.add_seed(check)
    arguments.add_threads(check)
    arguments.add_json(check)
    check.set_defaults(handler=_check)


def _hours(text: str) -> tuple[int, float]:
    """An argument type: LEVEL=HOURS."""
    level, _, hours = text.partition("=")
    try:
        return arguments.whole_number(0, 3)(level), arguments.number(0.0, 1e6)(hours)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not LEVEL=HOURS with a level from 0 to 3, such as 2=1.5"
        ) from error


def _augment(args: argparse.Namespace) -> Outcome:
    """Make the pool, or a part of it."""
    import os

    from speechkit.core.checkpoint import WEIGHTS
    from speechkit.core.config import load_toml
    from speechkit.core.devices import pick_device
    from speechkit.ssl.augment import AugmentConfig, augment_corpus
    from speechkit.ssl.augment.files import Inputs
    from speechkit.train import show_progress

    changes = list(args.overrides)
    if args.hours:
        hours = dict(args.hours)
        changes.append(f"hours={[hours.get(level, 0.0) for level in range(4)]}")
    if args.seed is not None:
        changes.append(f"seed={args.seed}")
    config = load_toml(args.config or os.devnull, AugmentConfig, changes)
    inputs = Inputs(
        corpus=args.corpus,
        units=args.units,
        codec=args.codec or WEIGHTS / "codec",
        generator=args.generator,
        device=str(pick_device(args.device)),
    )
    show_progress()
    report = augment_corpus(inputs, config, args.out, crew=arguments.crew(args, inputs.device))
    return Outcome(text=report.text(), data=report.to_json())


def _check(args: argparse.Namespace) -> Outcome:
    """Measure a pool."""
    from speechkit.ssl.augment.check import check_pool
    from speechkit.ssl.units.kmeans import KMeans
    from speechkit.ssl.units.program import UnitsConfig

    arguments.use_threads(args.threads)
    features = UnitsConfig(features=args.features, layer=args.layer).load_features()
    report = check_pool(
        args.pool,
        args.corpus,
        args.units,
        KMeans.load(args.kmeans)[0],
        features,
        _verifier(args.verifier),
        clips=args.clips,
        seed=args.seed,
    )
    return Outcome(text=report.text(), data=report.to_json(), exit_code=0 if report.passed else 1)


def _verifier(name: str) -> Embed | None:
    """The speaker verifier; raises ConfigError where its package is missing."""
    from speechkit.evaluate.speaker import CamPlus, Resemblyzer

    if name == "none":
        say_aside("note", "similarity is not measured")
        return None
    try:
        return CamPlus() if name == "cam++" else Resemblyzer()
    except ImportError as error:
        raise ConfigError(
            f"The verifier {name} is not installed ({error}): pip install 'speechkit[eval]', or "
            "give --verifier none."
        ) from error
