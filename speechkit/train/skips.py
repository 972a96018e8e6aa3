"""Steps that cannot be used, counted on the device and looked at now and then."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from speechkit.core.errors import SpeechkitError
from speechkit.train.state import Counters

MAX_SKIPPED_IN_A_ROW = 10
"""Steps in a row whose loss or gradient is not finite, after which a run gives up."""
MAX_WHILE_SCALING = 30
"""The same with a loss scale, which each of them halves."""

_logger = logging.getLogger("speechkit.train.loop")


class Skips:
    """Counts steps without an update because a loss or gradient was not finite."""

    def __init__(self, counters: Counters, device: torch.device) -> None:
        self._counts = torch.tensor(
            [float(counters.skipped_steps), float(counters.skipped_in_a_row)],
            dtype=torch.float64,
            device=device,
        )
        self._losses: dict[str, Tensor | float] = {}

    def add(self, bad: Tensor, losses: Sequence[Mapping[str, Tensor]]) -> None:
        """Count one more step: ``bad`` is 1 if it cannot be used, else 0. Reads nothing."""
        one = torch.stack([torch.ones_like(bad), bad]).double()
        self._counts = self._counts * one + bad
        for mapping in losses:
            for name, value in mapping.items():
                # Zero for ever, unless some value was not finite.
                self._losses[name] = self._losses.get(name, 0.0) + 0.0 * value.detach().float()

    def read(self, counters: Counters, *, scaled: bool) -> None:
        """Bring ``counters`` up to date, and warn of what was skipped since the last time.

        Raises SpeechkitError after too many in a row; ``scaled`` says there is a loss scale.
        """
        total, row = (int(count) for count in self._counts.tolist())
        new = total - counters.skipped_steps
        counters.skipped_steps, counters.skipped_in_a_row = total, row
        wrong, self._losses = self._losses, {}
        if not new:
            return
        bad = sorted(name for name, zero in wrong.items() if not math.isfinite(zero))
        described = f"losses not finite: {', '.join(bad)}" if bad else "the gradient is not finite"
        which = f"Step {counters.step - 1} is" if new == 1 and row == 1 else f"{new} steps are"
        _logger.warning("%s skipped by step %d, %s.", which, counters.step, described)
        if row >= (MAX_WHILE_SCALING if scaled else MAX_SKIPPED_IN_A_ROW):
            raise SpeechkitError(
                f"Training stopped at step {counters.step - 1}: {row} steps in a "
                f"row cannot be used ({described}). Resume with a lower learning rate, or look for "
                "broken clips in the data."
            )
