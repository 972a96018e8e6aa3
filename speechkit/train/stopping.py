"""Signals that ask a run to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Set once a signal has asked to stop."""

    def __init__(self) -> None:
        self.received = False


@contextmanager
def stop_on_signal(*, repeat_ends: bool) -> Iterator[StopRequest]:
    """Turn SIGTERM and SIGINT into a request to stop after the present step.

    With ``repeat_ends`` a second SIGINT acts as it would have without this, so that pressing Ctrl-C
    twice gets through. Not for processes under torchrun, which get each Ctrl-C twice: from the
    terminal and from torchrun. Outside the main thread, where Python allows no handlers, signals
    keep their meaning.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            # None stands for a handler that was not set from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def handle(number: int, frame: FrameType | None) -> None:
        request.received = True
        if repeat_ends and number == signal.SIGINT:
            restore()

    for number in SIGNALS:
        signal.signal(number, handle)
    try:
        yield request
    finally:
        restore()
