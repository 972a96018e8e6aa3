"""The training log: one JSON line for each entry, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from speechkit.core.files import write_text
from speechkit.train.distributed import World

METRICS_FILE = "metrics.jsonl"


class Meter:
    """Averages of named scalars; waits for the device only when they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor | float] = {}
        self._counts: defaultdict[str, int] = defaultdict(int)

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Count one more value of each name."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach().float()
            self._counts[name] += 1

    def read(self, world: World) -> dict[str, float]:
        """Return the means over all processes since the last call. All processes have to call."""
        mine = {name: (float(value), self._counts[name]) for name, value in self._sums.items()}
        self._sums.clear()
        self._counts.clear()
        everyone = world.gather(mine)
        means = {}
        for name in dict.fromkeys(name for one in everyone for name in one):
            pairs = [one[name] for one in everyone if name in one]
            means[name] = sum(total for total, _ in pairs) / sum(count for _, count in pairs)
        return means


class MetricLog:
    """Appends entries to ``metrics.jsonl`` below ``out``, and to TensorBoard if it imports.

    Entries after ``step``, from a part of a run that was lost, are removed first.
    """

    def __init__(self, out: Path, step: int) -> None:
        self._path = out / METRICS_FILE
        if self._path.exists():
            kept = [line for line in self._path.read_text().splitlines() if _is_up_to(line, step)]
            text = "".join(f"{line}\n" for line in kept)
            write_text(self._path, text)
        self._board = _open_board(out / "tensorboard", step)

    def write(self, entry: Mapping[str, Any]) -> None:
        """Append an entry with a "step"; numbers, also one level down, become curves."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({key: _plain(value) for key, value in entry.items()}) + "\n")
        if self._board is None:
            return
        for key, value in entry.items():
            scalars = (
                {f"{key}/{name}": number for name, number in value.items()}
                if isinstance(value, Mapping)
                else {f"train/{key}": value}
            )
            for name, number in scalars.items():
                self._board.add_scalar(name, number, entry["step"])

    def close(self) -> None:
        """Write out what TensorBoard holds back."""
        if self._board is not None:
            self._board.close()


def _open_board(folder: Path, step: int) -> Any:
    """Return a TensorBoard writer, or None where the package is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)  # type: ignore[no-untyped-call]


def _is_up_to(line: str, step: int) -> bool:
    """Return whether a line of the log is whole and not from after ``step``."""
    try:
        return int(json.loads(line)["step"]) <= step
    except (ValueError, KeyError, TypeError):
        return False


def _plain(value: Any) -> Any:
    """Return ``value`` as JSON can hold it: numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
