"""Texts made ready to be spoken: phones in chunks, and the lines of a script.

Nothing here imports torch, so that a bad text is refused at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from speechkit.core.errors import TextError
from speechkit.text.frontend import TextFrontend
from speechkit.text.script import Part, Pause

MAX_CHARACTERS = 20_000
"""Longest text of one call."""

CHUNK_CHARACTERS = 180
"""Longest piece that is spoken in one go, about 11 s. The shipped models trained on up to 10 s."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """A text made ready to be spoken."""

    chunks: tuple[tuple[str, ...], ...]
    """Phones of each chunk, from `^` to `$`."""

    words: tuple[str, ...]
    """All words, as they are read out."""

    notes: tuple[str, ...] = ()
    """What could not be spoken."""

    soon: bool = False
    """Whether somebody waits for its first sound; see `speechkit.streaming`."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A line made ready to be spoken."""

    script: Script
    """Its phones and words."""

    voice: str = ""
    """Name of its voice."""

    speed: float = 1.0
    """Speaking rate, on top of that of the whole."""


def write_script(text: str, frontend: TextFrontend, *, soon: bool = False) -> Script:
    """Text as phones, in chunks of up to `CHUNK_CHARACTERS` characters; with `soon` the first ones
    are shorter, for a stream.

    Raises TextError for a text that is too long, or in which nothing can be spoken.
    """
    if len(text) > MAX_CHARACTERS:
        raise TextError(
            f"The text has {len(text)} characters; split it into parts of at most {MAX_CHARACTERS}."
        )
    pieces = frontend.pieces(text, CHUNK_CHARACTERS, soon=soon)
    return Script(chunks=pieces.phones, words=pieces.words, notes=pieces.notes, soon=soon)


def write_turns(
    parts: Iterable[Part], frontend: TextFrontend, *, soon: bool = False
) -> tuple[Turn | Pause, ...]:
    """Every line as phones, the first in chunks as `write_script` makes them for a stream where
    `soon`; raises TextError for a line that cannot be spoken, or for all of them too long."""
    turns: list[Turn | Pause] = []
    parts = tuple(parts)
    characters = sum(len(part.text) for part in parts if not isinstance(part, Pause))
    if characters > MAX_CHARACTERS:
        raise TextError(
            f"The text is too long: {characters} characters, split it into parts of at most "
            f"{MAX_CHARACTERS}."
        )
    for number, part in enumerate(parts, start=1):
        if isinstance(part, Pause):
            turns.append(part)
            continue
        try:
            script = write_script(part.text, frontend, soon=soon and not turns)
        except TextError as error:
            where = f"Part {number} ({part.text.strip()[:30]!r}): " if len(parts) > 1 else ""
            raise TextError(f"{where}{error}") from error
        turns.append(Turn(script=script, voice=part.voice, speed=part.speed))
    return tuple(turns)
