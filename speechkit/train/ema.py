"""Averaged weights: what is validated and exported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Exponential moving average of parameters (Polyak & Juditsky 1992).

    The decay rises as (1 + n) / (10 + n) to its final value, so the average forgets the random
    start quickly. Buffers are not averaged: the model's own count.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self._names = list(parameters)
        self._live = [parameter.data for parameter in parameters.values()]
        self._average = [tensor.clone() for tensor in self._live]
        self._decay = decay

    @torch.no_grad()
    def update(self, step: int, skipped: Tensor) -> None:
        """Move the averages towards the parameters after step ``step``, counted from 0.

        ``skipped`` is 1 for a step that moved nothing, else 0; it is not waited for.
        """
        decay = min(self._decay, (1.0 + step) / (10.0 + step))
        share = (1.0 - decay) * (1.0 - skipped)
        # In place: memory for the changes would have to be asked for at every step.
        torch._foreach_lerp_(self._average, self._live, [share] * len(self._live))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages into the model, and the trained parameters back at the end."""
        trained = [tensor.clone() for tensor in self._live]
        with torch.no_grad():
            torch._foreach_copy_(self._live, self._average)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._live, trained)

    def tensors(self) -> dict[str, Tensor]:
        """Return the averages by parameter name."""
        return dict(zip(self._names, self._average, strict=True))

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the averages from ``tensors``; where a name is missing, the present parameter."""
        for name, average, live in zip(self._names, self._average, self._live, strict=True):
            average.copy_(tensors.get(name, live))
