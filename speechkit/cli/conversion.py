"""The verb `convert`, and the suite `eval convert` that measures it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.cli import arguments, inputs, output, suites
from speechkit.cli.output import Outcome
from speechkit.core.errors import AudioError

if TYPE_CHECKING:
    from torch import Tensor

    from speechkit.conversion import VoiceConverter
    from speechkit.evaluate.conversion import Convert

PROGRESS_SECONDS = 60.0
"""How much converted speech gets a line of progress."""


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add the verb."""
    convert = verbs.add_parser("convert", help="say what a recording says in another voice")
    convert.add_argument(
        "--source", type=Path, required=True, metavar="FILE", help="what to say, up to an hour"
    )
    convert.add_argument(
        "--target",
        type=Path,
        required=True,
        action="append",
        metavar="FILE",
        help="1 to 30 s of the voice; give it again for more recordings of the same voice",
    )
    convert.add_argument(
        "-o",
        "--out",
        type=Path,
        required=True,
        help=f"file ending in {', '.join(inputs.AUDIO_SUFFIXES)}",
    )
    convert.add_argument(
        "--pitch",
        type=arguments.number(-24, 24),
        default=0.0,
        metavar="SEMITONES",
        help="added to the pitch of the target (default 0)",
    )
    convert.add_argument(
        "--detail",
        action=argparse.BooleanOptionalAction,
        help="keep the source's acoustic detail: clearer words, less of the target",
    )
    arguments.add_codec(convert)
    arguments.add_device(convert, generator=False)
    arguments.add_watermark(convert)
    arguments.add_seed(convert)
    arguments.add_threads(convert)
    arguments.add_json(convert)
    convert.set_defaults(handler=_convert)


def add_suite(kinds: arguments.Verbs[arguments.Parser]) -> None:
    """Add `eval convert`."""
    suite = kinds.add_parser("convert", help="voice conversion: words kept, voice changed")
    arguments.add_codec(suite)
    arguments.add_device(suite, generator=False)
    arguments.add_seed(suite)
    suite.add_argument(
        "--recordings",
        type=arguments.whole_number(1, 100),
        default=1,
        help="of each target that are heard (default 1)",
    )
    suites.add_flags(suite, "eval-convert")
    suite.set_defaults(handler=_eval_convert)


def _convert(args: argparse.Namespace) -> Outcome:
    """Check everything, load the codec, convert, write the file piece by piece."""
    inputs.check_output(args.out, inputs.AUDIO_SUFFIXES, args.source, *args.target)
    for path in args.target:
        inputs.check_source(path)
    if not args.source.exists():
        raise AudioError(f"There is no recording {args.source}: check the path.")

    from speechkit.core.audio import audio_seconds

    audio_seconds(args.source)
    output.Progress().tell("loading the codec")
    prompts = [inputs.read_prompt(path) for path in args.target]
    arguments.use_threads(args.threads)

    from speechkit.conversion import DETAIL
    from speechkit.core.audio import write_audio_pieces
    from speechkit.core.timebase import SAMPLE_RATE_HZ
    from speechkit.watermark import MIN_SECONDS

    started = time.perf_counter()
    converter = load_converter(args.codec, args.device)
    detail = DETAIL if args.detail is None else args.detail
    # For a codec of another rate the files are read again.
    heard = prompts if converter.sample_rate_hz == SAMPLE_RATE_HZ else args.target
    target = converter.target(heard)
    watermark = arguments.watermark(args)
    waves = converter.convert_stream(
        args.source,
        target,
        seed=args.seed,
        pitch_shift_semitones=args.pitch,
        detail=detail,
        watermark=watermark,
    )
    rate_hz = converter.sample_rate_hz
    samples = write_audio_pieces(args.out, _told(waves, rate_hz), rate_hz)
    took, seconds = time.perf_counter() - started, samples / rate_hz
    payload = None if watermark is None or seconds < MIN_SECONDS else watermark.payload
    notes = target.notes
    if watermark is not None and payload is None:
        notes = (*notes, f"Too short to carry a watermark, which takes {MIN_SECONDS:g} s.")
    data = {
        "out": str(args.out),
        "seconds": seconds,
        "real_time_factor": took / seconds,
        "seed": args.seed,
        "pitch_shift_semitones": args.pitch,
        "detail": detail,
        "sample_rate_hz": rate_hz,
        "weights": converter.weights,
        "trained": converter.trained,
        "watermark": payload,
        "notes": list(notes),
    }
    text = (
        f"seconds           {seconds:.2f}\n"
        f"real-time factor  {took / seconds:.3f} (loading included)\n"
        f"watermark         {output.watermark_name(payload)}\n"
        f"wrote             {args.out} ({converter.weights})"
    )
    return Outcome(text=text, data=data, notes=notes)


def load_converter(codec: Path | None, device: str) -> VoiceConverter:
    """The converter with a codec on a device; says so where its weights are random."""
    from speechkit.conversion import VoiceConverter

    converter = VoiceConverter.from_pretrained(codec, device=device)
    if not converter.trained:
        output.warn_untrained(converter.weights)
    return converter


def _told(waves: Iterable[Tensor], rate_hz: int) -> Iterator[Tensor]:
    """The same waves, with a line of progress a minute of speech."""
    seconds, told = 0.0, 0.0
    for wave_T in waves:
        yield wave_T
        seconds += len(wave_T) / rate_hz
        if seconds >= told + PROGRESS_SECONDS:
            told = seconds
            output.say_aside("progress", f"{seconds:.0f} s written")


def _eval_convert(args: argparse.Namespace) -> Outcome:
    """Score sources, their resynthesis, and conversion with and without detail."""
    from speechkit.evaluate import eval_clips
    from speechkit.evaluate.conversion import conversion_pairs, run_conversion_suite
    from speechkit.evaluate.scoring import UNFINISHED
    from speechkit.facodec.stream import resynthesise

    scorers = suites.build_scorers(args, reference=False)
    pairs = conversion_pairs(eval_clips(args.data), args.recordings)[: args.limit]
    arguments.use_threads(args.threads)
    converter = load_converter(args.codec, args.device)

    def system(detail: bool) -> Convert:
        return lambda source_T, target, seed: (
            converter.convert(source_T, target, seed=seed, detail=detail).wave_T
        )

    report = run_conversion_suite(
        {
            "codec": lambda source_T, target, seed: resynthesise(converter.codec, source_T, seed),
            "with detail": system(True),
            "without detail": system(False),
        },
        pairs,
        args.out,
        scorers=scorers,
        seed=args.seed,
        earlier=args.out / suites.REPORT,
        unfinished=args.out / UNFINISHED,
        progress=suites.progress,
    )
    facts = {"weights": converter.weights, "recordings": args.recordings}
    return suites.finish(args, report, facts)
