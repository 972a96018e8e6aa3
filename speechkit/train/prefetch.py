"""Batches drawn ahead of time in one background thread."""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor


class Prefetcher:
    """Calls ``draw(first)``, ``draw(first + 1)``, ... in a thread and hands the results out.

    The order is fixed, and each call depends on its number alone, so a run is the same with and
    without the thread. Use as a context manager: leaving it ends the thread.
    """

    def __init__(
        self, draw: Callable[[int], Any], first: int, depth: int = 2, *, pin: bool = False
    ) -> None:
        """With ``pin`` the tensors are put into page-locked memory."""
        self._draw = (lambda number: pinned(draw(number))) if pin else draw
        self._next = first
        self._ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(maxsize=depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)

    def get(self) -> Any:
        """Return the next result. Raises what ``draw`` raised for it."""
        result, error = self._ready.get()
        if error is not None:
            raise error
        return result

    def __enter__(self) -> Prefetcher:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        while self._thread.is_alive():
            try:
                # The thread may wait for room to put its last result.
                self._ready.get(timeout=0.05)
            except queue.Empty:
                continue

    def _run(self) -> None:
        """Fill the queue until told to stop or ``draw`` fails."""
        while not self._stopped.is_set():
            try:
                self._ready.put((self._draw(self._next), None))
            except BaseException as error:
                self._ready.put((None, error))
                return
            self._next += 1


def map_tensors(function: Callable[[Tensor], Tensor], batch: Any) -> Any:
    """Return ``batch`` with each tensor replaced by ``function`` of it.

    Goes into mappings, lists, tuples, named tuples and dataclasses; leaves anything else as it is.
    """
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {key: map_tensors(function, value) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        values = [map_tensors(function, value) for value in batch]
        return type(batch)(*values) if hasattr(batch, "_fields") else type(batch)(values)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        fields = [field.name for field in dataclasses.fields(batch) if field.init]
        return dataclasses.replace(
            batch, **{name: map_tensors(function, getattr(batch, name)) for name in fields}
        )
    return batch


def to_device(batch: Any, device: torch.device) -> Any:
    """Return ``batch`` with its tensors on ``device``; copies from pinned memory do not wait."""
    if device.type == "cpu":
        return batch
    return map_tensors(lambda tensor: tensor.to(device, non_blocking=True), batch)


def pinned(batch: Any) -> Any:
    """Return ``batch`` with its tensors in page-locked memory, for fast copies to a GPU."""
    return map_tensors(lambda tensor: tensor.pin_memory(), batch)
