"""The verbs that measure: `eval tts`, `eval codec`.

Shapes: T samples, K code books, F frames.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from speechkit.cli import arguments, codec_report, conversion, inputs, suites, watermark
from speechkit.cli.output import Outcome

if TYPE_CHECKING:
    from torch import Tensor


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `eval` with its suites."""
    kinds = verbs.add_parser("eval", help="score held-out speech").add_subparsers(
        title="suites", metavar="SUITE", required=True
    )
    tts = kinds.add_parser("tts", help="recordings, codec resynthesis and synthesis side by side")
    arguments.add_model(tts)
    arguments.add_seed(tts)
    arguments.add_sampling(tts)
    tts.add_argument(
        "--per-speaker",
        type=arguments.whole_number(1, 10**6),
        help="texts of each speaker (default: all)",
    )
    suites.add_flags(tts, "eval-tts")
    tts.set_defaults(handler=_eval_tts)

    codec_report.add_suite(kinds)
    conversion.add_suite(kinds)
    watermark.add_suite(kinds)


def _eval_tts(args: argparse.Namespace) -> Outcome:
    """Score synthesis beside recordings and resynthesis."""
    from speechkit.evaluate import run_tts_suite, tts_pairs
    from speechkit.facodec.stream import resynthesise

    scorers = suites.build_scorers(args, reference=False)
    pairs = tts_pairs(args.data, args.per_speaker)
    arguments.use_threads(args.threads)
    tts = inputs.load_tts(args.model, {})

    def synthesise(text: str, prompt_T: Tensor, seed: int) -> Tensor:
        return tts.synthesize(text, tts.voice(prompt_T), seed=seed, steps=args.steps).wave_T

    report = run_tts_suite(
        synthesise,
        lambda wave_T: resynthesise(tts.codec, wave_T, args.seed),
        pairs,
        args.out,
        scorers=scorers,
        seed=args.seed,
        limit=args.limit,
        earlier=args.out / suites.REPORT,
        progress=suites.progress,
    )
    return suites.finish(args, report, {"weights": tts.weights, "trained": tts.trained})
