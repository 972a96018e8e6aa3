"""The verbs that speak: `say`, `swap`, `voice`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.cli import arguments, inputs, output
from speechkit.cli.output import Outcome
from speechkit.core.errors import ConfigError

if TYPE_CHECKING:
    from speechkit.core.results import Speech, Voice
    from speechkit.tts import ZeroShotTTS

ATTRIBUTES = ("timbre", "prosody", "duration", "content", "detail")
PHONES_SHOWN = 120
"""Phones of the plain summary; --show-phones has them all."""


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add the three verbs."""
    say = verbs.add_parser("say", help="speak a text in the voice of a prompt")
    say.add_argument(
        "--prompt",
        type=Path,
        required=True,
        metavar="FILE",
        help="1 to 30 s of the voice (wav, flac, ogg, mp3), or a .safetensors from `voice`",
    )
    say.add_argument("--transcript", help="what the prompt says; not needed, improves its rhythm")
    _add_speaking(say)
    say.set_defaults(handler=_say)

    swap = verbs.add_parser(
        "swap", help="a text, or a recording, with each attribute from another voice"
    )
    for name in ATTRIBUTES:
        swap.add_argument(
            f"--{name}",
            type=Path,
            metavar="FILE",
            help="recording or saved voice"
            + ("" if name == "timbre" else " (default: --timbre; with --source the source's own)"),
        )
    _add_speaking(swap).add_argument(
        "--source",
        type=Path,
        metavar="FILE",
        help="a recording in place of a text: what is not given stays as it is there",
    )
    swap.set_defaults(handler=_swap)

    voice = verbs.add_parser("voice", help="analyse a prompt once, to speak with it often")
    voice.add_argument("prompt", type=Path, help="1 to 30 s of the voice")
    voice.add_argument("-o", "--out", type=Path, required=True, help="file ending in .safetensors")
    voice.add_argument("--transcript", help="what the prompt says; not needed, improves its rhythm")
    _add_common(voice)
    voice.set_defaults(handler=_voice)


def _add_speaking(parser: arguments.Parser) -> argparse._MutuallyExclusiveGroup:
    """Add the flags of verbs that write speech; gives the group of what is spoken."""
    text = parser.add_mutually_exclusive_group(required=True)
    text.add_argument("--text", help="what to say; - reads standard input")
    text.add_argument("--text-file", type=Path, metavar="FILE", help="UTF-8 file with the text")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, help="file ending in .wav, .flac or .ogg"
    )
    parser.add_argument(
        "--speed",
        type=arguments.number(0.25, 4.0),
        default=1.0,
        help="speaking rate, 2 being twice as fast (default 1)",
    )
    arguments.add_seed(parser)
    arguments.add_sampling(parser)
    arguments.add_watermark(parser)
    parser.add_argument(
        "--show-phones", action="store_true", help="print every phone with its length"
    )
    _add_common(parser)
    return text


def _add_common(parser: arguments.Parser) -> None:
    """Add the flags of all verbs of this file."""
    parser.add_argument(
        "--lexicon", type=Path, metavar="FILE", help="lines such as: tomato T AH0 M AA1 T OW2"
    )
    arguments.add_model(parser)
    arguments.add_threads(parser)
    arguments.add_json(parser)
    parser.add_argument(
        "--quiet", action="store_true", help="print errors, warnings and the JSON object alone"
    )


@dataclass(frozen=True, kw_only=True)
class _Timed:
    """Speech and how long everything took."""

    speech: Speech
    """What was said."""

    load_seconds: float
    """Loading the models."""

    prompt_seconds: float
    """Reading the voices off their prompts."""

    speak_seconds: float
    """Synthesis alone: what the real-time factor counts."""


def _say(args: argparse.Namespace) -> Outcome:
    """Speak with all attributes from one prompt."""
    return _speak(args, {"timbre": args.prompt}, args.transcript)


def _swap(args: argparse.Namespace) -> Outcome:
    """Speak, or swap in a recording, with attributes from several prompts."""
    from speechkit.cli import swap_recording

    if args.source is not None:
        return swap_recording.run(args)
    if args.timbre is None:
        raise ConfigError("A text needs a voice: give --timbre.")
    sources = {name: getattr(args, name) for name in ATTRIBUTES if getattr(args, name) is not None}
    return _speak(args, sources, None)


def _speak(args: argparse.Namespace, paths: Mapping[str, Path], transcript: str | None) -> Outcome:
    """Check everything, load the models, speak, write the file."""
    text_file = [args.text_file] if args.text_file else []
    inputs.check_output(args.out, inputs.AUDIO_SUFFIXES, *paths.values(), *text_file)
    lexicon = inputs.read_lexicon(args.lexicon)
    text = inputs.read_text(args.text, args.text_file)
    inputs.check_text(text, lexicon)
    if transcript is not None:
        inputs.check_text(transcript, lexicon)
    sources = {path: inputs.read_source(path) for path in paths.values()}
    arguments.use_threads(args.threads)

    started = time.perf_counter()
    tts = inputs.load_tts(args.model, lexicon)
    if not trained(tts):
        output.warn_untrained(tts.weights)
    loaded = time.perf_counter()
    voices = {
        path: inputs.make_voice(tts, path, source, transcript) for path, source in sources.items()
    }
    heard = time.perf_counter()
    speech = _synthesize(tts, {name: voices[path] for name, path in paths.items()}, text, args)
    timed = _Timed(
        speech=speech,
        load_seconds=loaded - started,
        prompt_seconds=heard - loaded,
        speak_seconds=time.perf_counter() - heard,
    )

    from speechkit.core.audio import write_audio

    write_audio(args.out, speech.wave_T, speech.sample_rate_hz)
    return _spoken(args, tts, timed)


