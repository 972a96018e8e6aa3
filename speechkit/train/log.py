"""The training log: one JSON line an entry; TensorBoard where it is installed; W&B if asked."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechkit.core.errors import ConfigError
from speechkit.core.files import write_text
from speechkit.train.distributed import World

METRICS_FILE = "metrics.jsonl"


class Meter:
    """Averages of named scalars; waits for the device only when they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor | float] = {}
        self._counts: dict[str, Tensor | float] = {}

    def add(self, values: Mapping[str, Tensor], skipped: Tensor) -> None:
        """Count one more value of each name, unless ``skipped`` is 1."""
        for name, value in values.items():
            kept = torch.where(skipped > 0, 0.0, value.detach().float())
            self._sums[name] = self._sums.get(name, 0.0) + kept
            self._counts[name] = self._counts.get(name, 0.0) + (1.0 - skipped)

    def read(self, world: World) -> dict[str, float]:
        """Return the means over all processes since the last call. All processes have to call."""
        mine = {
            name: (float(value), float(self._counts[name])) for name, value in self._sums.items()
        }
        self._sums.clear()
        self._counts.clear()
        everyone = world.gather(mine)
        means = {}
        for name in dict.fromkeys(name for one in everyone for name in one):
            pairs = [one[name] for one in everyone if name in one]
            count = sum(count for _, count in pairs)
            if count > 0:
                means[name] = sum(total for total, _ in pairs) / count
        return means


class MetricLog:
    """Appends entries to ``metrics.jsonl`` below ``out``, and to TensorBoard if it imports.

    Entries after ``step``, from a part of a run that was lost, are removed first. With ``wandb``
    also to that project of Weights & Biases, under the name of ``out``; a resumed run goes on.
    """

    def __init__(self, out: Path, step: int, wandb: str | None = None) -> None:
        self._path = out / METRICS_FILE
        self.validated_step = 0
        """Step of the last entry with "validation" when the log was opened; 0 without any."""
        if self._path.exists():
            kept = [line for line in self._path.read_text().splitlines() if _is_up_to(line, step)]
            text = "".join(f"{line}\n" for line in kept)
            write_text(self._path, text)
            entries = [json.loads(line) for line in kept]
            steps = [int(entry["step"]) for entry in entries if "validation" in entry]
            self.validated_step = max(steps, default=0)
        self._board = _open_board(out / "tensorboard", step)
        self._wandb = None if wandb is None else _open_wandb(out, wandb)

    def write(self, entry: Mapping[str, Any]) -> None:
        """Append an entry with a "step"; numbers, also one level down, become curves."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({key: _plain(value) for key, value in entry.items()}) + "\n")
        curves = _curves(entry)
        if self._board is not None:
            for name, number in curves.items():
                self._board.add_scalar(name, number, entry["step"])
        if self._wandb is not None:
            self._wandb.log(curves, step=entry["step"])

    def close(self) -> None:
        """Write out what is held back."""
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def check_wandb(project: str | None) -> None:
    """Raise ConfigError where Weights & Biases is asked for and not installed."""
    if project is None:
        return
    try:
        importlib.import_module("wandb")
    except ImportError as error:
        raise ConfigError(
            "train.wandb is set, but wandb is not installed: pip install wandb."
        ) from error


def _curves(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of an entry by the names of their curves."""
    curves: dict[str, float] = {}
    for key, value in entry.items():
        if isinstance(value, Mapping):
            curves.update({f"{key}/{name}": number for name, number in value.items()})
        else:
            curves[f"train/{key}"] = value
    return curves


def _open_wandb(out: Path, project: str) -> Any:
    """Return a run of Weights & Biases, the same one for the same folder."""
    number = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:16]
    return importlib.import_module("wandb").init(
        project=project, name=out.name, id=number, resume="allow", dir=str(out)
    )


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
