"""The verbs that measure: `eval tts`, `eval codec`.

Shapes: T samples, K code books, F frames.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.cli import arguments, inputs, output, suites
from speechkit.cli.output import Outcome
from speechkit.cli.say import trained

if TYPE_CHECKING:
    from torch import Tensor

    from speechkit.facodec.small.codec import FACodec


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

    codec = kinds.add_parser("codec", help="recordings and their resynthesis; use of the books")
    codec.add_argument(
        "--codec",
        type=Path,
        metavar="FOLDER",
        help="folder of the codec (default: the bundled one)",
    )
    arguments.add_seed(codec)
    suites.add_flags(codec, "eval-codec")
    codec.set_defaults(handler=_eval_codec)


def _eval_tts(args: argparse.Namespace) -> Outcome:
    """Score synthesis beside recordings and resynthesis."""
    from speechkit.evaluate import run_tts_suite, tts_pairs

    scorers = suites.build_scorers(args, reference=False)
    pairs = tts_pairs(args.data, args.per_speaker)
    arguments.use_threads(args.threads)
    tts = inputs.load_tts(args.model, {})
    if not trained(tts):
        output.warn_untrained(tts.weights)

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
    return suites.finish(args, report, {"weights": tts.weights, "trained": trained(tts)})


def _eval_codec(args: argparse.Namespace) -> Outcome:
    """Score resynthesis beside recordings."""
    from speechkit.core.checkpoint import load_checkpoint
    from speechkit.evaluate import eval_clips, run_codec_suite
    from speechkit.facodec.small.codec import load_codec
    from speechkit.tts import WEIGHTS

    scorers = suites.build_scorers(args, reference=True)
    clips = eval_clips(args.data)
    arguments.use_threads(args.threads)
    folder = WEIGHTS / "codec" if args.codec is None else args.codec
    codec = load_codec(folder)
    quantizer = codec.config.quantizer
    report = run_codec_suite(
        lambda wave_T: resynthesise(codec, wave_T, args.seed),
        lambda wave_T: codec.encode(wave_T)[0].stacked(),
        clips,
        args.out,
        entries=[quantizer.entries] * quantizer.books,
        scorers=scorers,
        limit=args.limit,
        earlier=args.out / suites.REPORT,
        progress=suites.progress,
    )
    return suites.finish(args, report, {"codec": load_checkpoint(folder).sha256[:8]})


def resynthesise(codec: FACodec, wave_T: Tensor, seed: int) -> Tensor:
    """What the codec makes of `wave_T`, as long as it was."""
    from speechkit.core.rng import generator

    codes, timbre_D = codec.encode(wave_T)
    return codec.decode(codes, timbre_D, generator(seed))[: len(wave_T)]
