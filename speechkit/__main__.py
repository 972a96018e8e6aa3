"""`python -m speechkit` is `speechkit`, also under torchrun: `torchrun … -m speechkit train …`."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

INTERRUPTED = 128 + signal.SIGINT
"""Exit code after Ctrl-C, as shells have it."""


def _leave(number: int, frame: object) -> NoReturn:
    """End at once: nothing was begun, and an exception out of an import would be a traceback."""
    os.write(2, b"speechkit: error: interrupted\n")
    os._exit(INTERRUPTED)


def _end(number: int, frame: object) -> NoReturn:
    """End in an orderly way, with what was half written removed."""
    os.write(2, f"speechkit: error: {signal.Signals(number).name} ended it\n".encode())
    raise SystemExit(128 + number)


def run() -> int:
    """Run the command line with signals that end it plainly; returns the exit code."""
    signal.signal(signal.SIGINT, _leave)
    from speechkit.cli import main

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # What was started with nohup stays deaf to it.
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return main()
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        # It is over, and the exit code is known.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(run())
