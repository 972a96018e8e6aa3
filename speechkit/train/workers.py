"""Batches drawn ahead of time in worker processes."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from speechkit.core.errors import ConfigError, SpeechkitError
from speechkit.train.prefetch import pinned

AHEAD = 2
"""Batches that each worker has ready."""


class WorkerBatches:
    """Calls ``draw(first)``, ``draw(first + 1)``, ... in processes and hands the results out.

    As `prefetch.Prefetcher` does in a thread: in order, and with the same results where a call
    depends on its number alone. The processes are forked, so that they share the opened corpus and
    nothing has to be picklable but the batches; these come back through shared memory. Use as a
    context manager: leaving it ends the processes.
    """

    def __init__(
        self, draw: Callable[[int], Any], first: int, workers: int, *, pin: bool = False
    ) -> None:
        """With ``pin`` the tensors are put into page-locked memory, by a thread of this process.

        Raises ConfigError where processes cannot be forked.
        """
        if "fork" not in multiprocessing.get_all_start_methods():
            raise ConfigError("Worker processes need a system that can fork: set train.workers=0.")
        self._loader: DataLoader[Any] = DataLoader(
            _Draws(draw),
            sampler=_CountFrom(first),
            batch_size=None,
            num_workers=workers,
            collate_fn=_unchanged,
            pin_memory=pin,
            prefetch_factor=AHEAD,
            worker_init_fn=_leave_signals,
            multiprocessing_context="fork",
            # Its own, so that the global one is left alone.
            generator=torch.Generator(),
        )
        self._results: Iterator[Any] | None = None

    def get(self) -> Any:
        """Return the next result.

        Raises what ``draw`` raised for it, and SpeechkitError where a process has ended.
        """
        assert self._results is not None
        try:
            drawn = next(self._results)
        except RuntimeError as error:
            raise SpeechkitError(
                f"A process that draws batches has ended ({error}). It may have been short of "
                "memory, or of shared memory: take fewer with train.workers, or smaller batches."
            ) from error
        if drawn.error is not None:
            raise drawn.error
        return drawn.batch

    def __enter__(self) -> WorkerBatches:
        self._results = iter(self._loader)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The iterator ends its processes when it goes.
        self._results = None


@dataclass(kw_only=True)
class _Drawn:
    """What a worker sends: a batch, or what went wrong."""

    batch: Any = None
    error: Exception | None = None

    def pin_memory(self) -> _Drawn:
        """The same in page-locked memory; the loader's thread calls this."""
        return _Drawn(batch=pinned(self.batch), error=self.error)


class _Draws(Dataset[_Drawn]):
    """Batches by number."""

    def __init__(self, draw: Callable[[int], Any]) -> None:
        self._draw = draw

    def __getitem__(self, number: int) -> _Drawn:
        """Draw a batch; errors are sent as they are, not as a text with a traceback."""
        try:
            return _Drawn(batch=self._draw(number))
        except Exception as error:
            return _Drawn(error=error)


class _CountFrom(Sampler[int]):
    """Numbers without end."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self._first)


def _unchanged(batch: Any) -> Any:
    return batch


def _leave_signals(worker: int) -> None:
    """Let the training process decide what a signal to all of them means; it ends the workers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
