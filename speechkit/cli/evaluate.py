"""The verbs that measure: `eval tts`, `eval manifest`, and the suites of other files.

Shapes: T samples.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.cli import arguments, codec_report, conversion, inputs, suites, watermark
from speechkit.cli.output import Outcome

if TYPE_CHECKING:
    from torch import Tensor

    from speechkit.evaluate import Pair


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `eval` with its suites."""
    kinds = verbs.add_parser("eval", help="score held-out speech").add_subparsers(
        title="suites", metavar="SUITE", required=True
    )
    tts = kinds.add_parser("tts", help="recordings, codec resynthesis and synthesis side by side")
    arguments.add_model(tts)
    arguments.add_device(tts, generator=True)
    arguments.add_seed(tts)
    arguments.add_sampling(tts)
    tts.add_argument(
        "--per-speaker",
        type=arguments.whole_number(1, 10**6),
        help="texts of each speaker (default: all)",
    )
    tts.add_argument(
        "--by-stage",
        action="store_true",
        help="where words and voice are lost: true codes, then detail, content, prosody and "
        "durations generated one after the other",
    )
    tts.add_argument(
        "--pause-texts",
        type=arguments.whole_number(0, 12),
        default=12,
        metavar="NUMBER",
        help="punctuated texts that are spoken to measure pauses (default 12; 0 for none)",
    )
    tts.add_argument(
        "--pause-data",
        type=Path,
        metavar="CORPUS",
        help="recordings with punctuated texts whose pauses stand beside",
    )
    tts.add_argument(
        "--aligner", type=Path, metavar="FOLDER", help="phone aligner (default: the bundled one)"
    )
    suites.add_flags(tts, "eval-tts")
    tts.set_defaults(handler=_eval_tts)

    codec_report.add_suite(kinds)
    conversion.add_suite(kinds)
    watermark.add_suite(kinds)

    manifest = kinds.add_parser("manifest", help="score the clips of a JSON-lines manifest")
    manifest.add_argument(
        "data",
        type=Path,
        metavar="FILE",
        help="an object a line: hyp (audio file); optional text, prompt, ref, system, id",
    )
    manifest.add_argument("--aligned", action="store_true", help="hyp and ref share their timing")
    manifest.add_argument("-o", "--out", type=Path, metavar="FOLDER", help=f"for {suites.REPORT}")
    suites.add_measures(manifest)
    arguments.add_threads(manifest)
    arguments.add_json(manifest)
    manifest.set_defaults(handler=_eval_manifest)


def _eval_tts(args: argparse.Namespace) -> Outcome:
    """Score synthesis beside recordings and resynthesis."""
    from speechkit.core.checkpoint import WEIGHTS
    from speechkit.evaluate import (
        PhoneReader,
        eval_clips,
        pauses,
        run_tts_suite,
        stage_systems,
        tts_pairs,
    )
    from speechkit.evaluate.pairs import spread
    from speechkit.facodec.stream import resynthesise

    scorers = suites.build_scorers(args, reference=False)
    pairs = everyone = tts_pairs(args.data, args.per_speaker)
    recorded = pauses.punctuated(eval_clips(args.pause_data, None)) if args.pause_data else []
    arguments.use_threads(args.threads)
    reader = PhoneReader(args.aligner or WEIGHTS / "aligner")
    tts = inputs.load_tts(args.model, {}, device=args.device, dtype=args.dtype)

    def speak(text: str, prompt_T: Tensor, seed: int) -> Tensor:
        voice, how = tts.voice(prompt_T), {"steps": args.steps, "candidates": args.candidates}
        return tts.synthesize(text, voice, seed=seed, **how).wave_T

    systems: dict[str, Callable[[Pair, int], Tensor]] = {
        "codec": lambda pair, _: resynthesise(tts.codec, pair.target_T, args.seed),
        "tts": lambda pair, seed: speak(pair.text, pair.prompt_T, seed),
    }
    notes = []
    if args.by_stage:
        chosen = spread(pairs, args.limit)
        systems, pairs = stage_systems(tts, reader, chosen, args.steps)
        notes.append(f"{len(chosen) - len(pairs)} of {len(chosen)} texts could not be aligned")
    report = run_tts_suite(
        systems,
        pairs,
        args.out,
        scorers=scorers,
        seed=args.seed,
        limit=args.limit,
        others=everyone,
        earlier=args.out / suites.REPORT,
        progress=suites.progress,
    )
    report.notes += notes
    if args.pause_texts:
        prompts = list({pair.prompt_id: pair.prompt_T for pair in pairs}.values())
        texts = pauses.PAUSE_TEXTS[: args.pause_texts]
        spoken = pauses.speak_texts(
            speak, prompts, args.out / "pauses", texts=texts, seed=args.seed
        )
        report.sections["pauses of tts"] = pauses.measure_pauses(spoken, reader)
    if recorded:
        report.sections["pauses of recordings"] = pauses.measure_pauses(recorded, reader)
    return suites.finish(args, report, {"weights": tts.weights, "trained": tts.trained})


def _eval_manifest(args: argparse.Namespace) -> Outcome:
    """Score speech that is there already."""
    from speechkit.evaluate.score_manifest import score_manifest

    scorers = suites.build_scorers(args, reference=True)
    arguments.use_threads(args.threads)
    report = score_manifest(args.data, scorers, args.aligned, suites.progress)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        report.save(args.out / suites.REPORT)
    return Outcome(text=report.text(), data=report.to_json())
