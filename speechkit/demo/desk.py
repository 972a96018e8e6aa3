"""Who may compute now: everybody one job, one job at a time, first come first served.

Gradio's own queue cannot stop a function that runs, nor refuse somebody's second job. Here a job
asks `Ticket.check` between its stages, so pressing Cancel or closing the tab ends it there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from speechkit.core.errors import SpeechkitError

_LOOK_SECONDS = 0.25
"""How often a waiting job looks whether it was cancelled; its turn itself wakes it at once."""

Waiting = Callable[[int], None]
"""Called with the number of jobs ahead."""


class BusyError(SpeechkitError):
    """Somebody's second job, or one too many."""


class CancelledError(SpeechkitError):
    """The job was cancelled, or its tab closed."""


class Ticket:
    """One job at the desk."""

    def __init__(self, session: str) -> None:
        """A ticket of a session."""
        self.session = session
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Make the job stop at its next check."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether the job has been told to stop."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raise CancelledError once the job has been told to stop."""
        if self.cancelled:
            raise CancelledError("Cancelled. Nothing of it was kept.")


class Desk:
    """A queue with one place for each session."""

    def __init__(self, max_waiting: int) -> None:
        """A desk with room for one job at work and `max_waiting` behind it."""
        self._max_waiting = max_waiting
        self._tickets: list[Ticket] = []
        self._changed = threading.Condition()

    @contextmanager
    def job(self, session: str, waiting: Waiting = lambda ahead: None) -> Iterator[Ticket]:
        """Wait for one's turn and hold it; raises BusyError and CancelledError."""
        ticket = self._join(session)
        try:
            self._wait(ticket, waiting)
            yield ticket
        finally:
            with self._changed:
                self._tickets.remove(ticket)
                self._changed.notify_all()

    def cancel(self, session: str) -> int:
        """Cancel what a session has here; returns how many jobs that were."""
        with self._changed:
            own = [ticket for ticket in self._tickets if ticket.session == session]
            for ticket in own:
                ticket.cancel()
            self._changed.notify_all()
        return len(own)

    @property
    def jobs(self) -> int:
        """Jobs at work and waiting."""
        return len(self._tickets)

    def _join(self, session: str) -> Ticket:
        with self._changed:
            # A cancelled job may need a moment to end; it must not block the next one.
            if any(t.session == session and not t.cancelled for t in self._tickets):
                raise BusyError("You already have a job here: wait for it, or cancel it first.")
            if len(self._tickets) > self._max_waiting:
                raise BusyError("Too many jobs are waiting: try again in a minute.")
            ticket = Ticket(session)
            self._tickets.append(ticket)
            return ticket

    def _wait(self, ticket: Ticket, waiting: Waiting) -> None:
        told = 0
        while True:
            with self._changed:
                ahead = self._tickets.index(ticket)
                if ahead == told != 0:
                    self._changed.wait(_LOOK_SECONDS)
                    ahead = self._tickets.index(ticket)
            ticket.check()
            if ahead == 0:
                return
            # Outside of the lock, because it talks to a browser.
            if ahead != told:
                waiting(ahead)
                told = ahead
