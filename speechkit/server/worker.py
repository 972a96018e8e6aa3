"""The one thread that has the model, and the bounded line before it."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Generic, TypeVar

Result = TypeVar("Result")
Check = Callable[[], None]
"""Called by work now and then; raises `GoneError` when nobody waits for it any more."""
Work = Callable[[Check], Iterator[Result]]

_log = logging.getLogger(__name__)
_START_SECONDS = 2.0
"""Guess of how long a job takes before there was one."""


class GoneError(Exception):
    """Nobody waits for this job."""


class BusyError(Exception):
    """The line is full, or the server is about to end."""

    def __init__(self, message: str, retry_seconds: int) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class _End:
    """Follows the last result."""


class Job(Generic[Result]):
    """Work of one request: iterate over it in the event loop that submitted it."""

    def __init__(self, work: Work[Result], expires: float) -> None:
        self._work, self._expires = work, expires
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[Result | BaseException | _End] = asyncio.Queue()
        self._cancelled = threading.Event()
        self._ended = False

    def cancel(self) -> None:
        """Let the work end at its next check."""
        self._cancelled.set()

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise GoneError

    def run(self) -> None:
        """Do the work, in the worker's thread; never raises."""
        try:
            self._check()
            if time.monotonic() > self._expires:
                raise BusyError("The server was too busy to answer in time.", 10)
            for item in self._work(self._check):
                self._post(item)
                self._check()
        except BaseException as error:  # noqa: BLE001 (every one belongs to whoever waits)
            self._post(error)
        else:
            self._post(_End())

    def _post(self, item: Result | BaseException | _End) -> None:
        try:
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)
        except RuntimeError:
            # The loop is closed: the server has ended.
            self.cancel()

    def __aiter__(self) -> AsyncIterator[Result]:
        """The results as they come."""
        return self

    async def __anext__(self) -> Result:
        """The next result; raises what the work raised."""
        if self._ended:
            raise StopAsyncIteration
        item = await self._items.get()
        if isinstance(item, _End):
            self._ended = True
            raise StopAsyncIteration
        if isinstance(item, BaseException):
            self._ended = True
            raise item
        return item


class Worker:
    """Runs jobs one after the other."""

    def __init__(self, max_waiting: int, max_wait_seconds: float) -> None:
        self._max_waiting, self._max_wait_seconds = max_waiting, max_wait_seconds
        self._line: deque[Job[object]] = deque()
        self._changed = threading.Condition()
        self._running: Job[object] | None = None
        self._took_seconds = _START_SECONDS
        self._ending = False
        self.draining = False
        """Set when the server is to end: new jobs are refused, those in line are done."""
        self._thread = threading.Thread(target=self._run, name="speechkit-worker", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Jobs in line, without the one that runs."""
        return len(self._line)

    @property
    def busy(self) -> bool:
        """Whether a job runs."""
        return self._running is not None

    def submit(self, work: Work[Result]) -> Job[Result]:
        """Put work in line; raises BusyError where there is no room."""
        with self._changed:
            if self.draining:
                raise BusyError("The server is about to end.", 5)
            if len(self._line) >= self._max_waiting:
                seconds = math.ceil(self._took_seconds * len(self._line))
                raise BusyError("Too many requests are waiting.", min(60, max(1, seconds)))
            job = Job(work, time.monotonic() + self._max_wait_seconds)
            self._line.append(job)  # type: ignore[arg-type]  # results go to whoever submitted
            self._changed.notify()
        return job

    def cancel(self, job: Job[Result]) -> None:
        """Nobody waits for a job any more: it leaves the line, or ends at its next check."""
        job.cancel()
        with self._changed:
            self._line = deque(other for other in self._line if other is not job)

    def close(self, seconds: float = 5.0) -> None:
        """End the thread; what still runs is cancelled."""
        with self._changed:
            self.draining = self._ending = True
            for job in (*self._line, *([self._running] if self._running else [])):
                job.cancel()
            self._changed.notify()
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._running = None
                while not self._line:
                    if self._ending:
                        return
                    self._changed.wait()
                self._running = self._line.popleft()
            since = time.monotonic()
            self._running.run()
            self._took_seconds += 0.2 * (time.monotonic() - since - self._took_seconds)
