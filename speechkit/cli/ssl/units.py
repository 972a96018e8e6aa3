"""The verb `ssl units`: discrete units of packed corpora, for HuBERT and for DiffS4L."""

from __future__ import annotations

import argparse
from pathlib import Path

from speechkit.cli import arguments, inputs
from speechkit.cli.output import Outcome
from speechkit.core.errors import ConfigError


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `units`."""
    units = verbs.add_parser("units", help="cluster MFCCs or a layer of an encoder into units")
    arguments.add_corpora(units)
    units.add_argument(
        "-o",
        "--out",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="where; a run that was interrupted goes on",
    )
    units.add_argument(
        "--features",
        default="mfcc",
        metavar="mfcc|FOLDER",
        help="what is clustered: MFCCs at 100 Hz (default), or an encoder's states at 50 Hz",
    )
    units.add_argument(
        "--layer",
        type=arguments.whole_number(0, 1000),
        help="layer of the encoder: 0 is the input of the first block, k the output of block k",
    )
    units.add_argument(
        "--clusters", type=arguments.whole_number(1, 32767), help="number of units (100)"
    )
    units.add_argument(
        "--kmeans",
        type=Path,
        metavar="FOLDER",
        help="use these centroids (fit some, in OUT/kmeans)",
    )
    arguments.add_selection(units, "languages", "sources", "splits")
    units.add_argument(
        "--percent",
        type=arguments.number(0.001, 100.0),
        default=100.0,
        help="share of the clips that the clusters are fitted on (100)",
    )
    units.add_argument(
        "--max-frames",
        type=arguments.whole_number(1, 10**9),
        default=200_000,
        help="frames they are fitted on, spread evenly over these clips (200000)",
    )
    arguments.add_work(units)
    arguments.add_device(units, generator=False)
    arguments.add_seed(units)
    arguments.add_json(units)
    units.set_defaults(handler=_units)


def _units(args: argparse.Namespace) -> Outcome:
    """Make the units."""
    if args.kmeans is not None and args.clusters is not None:
        raise ConfigError("--kmeans brings its own clusters: leave out --clusters.")

    from speechkit.core.devices import pick_device
    from speechkit.ssl.units import KMeansConfig, UnitsConfig, make_units
    from speechkit.train import show_progress

    device = pick_device(args.device)
    config = UnitsConfig(
        features=args.features,
        layer=args.layer,
        kmeans=KMeansConfig(clusters=args.clusters or KMeansConfig.clusters),
        selection=inputs.selection(args),
        percent=args.percent,
        max_frames=args.max_frames,
        seed=args.seed,
    )
    show_progress()
    report = make_units(
        args.corpus,
        args.out,
        config,
        kmeans=args.kmeans,
        crew=arguments.crew(args, device),
    )
    return Outcome(text=report.text(), data=report.to_json())
