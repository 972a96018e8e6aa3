"""The verb `voices`: what there is to speak with before anybody has recorded anything."""

from __future__ import annotations

import argparse

from speechkit.cli import arguments
from speechkit.cli.output import Outcome
from speechkit.voices import DEFAULT_VOICE, bundled_voices


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add the verb."""
    voices = verbs.add_parser("voices", help="the bundled voices, which `say --voice NAME` speaks")
    arguments.add_json(voices)
    voices.set_defaults(handler=_voices)


def _voices(args: argparse.Namespace) -> Outcome:
    """List them."""
    del args
    found = bundled_voices()
    width = max(len(voice.name) for voice in found)
    lines = [
        f"{voice.name:{width}}  {voice.description}"
        + (" (the default)" if voice.name == DEFAULT_VOICE else "")
        for voice in found
    ]
    lines.append("Synthetic, so they belong to nobody. Hear one: speechkit say --voice NAME TEXT")
    data = [
        {
            "name": voice.name,
            "description": voice.description,
            "path": str(voice.path),
            "text": voice.text,
            "seconds": voice.seconds,
            "default": voice.name == DEFAULT_VOICE,
        }
        for voice in found
    ]
    return Outcome(text="\n".join(lines), data={"voices": data})
