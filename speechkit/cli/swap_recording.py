"""`speechkit swap --source`: the factors of a recording swapped, without any text."""

from __future__ import annotations

import argparse
import time
from typing import Any

from speechkit.cli import arguments, inputs, say
from speechkit.cli.output import Outcome
from speechkit.core.errors import ConfigError


def run(args: argparse.Namespace) -> Outcome:
    """Check everything, load the models, swap, write the file."""
    paths = {name: getattr(args, name) for name in say.ATTRIBUTES if getattr(args, name)}
    if not paths:
        names = ", ".join(f"--{name}" for name in say.ATTRIBUTES)
        raise ConfigError(f"There is nothing to swap with: give at least one of {names}.")
    if args.lexicon is not None:
        raise ConfigError("--lexicon is for texts: leave it out with --source.")
    inputs.check_output(args.out, inputs.AUDIO_SUFFIXES, args.source, *paths.values())
    sources = {path: inputs.read_source(path) for path in (args.source, *paths.values())}
    arguments.use_threads(args.threads)

    started = time.perf_counter()
    tts = inputs.load_tts(args.model, {})
    loaded = time.perf_counter()
    voices = {path: inputs.make_voice(tts, path, read, None) for path, read in sources.items()}
    heard = time.perf_counter()

    from speechkit.swap import swap_recording

    factors: dict[str, Any] = {name: voices[path] for name, path in paths.items()}
    speech = swap_recording(
        tts,
        voices[args.source],
        **factors,
        seed=args.seed,
        speed=args.speed,
        steps=args.steps,
        watermark=arguments.watermark(args),
    )
    return say.finish(args, tts, speech, clock=(started, loaded, heard))
