"""The verb `ssl probe`: what an encoder knows of phones, speakers and words."""

from __future__ import annotations

import argparse
from pathlib import Path

from speechkit.cli import arguments, inputs
from speechkit.cli.output import Outcome, say_aside

TASKS = ("phones", "ctc", "speaker", "verification", "words", "query")
"""As `speechkit.ssl.probes.TASKS`, which needs torch to be read."""


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `probe`."""
    probe = verbs.add_parser(
        "probe", help="small heads on frozen features: phones, speakers, words, beside baselines"
    )
    probe.add_argument(
        "--encoder",
        nargs="+",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="folders of pre-trained encoders; baselines are run once for all",
    )
    arguments.add_corpora(probe, "--corpus", ", aligned")
    probe.add_argument(
        "--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="what is asked (all)"
    )
    probe.add_argument(
        "--minutes-of-audio",
        type=arguments.number(0.01, 1e6),
        default=30.0,
        metavar="MINUTES",
        help="audio for the phones, the speakers, the queries, and at most for the words (30)",
    )
    probe.add_argument(
        "--layers",
        nargs="+",
        type=arguments.whole_number(0, 1000),
        metavar="LAYER",
        help="levels in the weighted sum: 0 is the input of the first block (all)",
    )
    probe.add_argument(
        "--words", type=arguments.whole_number(2, 1000), default=10, help="words to tell (10)"
    )
    probe.add_argument(
        "--steps", type=arguments.whole_number(1, 10**6), default=400, help="updates a head (400)"
    )
    arguments.add_selection(probe, "languages", "sources")
    probe.add_argument(
        "--test-splits",
        nargs="+",
        default=[],
        metavar="NAME",
        help="for phones and ctc: test on all of these splits, such as eval, and learn from "
        "MINUTES of the others (a fifth of the speakers)",
    )
    probe.add_argument(
        "--repeats",
        type=arguments.whole_number(1, 1000),
        default=1,
        help="with other draws of clips, heads and random encoders (1)",
    )
    probe.add_argument(
        "--heard",
        action="store_true",
        help="take clips that pre-training heard too (left out where the encoder's folder knows)",
    )
    arguments.add_device(probe, generator=False)
    arguments.add_seed(probe)
    arguments.add_threads(probe)
    arguments.add_json(probe)
    probe.set_defaults(handler=_probe)


def _probe(args: argparse.Namespace) -> Outcome:
    """Run the probes."""
    from speechkit.core.devices import pick_device
    from speechkit.ssl.probes import ProbeConfig, run_probes

    arguments.use_threads(args.threads)
    config = ProbeConfig(
        tasks=tuple(dict.fromkeys(args.tasks)),
        minutes=args.minutes_of_audio,
        selection=inputs.selection(args),
        layers=tuple(args.layers) if args.layers else None,
        words=args.words,
        steps=args.steps,
        test_splits=tuple(args.test_splits),
        repeats=args.repeats,
        heard=args.heard,
        seed=args.seed,
    )
    report = run_probes(
        args.encoder,
        args.corpus,
        config,
        pick_device(args.device),
        progress=lambda name: say_aside("probe", name),
    )
    return Outcome(text=report.text(), data=report.to_json())
