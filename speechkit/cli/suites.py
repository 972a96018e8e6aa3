"""What the suites of `eval` share: their flags, their measures, their report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechkit.cli import arguments, output
from speechkit.cli.output import Outcome
from speechkit.core.errors import DataError

if TYPE_CHECKING:
    from speechkit.evaluate import Report, Scorers

HELD_OUT = Path(__file__).parents[3] / "shared" / "data" / "eval-librispeech-test-other-0.tar"
"""Where the held-out shard lies beside a checkout, wherever the command runs."""

REPORT = "report.json"


def add_flags(parser: arguments.Parser, folder: str) -> None:
    """Add the flags of the suites that make speech and score it."""
    parser.add_argument(
        "--data",
        type=Path,
        default=HELD_OUT,
        help="shard or packed corpus (default: the one beside a checkout)",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        default=Path(folder),
        metavar="FOLDER",
        help=f"waves, manifest and {REPORT} go here; rows it already has are not scored again "
        f"(default {folder})",
    )
    parser.add_argument(
        "--limit", type=arguments.whole_number(1, 10**6), help="score at most this many clips"
    )
    add_measures(parser)
    arguments.add_threads(parser)
    arguments.add_json(parser)


def add_measures(parser: arguments.Parser) -> None:
    """Add the flags that choose measures."""
    parser.add_argument(
        "--asr",
        default="base",
        help="Whisper for WER: base, tiny.en, a folder, none (base)",
    )
    parser.add_argument(
        "--second-asr", default="none", metavar="ASR", help="a second recogniser, for WER2 (none)"
    )
    parser.add_argument("--resemblyzer", action="store_true", help="a second speaker model")
    parser.add_argument("--no-speaker", action="store_true", help="leave similarity out")
    parser.add_argument("--no-dnsmos", action="store_true", help="leave DNSMOS out")


def build_scorers(args: argparse.Namespace, *, reference: bool) -> Scorers:
    """The measures that were asked for; raises DataError where there is no `args.data`."""
    from speechkit import evaluate

    if not args.data.exists():
        raise DataError(
            f"There is no held-out corpus {args.data}: give a shard, or what `speechkit prepare` "
            "made of your recordings, with --data."
        )
    return evaluate.build_scorers(
        evaluate.ScorerConfig(
            asr=args.asr,
            second_asr=args.second_asr,
            speaker=not args.no_speaker,
            resemblyzer=args.resemblyzer,
            dnsmos=not args.no_dnsmos,
            reference=reference,
            threads=args.threads or 1,
        )
    )


def progress(line: str) -> None:
    """One line a scored clip."""
    output.say_aside("scored", line)


def finish(args: argparse.Namespace, report: Report, settings: dict[str, Any]) -> Outcome:
    """Save the report, which ends what there was of an unfinished one, and hand it back."""
    from speechkit.evaluate.scoring import UNFINISHED

    report.settings |= settings
    report.save(args.out / REPORT)
    (args.out / UNFINISHED).unlink(missing_ok=True)
    return Outcome(text=report.text(), data=report.to_json())
