"""The verb `watermark`, which finds and writes watermarks, and the suite that measures them."""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.cli import arguments, inputs, output, suites
from speechkit.cli.output import Outcome
from speechkit.core.errors import DataError, SpeechkitError

if TYPE_CHECKING:
    from speechkit.evaluate.watermark import HostClip
    from speechkit.watermark import Detection


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `watermark` with `detect` and `embed`."""
    kinds = verbs.add_parser(
        "watermark", help="find or write the inaudible watermark of synthetic speech"
    ).add_subparsers(title="verbs", metavar="VERB", required=True)
    detect = kinds.add_parser("detect", help="is there a watermark in these recordings, and which?")
    detect.add_argument("files", type=Path, nargs="+", metavar="FILE", help="audio, up to an hour")
    arguments.add_threads(detect)
    arguments.add_json(detect)
    detect.set_defaults(handler=_detect)

    embed = kinds.add_parser(
        "embed", help="watermark a recording; say, swap and convert do so anyway"
    )
    embed.add_argument("file", type=Path, metavar="FILE", help="audio of 8 kHz or more")
    embed.add_argument(
        "-o", "--out", type=Path, required=True, help="file ending in .wav, .flac or .ogg"
    )
    arguments.add_payload(embed)
    embed.add_argument(
        "--rate",
        type=arguments.whole_number(8_000, 384_000),
        default=16_000,
        metavar="HZ",
        help="sample rate of the output (default 16000)",
    )
    arguments.add_json(embed)
    embed.set_defaults(handler=_embed, no_watermark=False)


def add_suite(kinds: arguments.Verbs[arguments.Parser]) -> None:
    """Add `eval watermark`."""
    suite = kinds.add_parser(
        "watermark", help="what the watermark survives, where it is seen in vain, what it costs"
    )
    suite.add_argument(
        "--data",
        type=Path,
        nargs="+",
        default=[suites.HELD_OUT],
        help="shards or packed corpora, all clips of which are looked at (default: the held-out "
        "one of a checkout)",
    )
    suite.add_argument(
        "--clips",
        type=arguments.whole_number(1, 10**6),
        default=200,
        help="recordings to watermark, spread over the data (default 200)",
    )
    suite.add_argument(
        "--synthetic",
        type=arguments.whole_number(0, 10**6),
        default=30,
        help="sentences to speak and watermark, with texts of the first shard (default 30)",
    )
    suite.add_argument(
        "-o",
        "--out",
        type=Path,
        default=Path("eval-watermark"),
        metavar="FOLDER",
        help=f"{suites.REPORT} goes here (default eval-watermark)",
    )
    arguments.add_model(suite)
    arguments.add_device(suite, generator=True)
    arguments.add_seed(suite)
    arguments.add_threads(suite)
    arguments.add_json(suite)
    suite.set_defaults(handler=_eval_watermark)


def _detect(args: argparse.Namespace) -> Outcome:
    """Look at each file; those that cannot be read are told and do not stop the others."""
    arguments.use_threads(args.threads)
    rows, lines, failed = [], [], False
    for path in args.files:
        try:
            found = _look(path)
        except SpeechkitError as error:
            if len(args.files) == 1:
                raise
            output.fail(str(error))
            rows.append({"file": str(path), "error": str(error)})
            failed = True
            continue
        rows.append({"file": str(path)} | vars(found))
        lines.append(f"{path}: {describe(found)}")
    return Outcome(
        text="\n".join(lines),
        data={"files": rows},
        exit_code=SpeechkitError.exit_code if failed else 0,
    )


def _look(path: Path) -> Detection:
    """What the file says; raises AudioError."""
    from speechkit.core.audio import read_audio
    from speechkit.core.timebase import SAMPLE_RATE_HZ
    from speechkit.watermark import detect

    return detect(read_audio(path, SAMPLE_RATE_HZ), SAMPLE_RATE_HZ)


def describe(found: Detection) -> str:
    """A result as a few words."""
    if found.payload is not None:
        return (
            f"watermarked, {output.watermark_name(found.payload)}, "
            f"in {found.watermarked_seconds:.1f} of {found.seconds:.1f} s (p {found.p_value:.1e})"
        )
    return f"no watermark ({found.note or f'p {found.p_value:.1e}'})"


def _embed(args: argparse.Namespace) -> Outcome:
    """Watermark one file."""
    inputs.check_output(args.out, inputs.AUDIO_SUFFIXES, args.file)
    from speechkit.core.audio import read_audio, write_audio
    from speechkit.watermark import apply_watermark

    wave_T = read_audio(args.file, args.rate)
    made = apply_watermark(wave_T, args.rate, arguments.watermark(args))
    write_audio(args.out, made.wave_T, args.rate)
    return Outcome(
        text=f"watermark  {output.watermark_name(made.payload)}\nwrote      {args.out}",
        data={
            "out": str(args.out),
            "watermark": made.payload,
            "seconds": len(made.wave_T) / args.rate,
            "notes": list(made.notes),
        },
        notes=made.notes,
    )


def _eval_watermark(args: argparse.Namespace) -> Outcome:
    """Watermark, attack, look, and save the report."""
    from speechkit.core.files import write_text
    from speechkit.evaluate.watermark import host_clips, run_watermark_suite

    for path in args.data:
        if not path.exists():
            raise DataError(f"There is no corpus {path}: give one with --data.")
    arguments.use_threads(args.threads)
    recordings = [host for path in args.data for host in host_clips(path)]
    watermarked = {"recordings": recordings[:: max(1, len(recordings) // args.clips)][: args.clips]}
    factor = None
    if args.synthetic:
        watermarked["synthesis"], factor = _spoken(args)
    report = run_watermark_suite(
        watermarked,
        recordings,
        seed=args.seed,
        synthesis_real_time_factor=factor,
        progress=suites.progress,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    write_text(args.out / suites.REPORT, json.dumps(report.to_json(), indent=1))
    return Outcome(text=report.text(), data=report.to_json())


def _spoken(args: argparse.Namespace) -> tuple[list[HostClip], float]:
    """Unwatermarked speech of the model, and the CPU seconds that a second of it takes."""
    from speechkit.evaluate.pairs import spread, tts_pairs
    from speechkit.evaluate.watermark import HostClip

    tts = inputs.load_tts(args.model, {}, device=args.device, dtype=args.dtype)
    hosts: list[HostClip] = []
    spent, seconds = 0.0, 0.0
    for pair in spread(tts_pairs(args.data[0]), args.synthetic):
        voice = tts.voice(pair.prompt_T)
        began = time.process_time()
        speech = tts.synthesize(pair.text, voice, seed=args.seed, watermark=None)
        spent += time.process_time() - began
        seconds += speech.seconds
        hosts.append(HostClip(id=f"spoken {pair.id}", wave=partial(getattr, speech, "wave_T")))
    return hosts, spent / seconds
