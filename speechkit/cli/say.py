"""The verbs that speak: `say`, `swap`, `voice`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechkit.cli import arguments, inputs, output, script
from speechkit.cli.output import Outcome
from speechkit.core.errors import ConfigError

if TYPE_CHECKING:
    from speechkit.core.results import Speech
    from speechkit.tts import ZeroShotTTS

FORMATS = ("wav", "pcm")
ATTRIBUTES = ("timbre", "prosody", "duration", "content", "detail")


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add the three verbs."""
    say = verbs.add_parser("say", help="speak a text in the voice of a prompt")
    say.add_argument(
        "--prompt",
        type=Path,
        metavar="FILE",
        help="1 to 30 s of the voice (wav, flac, ogg, mp3), or a .safetensors from `voice`; "
        "default: the first of the bundled ones, which `voices` lists",
    )
    say.add_argument("--transcript", help="what the prompt says; not needed, improves its rhythm")
    text = _add_speaking(say)
    script.add_dialogue(say, text)
    text.add_argument(
        "--batch",
        type=Path,
        metavar="FILE",
        help="a .csv or .jsonl in place of a text, with text, voice (or prompt), out, seed; -o is "
        "then a folder, and what is there already is kept",
    )
    say.add_argument(
        "--overwrite", action="store_true", help="with --batch: speak again what is there"
    )
    say.add_argument(
        "--stream", action="store_true", help="with -o -: sound as soon as it is there"
    )
    say.add_argument(
        "--format", choices=FORMATS, help="of --stream: wav (default), or pcm, bare 16 bit samples"
    )
    say.set_defaults(handler=_say, verb="say")

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
    swap.set_defaults(handler=_swap, verb="swap --timbre FILE")

    voice = verbs.add_parser("voice", help="analyse a prompt once, to speak with it often")
    voice.add_argument("prompt", type=Path, help="1 to 30 s of the voice")
    voice.add_argument("-o", "--out", type=Path, required=True, help="file ending in .safetensors")
    voice.add_argument("--transcript", help="what the prompt says; not needed, improves its rhythm")
    _add_common(voice, generator=False)
    voice.set_defaults(handler=_voice)


def _add_speaking(parser: arguments.Parser) -> argparse._MutuallyExclusiveGroup:
    """Add the flags of verbs that write speech; gives the group of what is spoken."""
    # Outside the group, or what follows an unknown flag would be the fault that is told.
    parser.add_argument(
        "spoken", nargs="?", metavar="TEXT", help="what to say; - is standard input"
    )
    text = parser.add_mutually_exclusive_group()
    text.add_argument("--text", help="the same")
    text.add_argument("--text-file", type=Path, metavar="FILE", help="UTF-8 file with the text")
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        help=f"file ending in {', '.join(inputs.AUDIO_SUFFIXES)}; - writes a WAV file to standard "
        "output (default: speech.wav, or speech-2.wav and so on where that is taken)",
    )
    parser.add_argument(
        "--speed",
        type=arguments.number(0.25, 4.0),
        default=1.0,
        help="speaking rate, 2 being twice as fast (default 1)",
    )
    script.add_subtitles(parser)
    arguments.add_seed(parser)
    arguments.add_sampling(parser)
    arguments.add_watermark(parser)
    parser.add_argument(
        "--show-phones", action="store_true", help="print every phone with its length"
    )
    _add_common(parser)
    return text


def _add_common(parser: arguments.Parser, *, generator: bool = True) -> None:
    """Add the flags of all verbs of this file."""
    parser.add_argument(
        "--lexicon", type=Path, metavar="FILE", help="lines such as: tomato T AH0 M AA1 T OW2"
    )
    arguments.add_model(parser)
    arguments.add_device(parser, generator=generator)
    arguments.add_threads(parser)
    arguments.add_json(parser)


