"""`say --stream -o -`: speech on standard output, each piece as soon as it is there."""

from __future__ import annotations

import argparse
import struct
import sys

from speechkit.cli import arguments, inputs, output
from speechkit.cli.output import Outcome
from speechkit.core.errors import ConfigError

UNKNOWN_BYTES = 0xFFFFFFFF
"""What a WAV header says of a length that nobody knows yet."""


def wav_header(sample_rate_hz: int) -> bytes:
    """The header of a mono WAV of 16 bits that goes on until it ends."""
    form = struct.pack("<HHIIHH", 1, 1, sample_rate_hz, 2 * sample_rate_hz, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", UNKNOWN_BYTES)
        + b"WAVEfmt "
        + struct.pack("<I", len(form))
        + form
        + b"data"
        + struct.pack("<I", UNKNOWN_BYTES)
    )


def say_stream(args: argparse.Namespace) -> Outcome:
    """Check everything, load the models, and write pieces as they come."""
    if args.out != inputs.STANDARD_OUTPUT:
        raise ConfigError("--stream writes to standard output: give -o -.")
    if args.json or args.show_phones:
        raise ConfigError(
            "--stream writes sound to standard output: leave out --json and the like."
        )
    lexicon = inputs.read_lexicon(args.lexicon)
    text = inputs.read_text(args.text, args.text_file)

    from speechkit.core.audio import pcm16
    from speechkit.text import Frontend
    from speechkit.text.turns import write_script

    frontend = Frontend(lexicon)
    script = write_script(text, frontend)
    phones = None if args.transcript is None else frontend.phones(args.transcript)
    source = inputs.read_source(args.prompt)
    arguments.use_threads(args.threads)
    tts = inputs.load_tts(args.model, lexicon, device=args.device, dtype=args.dtype)
    voice = inputs.make_voice(tts, args.prompt, source, phones)
    waves = tts.stream(
        text,
        voice,
        seed=args.seed,
        speed=args.speed,
        steps=args.steps,
        watermark=arguments.watermark(args),
    )
    output.note_all((*script.notes, *voice.notes))
    sink = sys.stdout.buffer
    if args.format == "wav":
        sink.write(wav_header(tts.sample_rate_hz))
    for wave_T in waves:
        sink.write(pcm16(wave_T).astype("<i2").tobytes())
        sink.flush()
    return Outcome(text="", data={})
