"""The verb `ssl diffs4l`: the whole experiment, from a corpus to a table."""

from __future__ import annotations

import argparse
from pathlib import Path

from speechkit.cli import arguments
from speechkit.cli.output import Outcome


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `diffs4l`."""
    diffs4l = verbs.add_parser(
        "diffs4l",
        help="does synthetic speech help pre-training? From a corpus to a table",
        description="First encoder, units, codec, generator and synthetic speech on a seed, then "
        "pre-training, fine-tuning and testing of every arm at equal updates. What is done is not "
        "done again: give the same command to go on; give --arms to share the work.",
    )
    diffs4l.add_argument("corpus", type=Path, help="packed corpus with text, from prepare")
    diffs4l.add_argument(
        "--config", type=Path, required=True, help="such as recipes/diffs4l/small.toml"
    )
    diffs4l.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of everything")
    diffs4l.add_argument("--test", type=Path, help="packed corpus to test on (speakers kept back)")
    diffs4l.add_argument("--arms", nargs="+", metavar="NAME", help="to run (all)")
    arguments.add_overrides(diffs4l, "seeds=[0]")
    arguments.add_threads(diffs4l)
    arguments.add_json(diffs4l)
    diffs4l.set_defaults(handler=_diffs4l)


def _diffs4l(args: argparse.Namespace) -> Outcome:
    """Run the experiment."""
    from speechkit.core.config import load_toml
    from speechkit.ssl.diffs4l import Experiment, run_experiment
    from speechkit.train import show_progress

    experiment = load_toml(args.config, Experiment, args.overrides)
    arguments.use_threads(args.threads)
    show_progress()
    report = run_experiment(
        experiment, args.config.parent, args.corpus, args.out, test=args.test, arms=args.arms
    )
    return Outcome(
        text=f"{report.table}\n{report.done} of {report.of} runs: {report.out / 'table.md'}",
        data={"out": str(report.out), "done": report.done, "of": report.of},
    )
