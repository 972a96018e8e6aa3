"""What a training run is given: everything that differs between models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from speechkit.core.errors import SpeechkitError


class CollapseError(SpeechkitError):
    """A model has stopped learning in a way that more training does not mend."""

    exit_code = 3


class Batch(Protocol):
    """A batch: moves in place, and knows how many updates were made before it."""

    update: int

    def to(self, device: torch.device, *, non_blocking: bool = False) -> None:
        """Move all tensors."""


class Guard(Protocol):
    """Watches the figures of a run."""

    def watch(self, update: int, figures: Mapping[str, float]) -> str | None:
        """Return why the run has collapsed, or None; called once for each batch."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A model and its batches."""

    name: str
    """Short name of the model's kind, for messages."""
    build: Callable[[], nn.Module]
    """Makes the model. Its call on a batch returns scalars: "total", "targets", and `figures`."""
    figures: Sequence[str]
    """Keys logged: "loss/…" are divided by the targets, "figure/…" are means."""
    draw: Callable[[int], Batch]
    """Makes the training batch of that number. Depends on the number alone."""
    held_out: Callable[[], Sequence[Batch]]
    """Makes the batches of validation, the same on every call; may be empty."""
    export: Callable[[Path, nn.Module], None]
    """Writes the model into a folder as users will load it. Called on the first process."""
    identity: Mapping[str, Any] = field(default_factory=dict)
    """Config of model and data: a run is resumed only with an equal one."""
    before_update: Callable[[nn.Module, int], None] | None = None
    """Called before each update with the bare model, for instance to freeze parts for a while."""
    guard: Guard | None = None
    """Stops a run that has collapsed."""