def _synthesize(
    tts: ZeroShotTTS, voices: Mapping[str, Voice], text: str, args: argparse.Namespace
) -> Speech:
    """The text with each attribute from its voice, and the notes of all of them."""
    from dataclasses import replace

    from speechkit.tts import mix_voices

    mixed = mix_voices(
        voices["timbre"],
        prosody=voices.get("prosody"),
        duration=voices.get("duration"),
        content=voices.get("content"),
        detail=voices.get("detail"),
    )
    notes = dict.fromkeys(note for voice in voices.values() for note in voice.notes)
    return tts.synthesize(
        text,
        replace(mixed, notes=tuple(notes)),
        seed=args.seed,
        speed=args.speed,
        steps=args.steps,
        watermark=arguments.watermark(args),
        progress=output.chunk_progress(quiet=args.quiet),
    )


def _spoken(args: argparse.Namespace, tts: ZeroShotTTS, timed: _Timed) -> Outcome:
    """What is said about finished speech."""
    speech = timed.speech
    factor = timed.speak_seconds / speech.seconds
    if not args.json:
        output.note_all(speech.notes, quiet=args.quiet)
    data = {
        "out": str(args.out),
        "seconds": speech.seconds,
        "real_time_factor": factor,
        "seed": speech.seed,
        "phones": list(speech.phones),
        "frames": list(speech.frames),
        "stages_seconds": dict(speech.stages_seconds),
        "load_seconds": timed.load_seconds,
        "prompt_seconds": timed.prompt_seconds,
        "sample_rate_hz": speech.sample_rate_hz,
        "weights": tts.weights,
        "trained": trained(tts),
        "watermark": speech.watermark,
        "notes": list(speech.notes),
    }
    if args.quiet:
        return Outcome(text="", data=data)
    shown = " ".join(speech.phones[:PHONES_SHOWN])
    more = len(speech.phones) - PHONES_SHOWN
    stages = ", ".join(f"{name} {took:.2f}" for name, took in speech.stages_seconds.items())
    lines = [
        f"phones            {shown}{f' … {more} more' if more > 0 else ''}",
        f"seconds           {speech.seconds:.2f}",
        f"real-time factor  {factor:.3f} (seconds: {stages}; "
        f"prompt {timed.prompt_seconds:.2f}, loading {timed.load_seconds:.2f})",
        f"seed              {speech.seed}",
        f"watermark         {output.mark_name(speech.watermark)}",
        f"wrote             {args.out} ({tts.weights})",
    ]
    if args.show_phones:
        lines += _phone_lines(tts, speech)
    return Outcome(text="\n".join(lines), data=data)


def _phone_lines(tts: ZeroShotTTS, speech: Speech) -> list[str]:
    """One line a phone: when it starts, how long it lasts, its symbol."""
    frame_ms = 1000 * tts.codec.config.hop_samples / speech.sample_rate_hz
    lines, start = ["start ms   ms  phone"], 0
    for phone, frames in zip(speech.phones, speech.frames, strict=True):
        lines.append(f"{start * frame_ms:8.0f} {frames * frame_ms:4.0f}  {phone}")
        start += frames
    return lines


def _voice(args: argparse.Namespace) -> Outcome:
    """Save the voice of a prompt."""
    inputs.check_output(args.out, (inputs.VOICE_SUFFIX,), args.prompt)
    lexicon = inputs.read_lexicon(args.lexicon)
    if args.transcript is not None:
        inputs.check_text(args.transcript, lexicon)
    source = inputs.read_source(args.prompt)
    arguments.use_threads(args.threads)
    tts = inputs.load_tts(args.model, lexicon)
    if not trained(tts):
        output.warn_untrained(tts.weights)
    voice = inputs.make_voice(tts, args.prompt, source, args.transcript)
    voice.save(args.out)
    rhythm = voice.duration
    phones = [tts.vocabulary.symbols[index] for index in rhythm.phones_P.tolist()]
    data = {
        "out": str(args.out),
        "phones": phones,
        "frames": rhythm.frames_P.tolist(),
        "weights": tts.weights,
        "trained": trained(tts),
        "notes": list(voice.notes),
    }
    if not args.json:
        output.note_all(voice.notes, quiet=args.quiet)
    text = f"phones  {' '.join(phones)}\nwrote   {args.out} ({tts.weights})"
    return Outcome(text="" if args.quiet else text, data=data)


def trained(tts: ZeroShotTTS) -> bool:
    """False for random weights."""
    return bool(getattr(tts, "trained", True))
