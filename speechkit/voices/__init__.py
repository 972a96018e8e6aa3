"""Voices that come with speechkit: synthetic clips, which belong to nobody.

Nothing here imports torch, so that a wrong name is refused at once.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from speechkit.core.errors import PromptError

FOLDER = Path(__file__).parent
DEFAULT_VOICE = "heart"
"""The voice where none is asked for."""


@dataclass(frozen=True, kw_only=True)
class BundledVoice:
    """A clip that a voice can be taken from."""

    name: str
    """What it is called on the command line."""

    description: str
    """Who is heard, in a few words."""

    path: Path
    """The recording."""

    text: str
    """What it says."""

    seconds: float
    """How long it is."""


@lru_cache(maxsize=1)
def bundled_voices() -> tuple[BundledVoice, ...]:
    """All of them, the default first."""
    clips = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
    return tuple(
        BundledVoice(
            name=clip["name"],
            description=clip["description"],
            path=FOLDER / clip["file"],
            text=clip["text"],
            seconds=clip["seconds"],
        )
        for clip in clips
    )


def bundled_voice(name: str = DEFAULT_VOICE) -> BundledVoice:
    """The voice of that name, in any case; raises PromptError that lists them."""
    voices = {voice.name: voice for voice in bundled_voices()}
    if name.lower() in voices:
        return voices[name.lower()]
    near = difflib.get_close_matches(name.lower(), voices, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise PromptError(f"There is no voice {name[:40]!r}: {hint}There are {', '.join(voices)}.")
