"""Progress of long work on standard error: how far, how fast, how long still.

On a terminal it is one line that is rewritten; elsewhere, as in the log of a cluster, a plain line
every half minute. Nothing is shown until `show_progress` was called, as the command line does: a
function that is used from Python stays quiet.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tqdm import tqdm  # type: ignore[import-untyped]

ItemT = TypeVar("ItemT")

LINE_SECONDS = 30.0
"""Time between two lines where there is no terminal."""

_logger = logging.getLogger("speechkit")
_PLAIN = "{desc}: {n_fmt} of {total_fmt} {unit}s, {rate_fmt}, {remaining} left"


class Progress(tqdm, Generic[ItemT]):  # type: ignore[misc]
    """A `tqdm` bar without the thread that watches it: each update looks at the time itself."""

    monitor_interval = 0
    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[ItemT]: ...


class _LogHandler(logging.Handler):
    """Writes log lines above a progress line, to what standard error is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        Progress.write(self.format(record), file=sys.stderr)


class _Lines:
    """What `tqdm` rewrites in place, as lines one below the other."""

    def write(self, text: str) -> None:
        """Write a line where there is anything to write."""
        if line := text.strip("\r\n "):
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        """Write out what is held back."""
        sys.stderr.flush()


def show_progress() -> None:
    """Show progress and the log of the package, with the time, on standard error."""
    if not any(isinstance(handler, _LogHandler) for handler in _logger.handlers):
        handler = _LogHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
        _logger.addHandler(handler)
    _logger.setLevel(logging.INFO)


def progress(
    what: str,
    items: Iterable[ItemT] | None = None,
    *,
    total: int | None,
    unit: str,
    initial: int = 0,
    plain: bool = True,
) -> Progress[ItemT]:
    """Return ``items``, to be looped over, or without them a bar whose `update` counts them.

    ``what`` is being done to ``total`` things (None: unknown) called ``unit``, of which ``initial``
    were done before. Without ``plain`` only a terminal shows anything. Use it as a context manager
    where the loop may end early.

    Example: ``for clip in progress("encoding", clips, total=len(clips), unit="clip"): ...``
    """
    terminal = sys.stderr.isatty()
    shown = _logger.isEnabledFor(logging.INFO) and (terminal or plain)
    settings: dict[str, Any] = (
        {"file": sys.stderr, "dynamic_ncols": True, "delay": 0.5, "mininterval": 0.2}
        if terminal
        else {
            "file": _Lines(),
            "bar_format": _PLAIN,
            "mininterval": LINE_SECONDS,
            "delay": LINE_SECONDS,
        }
    )
    return Progress(
        items,
        desc=what,
        total=total,
        unit=unit,
        initial=initial,
        miniters=1,
        disable=not shown,
        **settings,
    )
