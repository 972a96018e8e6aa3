"""Numbered batches as fairseq2's trainer reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from speechkit.ssl.fairseq import require_fairseq2
from speechkit.ssl.training.budget import Budget
from speechkit.ssl.training.job import Batch

require_fairseq2()

from fairseq2.datasets import DataReader  # noqa: E402  # the import is fixed first
from fairseq2.gang import Gangs  # noqa: E402


class NumberedReader(DataReader[Any]):
    """Gives each process its share of the batches of every update.

    Update u of W processes that accumulate A batches takes batches u·A·W to (u+1)·A·W - 1, so one
    process with A·W trains on the very same batches. The state is a number: resuming is exact.
    """

    def __init__(
        self, draw: Callable[[int], Batch], gangs: Gangs, accumulate: int, budget: Budget
    ) -> None:
        self._draw = draw
        self._rank, self._size = gangs.dp.rank, gangs.dp.size
        self._accumulate = accumulate
        self._budget = budget
        self._update = 0

    def __iter__(self) -> NumberedReader:
        return self

    def __next__(self) -> list[Any]:
        first = self._update * self._accumulate * self._size
        batches = []
        for turn in range(self._accumulate):
            batch = self._draw(first + turn * self._size + self._rank)
            batch.update = self._update
            batches.append(batch)
        self._update += 1
        return batches

    def reset(self) -> None:
        """Do nothing: there is no end of the data to start again from."""

    def state_dict(self) -> dict[str, object]:
        """Return updates read and time spent."""
        return {"update": self._update, "seconds": self._budget.seconds}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Go on after the given update."""
        self._update = int(str(state_dict["update"]))
        self._budget.resume(float(str(state_dict["seconds"])))

    @property
    def num_accumulate(self) -> int:
        """Batches of one update on this process."""
        return self._accumulate


class FixedReader(DataReader[Any]):
    """Gives each process its share of a fixed list of batches, once."""

    def __init__(self, batches: Sequence[Batch], gangs: Gangs) -> None:
        # Equally many on all processes, so that none waits for another.
        count = len(batches) // gangs.dp.size * gangs.dp.size
        self._batches = list(batches[:count])[gangs.dp.rank :: gangs.dp.size]
        self._next = 0

    def __iter__(self) -> FixedReader:
        return self

    def __next__(self) -> list[Any]:
        if self._next >= len(self._batches):
            raise StopIteration
        self._next += 1
        return [self._batches[self._next - 1]]

    def reset(self) -> None:
        """Start again."""
        self._next = 0

    def state_dict(self) -> dict[str, object]:
        """Return nothing: validations are never interrupted."""
        return {}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Take nothing."""

    @property
    def num_accumulate(self) -> int:
        """One batch at a time."""
        return 1