def _say(args: argparse.Namespace) -> Outcome:
    """Speak with all attributes from one prompt, the first bundled one if none, or a table."""
    _take_text(args, args.script, args.batch)
    if args.batch is None and args.overwrite:
        raise ConfigError("--overwrite is for --batch.")
    if args.format is not None and not args.stream:
        raise ConfigError("--format is for --stream.")
    if args.candidates is not None and args.stream:
        raise ConfigError("--candidates waits for whole pieces, --stream does not: give one.")
    args.prompt = script.default_prompt(args)
    if args.batch is not None:
        if args.stream or args.show_phones or args.transcript is not None:
            raise ConfigError("--stream, --show-phones and --transcript are for a single text.")
        from speechkit.cli.say_batch import say_batch

        return say_batch(args)
    if args.stream:
        from speechkit.cli.say_stream import say_stream

        args.format = args.format or FORMATS[0]
        return say_stream(args)
    return _speak(args, {"timbre": args.prompt} if args.prompt else {}, args.transcript)


def _take_text(args: argparse.Namespace, *others: Path | None) -> None:
    """Make `args.text` what is to be said; raises ConfigError unless one thing alone is."""
    given = [one for one in (args.spoken, args.text, args.text_file, *others) if one is not None]
    if not given:
        raise ConfigError(f"There is nothing to say: speechkit {args.verb} 'Good morning.'")
    if len(given) > 1:
        raise ConfigError("There are several texts: give one.")
    args.text = args.text if args.spoken is None else args.spoken


def _swap(args: argparse.Namespace) -> Outcome:
    """Speak, or swap in a recording, with attributes from several prompts."""
    _take_text(args, args.source)
    if args.source is not None:
        return _swap_recording(args)
    if args.timbre is None:
        raise ConfigError("A text needs a voice: give --timbre.")
    sources = {name: getattr(args, name) for name in ATTRIBUTES if getattr(args, name) is not None}
    # As `ZeroShotTTS.swap`: a voice for one attribute must leave the others as they were.
    args.candidates = args.candidates or 1
    return _speak(args, sources, None)


def _swap_recording(args: argparse.Namespace) -> Outcome:
    """Swap the factors of a recording, without any text."""
    paths = {name: getattr(args, name) for name in ATTRIBUTES if getattr(args, name)}
    if not paths:
        names = ", ".join(f"--{name}" for name in ATTRIBUTES)
        raise ConfigError(f"There is nothing to swap with: give at least one of {names}.")
    for name in ("lexicon", "candidates", *script.SUBTITLES):
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name} is for texts: leave it out with --source.")
    args.out = inputs.speech_file(args.out, as_json=args.json)
    inputs.check_output(args.out, inputs.AUDIO_SUFFIXES, args.source, *paths.values())
    for path in (args.source, *paths.values()):
        inputs.check_source(path)
    output.Progress().tell("loading the models")
    sources = {path: inputs.read_source(path) for path in paths.values()}
    sources[args.source] = inputs.read_source(args.source, keep_pauses=True)
    arguments.use_threads(args.threads)

    started = time.perf_counter()
    tts = inputs.load_tts(args.model, {}, device=args.device, dtype=args.dtype)
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
    return _finish(args, tts, speech, clock=(started, loaded, heard))


