"""What a command prints: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechkit.core.errors import StreamError

_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)
"""Whether only errors, warnings and the JSON object are printed."""


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

    notes: tuple[str, ...] = ()
    """What the user should know about the result: on standard error, but for --json, which has it
    in `data`."""


@contextmanager
def streams() -> Iterator[None]:
    """Standard streams as they must be: what the parent process closed swallows what is written.

    Without this a file that is opened later takes the place of the closed stream, and what is
    meant for that goes into the file. Standard output and input stay None, so that it can be told.
    """
    for descriptor, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
        if stream is None:
            try:
                os.fstat(descriptor)
            except OSError:
                os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stderr is not None:
        yield
        return
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stderr(nowhere):
        yield


@contextmanager
def hushed(*, quiet: bool) -> Iterator[None]:
    """Let only errors, warnings and the JSON object be printed, where `quiet` says so."""
    before = logging.root.manager.disable
    token = _QUIET.set(quiet)
    if quiet:
        logging.disable(max(before, logging.INFO))
    try:
        yield
    finally:
        _QUIET.reset(token)
        logging.disable(before)


def emit(outcome: Outcome, *, as_json: bool) -> None:
    """Print the outcome: its lines, or exactly one JSON object on one line.

    Raises StreamError where standard output is closed or refuses it, and what is printed is all
    that the command made.
    """
    if not as_json:
        note_all(outcome.notes)
    text = json.dumps(outcome.data) if as_json else "" if _QUIET.get() else outcome.text
    _clear_line()
    if not text:
        return
    if outcome.aside and not as_json:
        say_line(text)
        return
    if sys.stdout is None:
        if as_json or "out" not in outcome.data:
            raise StreamError("Standard output is closed: there is nowhere to print the result.")
        return
    # File names need not be text that the terminal can show.
    encoding = sys.stdout.encoding or "utf-8"
    with printing():
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def flush() -> None:
    """Write out what is still held back; raises StreamError where standard output refuses it."""
    if sys.stdout is not None:
        with printing():
            sys.stdout.flush()


@contextmanager
def printing() -> Iterator[None]:
    """Turn what standard output refuses meanwhile into a StreamError."""
    try:
        yield
    except OSError as error:
        # Flushing it once more at exit would complain again.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
        if isinstance(error, BrokenPipeError):
            raise StreamError("Standard output was closed by what was reading it.") from error
        raise StreamError(f"Cannot write to standard output: {error.strerror}.") from error


def say_aside(kind: str, message: str) -> None:
    """Print one line on standard error, whatever line breaks the message holds."""
    if not _QUIET.get() or kind in ("error", "warning"):
        _clear_line()
        say_line(f"speechkit: {kind}: {' '.join(message.split())}")


def say_line(line: str, end: str = "\n") -> None:
    """Print on standard error, also with --quiet; where that refuses it, nobody can be told."""
    encoding = sys.stderr.encoding or "utf-8"
    with suppress(OSError):
        print(
            line.encode(encoding, "backslashreplace").decode(encoding),
            end=end,
            file=sys.stderr,
            flush=True,
        )


def _clear_line() -> None:
    """Take away what `Progress` has left on a terminal."""
    if sys.stderr.isatty():
        say_line("\r\033[K", end="")


def fail(message: str) -> None:
    """Print the one line that an error gets."""
    say_aside("error", message)


def note_all(notes: tuple[str, ...]) -> None:
    """Print what the user should know about a result."""
    for note in notes:
        say_aside("note", note)


def watermark_name(payload: int | None) -> str:
    """How the watermark of a wave is told."""
    return "none" if payload is None else f"payload {payload} (0x{payload:04x})"


def tally(done: str, kept: int, failed: int) -> str:
    """What became of many files, in one line."""
    parts = [done]
    parts += [f"{kept} kept that were there"] if kept else []
    parts += [f"{failed} failed"] if failed else []
    return "; ".join(parts)


def warn_untrained(subject: str) -> None:
    """Say loudly that weights are random."""
    say_aside(
        "warning",
        f"THE WEIGHTS ARE UNTRAINED ({subject}): what comes out is noise and not speech. "
        "Train them first (recipes/README.md) or give another --model.",
    )


class Progress:
    """What is being done: on a terminal one line that is rewritten, elsewhere a few lines."""

    def __init__(self) -> None:
        self._quiet, self._terminal = _QUIET.get(), sys.stderr.isatty()
        self._seen = -1

    def tell(self, message: str) -> None:
        """Something that may take long begins."""
        if not self._quiet and not self._terminal:
            say_aside("progress", message)
        self.stage(message)

    def stage(self, message: str) -> None:
        """Something short begins: told on a terminal alone."""
        if not self._quiet and self._terminal:
            say_line(f"\r\033[K{message} …", end="")

    def chunk(self, number: int, count: int, stage: str) -> None:
        """The callback for `ZeroShotTTS.synthesize`; of a long text each chunk is told once."""
        line = f"chunk {number + 1} of {count}: {stage}"
        self.stage(line if count > 1 else f"speaking: {stage}")
        if count > 1 and number > self._seen and not self._quiet and not self._terminal:
            say_line(line)
        self._seen = number


def count_progress(done: int, count: int) -> None:
    """How many clips of many are done; told on a terminal alone."""
    Progress().stage(f"{done} of {count} clips")
