"""The loss scale of half precision, decided alike in all processes."""

from __future__ import annotations

import torch
from torch import Tensor

from speechkit.core.errors import CheckpointError

START = 2.0**16
GROWTH_STEPS = 2000


class LossScale:
    """Factor on the loss, so that small gradients do not vanish in float16 (Micikevicius 2018).

    As `torch.amp.GradScaler`: half as large after a step that is not finite, twice as large after
    2,000 good ones. That one decides in each process by what it sees, which shards of one gradient
    would make differ, and it does not say its state as tensors. Nothing here waits for the device.
    """

    def __init__(self, device: torch.device, *, enabled: bool) -> None:
        self.enabled = enabled
        self._scale = torch.full((), START if enabled else 1.0, device=device)
        self._good = torch.zeros((), device=device)

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss to go backward from."""
        return loss * self._scale if self.enabled else loss

    @torch.no_grad()
    def unscale(self, gradients: list[Tensor]) -> None:
        """Undo the scale in the gradients."""
        if self.enabled and gradients:
            torch._foreach_mul_(gradients, 1.0 / self._scale)

    def update(self, bad: Tensor) -> None:
        """Learn whether a step was not finite: 1 if so, else 0."""
        if not self.enabled:
            return
        self._good = (self._good + 1) * (1 - bad)
        grown = self._good >= GROWTH_STEPS
        factor = torch.where(bad > 0, 0.5, torch.where(grown, 2.0, 1.0))
        self._scale = self._scale * factor
        self._good = torch.where(grown, 0.0, self._good)

    def tensors(self) -> dict[str, Tensor]:
        """What a saved state must hold."""
        return {"scale": self._scale, "good": self._good} if self.enabled else {}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take up a saved scale; one that was not saved starts afresh.

        Raises CheckpointError where a tensor is missing.
        """
        if not self.enabled or not tensors:
            return
        if tensors.keys() != {"scale", "good"}:
            raise CheckpointError("The saved loss scale is damaged: train into another --out.")
        self._scale = tensors["scale"].to(self._scale.device)
        self._good = tensors["good"].to(self._good.device)