def _speak(args: argparse.Namespace, paths: Mapping[str, Path], transcript: str | None) -> Outcome:
    """Check everything, then import torch and load the models, speak, write the file."""
    args.out = inputs.speech_file(args.out, as_json=args.json)
    named = script.named_voices(args)
    files = [path for path in (args.text_file, getattr(args, "script", None)) if path]
    read_from = (*paths.values(), *named.values(), *files)
    inputs.check_output(args.out, inputs.AUDIO_SUFFIXES, *read_from)
    script.check_subtitles(args, *read_from, args.out)
    lexicon = inputs.read_lexicon(args.lexicon)
    parts = script.read_parts(args, named)

    from speechkit.text import Frontend
    from speechkit.text.turns import write_turns

    for path in (*paths.values(), *named.values()):
        inputs.check_source(path)
    frontend = Frontend(lexicon)
    turns = write_turns(parts, frontend)
    phones = None if transcript is None else frontend.phones(transcript)
    progress = output.Progress()
    progress.tell("loading the models")

    from speechkit.core.results import mix_voices
    from speechkit.narration import narrate

    sources = {path: inputs.read_source(path) for path in (*paths.values(), *named.values())}
    arguments.use_threads(args.threads)

    started = time.perf_counter()
    tts = inputs.load_tts(args.model, lexicon, device=args.device, dtype=args.dtype)
    loaded = time.perf_counter()
    progress.stage("reading the voice")
    made = {
        path: inputs.make_voice(tts, path, source, phones if path in paths.values() else None)
        for path, source in sources.items()
    }
    heard = time.perf_counter()
    voices = {name: made[path] for name, path in named.items()}
    if paths:
        parts_of_voice = {name: made[path] for name, path in paths.items()}
        voices[""] = mix_voices(parts_of_voice.pop("timbre"), **parts_of_voice)
    speech = narrate(
        tts,
        turns,
        voices,
        seed=args.seed,
        speed=args.speed,
        steps=args.steps,
        candidates=args.candidates,
        watermark=arguments.watermark(args),
        progress=progress.chunk,
    )
    return _finish(args, tts, speech, clock=(started, loaded, heard))


def _finish(
    args: argparse.Namespace,
    tts: ZeroShotTTS,
    speech: Speech,
    *,
    clock: tuple[float, float, float],
) -> Outcome:
    """Write the file and say how it went; `clock` is when loading, prompts and speaking began."""
    started, loaded, heard = clock
    factor = (time.perf_counter() - heard) / speech.seconds
    inputs.save_speech(speech, args.out)
    written = [args.out, *script.write_subtitles(args, speech)]

    data = {
        "out": str(args.out),
        "real_time_factor": factor,
        "load_seconds": loaded - started,
        "prompt_seconds": heard - loaded,
        "weights": tts.weights,
        "trained": tts.trained,
        **speech.to_json(),
    }
    stages = ", ".join(f"{name} {took:.2f}" for name, took in speech.stages_seconds.items())
    lines = [
        f"wrote             {', '.join(map(str, written))}",
        speech.text(),
        f"real-time factor  {factor:.3f} (seconds: {stages}; "
        f"prompt {heard - loaded:.2f}, loading {loaded - started:.2f})",
        f"watermark         {output.watermark_name(speech.watermark)}",
        f"weights           {tts.weights}",
    ]
    if args.show_phones:
        lines.append("start ms   ms  phone")
        lines += [
            f"{1000 * phone.start_seconds:8.0f} "
            f"{1000 * (phone.end_seconds - phone.start_seconds):4.0f}  {phone.label}"
            for phone in speech.timed_phones
        ]
    aside = args.out == inputs.STANDARD_OUTPUT
    return Outcome(text="\n".join(lines), data=data, aside=aside, notes=speech.notes)


def _voice(args: argparse.Namespace) -> Outcome:
    """Save the voice of a prompt."""
    inputs.check_output(args.out, (inputs.VOICE_SUFFIX,), args.prompt)
    lexicon = inputs.read_lexicon(args.lexicon)

    from speechkit.text import Frontend

    phones = None if args.transcript is None else Frontend(lexicon).phones(args.transcript)
    inputs.check_source(args.prompt)
    output.Progress().tell("loading the models")
    source = inputs.read_source(args.prompt)
    arguments.use_threads(args.threads)
    tts = inputs.load_tts(args.model, lexicon, device=args.device)
    voice = inputs.make_voice(tts, args.prompt, source, phones)
    voice.save(args.out)
    rhythm = voice.duration
    symbols = [tts.vocabulary.symbols[index] for index in rhythm.phones_P.tolist()]
    data = {
        "out": str(args.out),
        "phones": symbols,
        "frames": rhythm.frames_P.tolist(),
        "weights": tts.weights,
        "trained": tts.trained,
        "notes": list(voice.notes),
    }
    text = f"phones  {' '.join(symbols)}\nwrote   {args.out} ({tts.weights})"
    return Outcome(text=text, data=data, notes=voice.notes)
