"""What a command prints: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command found out or did, for people and for machines."""

    text: str
    """Lines for a terminal; empty prints nothing."""

    data: Mapping[str, Any]
    """The same as plain JSON values."""

    exit_code: int = 0
    """What the program returns: not 0 where some of many inputs were bad."""


def emit(outcome: Outcome, *, as_json: bool) -> None:
    """Print the outcome: its lines, or exactly one JSON object on one line."""
    text = json.dumps(outcome.data) if as_json else outcome.text
    if text:
        # File names need not be text that the terminal can show.
        encoding = sys.stdout.encoding or "utf-8"
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def say_aside(kind: str, message: str) -> None:
    """Print one line on standard error, whatever line breaks the message holds."""
    print(f"speechkit: {kind}: {' '.join(message.split())}", file=sys.stderr, flush=True)


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


def chunk_progress(*, quiet: bool) -> Callable[[int, int, str], None]:
    """A progress callback for `ZeroShotTTS.synthesize` that reports long text.

    On a terminal one line is rewritten at each stage; elsewhere each chunk gets one line.
    """
    seen: list[int] = []

    def report(number: int, count: int, stage: str) -> None:
        if quiet or count < 2:
            return
        line = f"chunk {number + 1} of {count}: {stage}"
        if sys.stderr.isatty():
            last = number + 1 == count and stage == "decode"
            print(f"\r\033[K{line}", end="\n" if last else "", file=sys.stderr, flush=True)
        elif number not in seen:
            print(line, file=sys.stderr, flush=True)
        seen.append(number)

    return report
