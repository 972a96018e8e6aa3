"""What a command prints: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command found out or did, for people and for machines."""

    text: str
    """Lines for a terminal; empty prints nothing."""

    data: Mapping[str, Any]
    """The same as plain JSON values."""

    aside: bool = False
    """Whether the lines go to standard error, because standard output carries the result."""

    exit_code: int = 0
    """What the program returns: not 0 where some of many inputs were bad."""


def emit(outcome: Outcome, *, as_json: bool) -> None:
    """Print the outcome: its lines, or exactly one JSON object on one line."""
    text = json.dumps(outcome.data) if as_json else outcome.text
    _clear_line()
    if text:
        stream = sys.stderr if outcome.aside and not as_json else sys.stdout
        # File names need not be text that the terminal can show.
        encoding = stream.encoding or "utf-8"
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def say_aside(kind: str, message: str) -> None:
    """Print one line on standard error, whatever line breaks the message holds."""
    _clear_line()
    print(f"speechkit: {kind}: {' '.join(message.split())}", file=sys.stderr, flush=True)


def _clear_line() -> None:
    """Take away what `Progress` has left on a terminal."""
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def fail(message: str) -> None:
    """Print the one line that an error gets."""
    say_aside("error", message)


def note_all(notes: tuple[str, ...], *, quiet: bool = False) -> None:
    """Print what the user should know about a result."""
    for note in () if quiet else notes:
        say_aside("note", note)


def watermark_name(payload: int | None) -> str:
    """How the watermark of a wave is told."""
    return "none" if payload is None else f"payload {payload} (0x{payload:04x})"


def warn_untrained(subject: str) -> None:
    """Say loudly that weights are random."""
    say_aside(
        "warning",
        f"THE WEIGHTS ARE UNTRAINED ({subject}): what comes out is noise and not speech. "
        "Train them first (recipes/README.md) or give another --model.",
    )


class Progress:
    """What is being done: on a terminal one line that is rewritten, elsewhere a few lines."""

    def __init__(self, *, quiet: bool) -> None:
        """`quiet` tells nothing."""
        self._quiet, self._terminal = quiet, sys.stderr.isatty()
        self._seen = -1

    def tell(self, message: str) -> None:
        """Something that may take long begins."""
        if not self._quiet and not self._terminal:
            say_aside("progress", message)
        self.stage(message)

    def stage(self, message: str) -> None:
        """Something short begins: told on a terminal alone."""
        if not self._quiet and self._terminal:
            print(f"\r\033[K{message} …", end="", file=sys.stderr, flush=True)

    def chunk(self, number: int, count: int, stage: str) -> None:
        """The callback for `ZeroShotTTS.synthesize`; of a long text each chunk is told once."""
        line = f"chunk {number + 1} of {count}: {stage}"
        self.stage(line if count > 1 else f"speaking: {stage}")
        if count > 1 and number > self._seen and not self._quiet and not self._terminal:
            print(line, file=sys.stderr, flush=True)
        self._seen = number
