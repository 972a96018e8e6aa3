"""What the demo accepts from a browser, checked before anything is computed.

Nothing that a browser sends is trusted: a path counts only when the file it leads to, links
followed, lies in a folder of the demo's own. Messages name the field and never a path.

Shapes: T samples.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from speechkit.core.audio import AudioLimits, read_audio
from speechkit.core.errors import AudioError, ConfigError, SpeechkitError, TextError

MAX_SEED = 2**31 - 1
"""Largest seed of the page: a browser's numbers are exact up to 2**53."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one demo."""

    max_file_mb: float = 25.0
    """Largest upload, in MiB."""

    max_prompt_seconds: float = 120.0
    """Longest recording that a prompt is cut from."""

    max_recording_seconds: float = 120.0
    """Longest recording to convert, encode, swap or examine."""

    max_text_characters: int = 2000
    """Longest text."""

    max_script_characters: int = 10_000
    """Longest dialogue or long text: about eleven minutes."""

    max_waiting: int = 16
    """Jobs that may wait; further ones are turned away."""


class PathError(SpeechkitError):
    """A path from the browser leads somewhere else than to an upload or an example."""


def checked_path(path: str, folders: tuple[Path, ...], field: str) -> Path:
    """The file that `path` leads to, links followed; raises PathError outside of `folders`."""
    try:
        real = Path(os.path.realpath(path, strict=True))
        inside = any(real.is_relative_to(os.path.realpath(folder)) for folder in folders)
        regular = stat.S_ISREG(real.stat().st_mode)
    except (OSError, ValueError):
        # The same sentence as for a file elsewhere: it must not tell which files exist.
        inside = regular = False
    if not (inside and regular):
        raise PathError(f"{field}: this file was not uploaded here. Upload it again.")
    return real


def read_recording(
    path: str | None,
    sample_rate_hz: int,
    folders: tuple[Path, ...],
    limits: Limits,
    *,
    field: str,
    max_seconds: float | None = None,
) -> Tensor:
    """`wave_T` of an uploaded recording at `sample_rate_hz`.

    Raises AudioError for a missing file, one that is not audio, is damaged, too large or longer
    than `max_seconds` (default: that of a recording), and PathError.
    """
    if not path:
        raise AudioError(f"{field} is missing: upload or record one, or take an example.")
    bounds = AudioLimits(
        max_bytes=int(limits.max_file_mb * 1024**2),
        max_seconds=limits.max_recording_seconds if max_seconds is None else max_seconds,
    )
    real = checked_path(path, folders, field)
    try:
        # An open file, because errors name a path that they are given.
        with real.open("rb") as file:
            return read_audio(file, sample_rate_hz, bounds)
    except AudioError as error:
        raise AudioError(f"{field}: {error}") from error
    except OSError as error:
        raise AudioError(f"{field} cannot be read: upload it again.") from error


def checked_text(text: str | None, limits: Limits) -> str:
    """The text; raises TextError when it is empty, too long or not valid Unicode."""
    text = text or ""
    if not text.strip():
        raise TextError("The text is empty: write a sentence, or upload a text file.")
    if len(text) > limits.max_text_characters:
        raise TextError(
            f"The text has {len(text)} characters and the limit here is "
            f"{limits.max_text_characters}: shorten it, or use the command line (speechkit say)."
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TextError("The text holds characters that are not valid: type it again.") from error
    return text


def read_text_file(path: str, folders: tuple[Path, ...], limits: Limits) -> str:
    """The text of an uploaded UTF-8 file; raises TextError or PathError."""
    # No character takes more than four bytes.
    most = 4 * limits.max_text_characters + 1
    with checked_path(path, folders, "The text file").open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise TextError(
            f"The text file is larger than {limits.max_text_characters} characters: shorten it, "
            "or use the command line (speechkit say)."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError("The text file is not UTF-8 text: convert it first.") from error


def checked_number(value: float | None, low: float, high: float, field: str) -> float:
    """A number of the page; raises ConfigError when it is missing, no number or out of range."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigError(f"{field} must be a number from {low:g} to {high:g}.")
    return value


def checked_seed(value: float | None) -> int:
    """A seed of the page; raises ConfigError unless it is a whole number in range."""
    seed = checked_number(value, 0, MAX_SEED, "The seed")
    if seed != int(seed):
        raise ConfigError(f"The seed must be a whole number from 0 to {MAX_SEED}.")
    return int(seed)
