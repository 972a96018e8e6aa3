"""Flags of `say` and `swap` for scripts with several voices, and for subtitles."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.cli import arguments, inputs
from speechkit.core.errors import ConfigError
from speechkit.core.files import write_text
from speechkit.voices import bundled_voice, bundled_voices

if TYPE_CHECKING:
    from speechkit.core.results import Speech
    from speechkit.text.script import Part

SUBTITLES = {"srt": ".srt", "vtt": ".vtt", "words": ".json"}
"""Flags that write times, and the suffix of each file."""


def add_dialogue(parser: arguments.Parser, text: argparse._MutuallyExclusiveGroup) -> None:
    """Add --script to the group of texts, and --voice."""
    text.add_argument(
        "--script",
        type=Path,
        metavar="FILE",
        help="a dialogue: lines such as ANNA: Hello. [pause 0.5s] with a --voice for each name",
    )
    parser.add_argument(
        "--voice",
        type=_named,
        action="append",
        default=[],
        metavar="NAME",
        help="a bundled voice, see `voices`; NAME=FILE gives --script or SSML's <voice name> a "
        "recording, a saved voice or a bundled one; repeat it",
    )


def add_subtitles(parser: arguments.Parser) -> None:
    """Add --srt, --vtt and --words."""
    for name, suffix in SUBTITLES.items():
        kind = "the words with their times as JSON" if name == "words" else f"subtitles ({suffix})"
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"also write {kind}")


def _named(text: str) -> tuple[str, Path]:
    """An argument type: NAME=FILE, or the name of a bundled voice, for all that has no name."""
    name, equals, file = text.partition("=")
    if not equals:
        return "", bundled_voice(name).path
    if not file or not re.fullmatch(r"[^\W\d_][\w .'-]{0,39}", name):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE, such as ANNA=anna.wav")
    bundled = [voice.path for voice in bundled_voices() if voice.name == file.lower()]
    return name, bundled[0] if bundled and not Path(file).exists() else Path(file)


def default_prompt(args: argparse.Namespace) -> Path | None:
    """Where the voice of all that names none comes from; None for a script with its own voices.

    Raises ConfigError where there are several.
    """
    given: list[Path] = [path for name, path in args.voice if not name]
    given += [args.prompt] if args.prompt else []
    if len(given) > 1:
        raise ConfigError("There are several voices: give one --voice NAME or one --prompt.")
    if given:
        return given[0]
    return None if args.script is not None else bundled_voice().path


def named_voices(args: argparse.Namespace) -> dict[str, Path]:
    """The files of --voice by name; raises ConfigError for a name that comes twice."""
    named: dict[str, Path] = {}
    for name, path in getattr(args, "voice", []):
        if not name:
            continue
        if name.casefold() in (other.casefold() for other in named):
            raise ConfigError(f"--voice {name} is given twice: leave one out.")
        named[name] = path
    return named


def read_parts(args: argparse.Namespace, named: Mapping[str, Path]) -> tuple[Part, ...]:
    """What is to be said, by whom; raises TextError for what cannot be read."""
    from speechkit.text.script import check_voices, read_dialogue, read_script

    script = getattr(args, "script", None)
    text = inputs.read_text(args.text, script or args.text_file)
    parts = read_dialogue(text, tuple(named)) if script else read_script(text)
    check_voices(parts, tuple(named))
    return parts


def check_subtitles(args: argparse.Namespace, *sources: Path) -> None:
    """Raise ConfigError unless the files of times can be written."""
    for name, suffix in SUBTITLES.items():
        path = getattr(args, name)
        if path is not None:
            inputs.check_output(path, (suffix,), *sources)


def write_subtitles(args: argparse.Namespace, speech: Speech) -> list[Path]:
    """Write what was asked for; returns the files."""
    if not any(getattr(args, name) for name in SUBTITLES):
        return []
    from speechkit import subtitles

    writers: dict[str, Callable[[Speech], str]] = {
        "srt": subtitles.srt,
        "vtt": subtitles.vtt,
        "words": subtitles.words_json,
    }
    written: list[Path] = []
    for name, writer in writers.items():
        path = getattr(args, name)
        if path is not None:
            write_text(path, writer(speech))
            written.append(path)
    return written
