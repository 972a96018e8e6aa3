"""`eval codec`: the report on a codec, part by part."""

from __future__ import annotations

import argparse
from pathlib import Path

from speechkit.cli import arguments, suites
from speechkit.cli.output import Outcome

# As in speechkit.evaluate.codec.SECTIONS, which --help cannot wait for: it imports torch.
SECTIONS = (
    "reconstruction",
    "ceiling",
    "baselines",
    "probes",
    "swaps",
    "usage",
    "rate",
    "pictures",
)


def add_suite(kinds: arguments.Verbs[arguments.Parser]) -> None:
    """Add `codec` to the suites of `eval`."""
    parser = kinds.add_parser(
        "codec",
        help="a codec beside Opus and Codec 2, and what each of its parts carries",
    )
    arguments.add_codec(parser)
    arguments.add_device(parser, generator=False)
    parser.add_argument(
        "--skip",
        nargs="+",
        choices=SECTIONS,
        default=[],
        metavar="PART",
        help=f"parts to leave out: {', '.join(SECTIONS)}",
    )
    parser.add_argument(
        "--swap-pairs",
        type=arguments.whole_number(1, 10**6),
        default=20,
        help="pairs of clips for the swap tests (default 20)",
    )
    parser.add_argument(
        "--aligner",
        type=Path,
        metavar="FOLDER",
        help="trained aligner for probes and swaps (default: the bundled one)",
    )
    parser.add_argument(
        "--train-codes",
        type=Path,
        metavar="CORPUS",
        help="packed corpus with codes beside it (from encode): adds bit rates with counts "
        "known beforehand",
    )
    arguments.add_seed(parser)
    suites.add_flags(parser, "eval-codec")
    parser.set_defaults(handler=_eval_codec)


def _eval_codec(args: argparse.Namespace) -> Outcome:
    """Measure a codec and save what was found."""
    from speechkit.core.checkpoint import WEIGHTS
    from speechkit.evaluate import eval_clips
    from speechkit.evaluate.codec import SECTIONS, CodecSuite, run_codec_suite
    from speechkit.evaluate.codec.rate import training_codes
    from speechkit.facodec.pretrained import load_pretrained

    found = load_pretrained(args.codec, device=args.device)
    codec, sha256 = found.codec, found.sha256
    suite = CodecSuite(
        sections=frozenset(SECTIONS) - frozenset(args.skip),
        limit=args.limit,
        swap_pairs=args.swap_pairs,
        seed=args.seed,
        aligner=args.aligner or WEIGHTS / "aligner",
        train_codes=tuple(training_codes(args.train_codes, sha256)) if args.train_codes else (),
    )
    scorers = suites.build_scorers(args, reference="reconstruction" in suite.sections)
    clips = eval_clips(args.data)
    arguments.use_threads(args.threads)
    report = run_codec_suite(
        codec,
        clips,
        args.out,
        scorers=scorers,
        suite=suite,
        earlier=args.out / suites.REPORT,
        progress=suites.progress,
    )
    return suites.finish(args, report, {"codec": sha256[:8]})
