"""A weighted sum of all layers and a small head on it: all that a probe trains.

The sum is SUPERB's: softmax of one number for each layer, all 0 at first. Each layer is brought to
zero mean and unit deviation by figures of the training part before, so that weights compare.

Shapes: N frames or clips, L layers, D channels, V classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from speechkit.core.rng import derive, generator
from speechkit.ssl.probes.config import ProbeConfig

_STATISTICS_ROWS = 20_000
_GRADIENT_NORM = 1.0


def weighted_sum(states_NLD: Tensor, logits_L: Tensor) -> Tensor:
    """Return x_ND: the layers' mean, weighted by the softmax of their logits."""
    return torch.einsum("nld,l->nd", states_NLD, logits_L.softmax(dim=0))


class Standard:
    """Brings states to zero mean and unit deviation, each channel of each layer by itself."""

    def __init__(self, train_NLD: Tensor) -> None:
        """Take mean and deviation from states of the training part."""
        picked = train_NLD[:: -(-len(train_NLD) // _STATISTICS_ROWS)].float()
        self._mean_LD = picked.mean(dim=0)
        self._scale_LD = 1 / picked.std(dim=0, correction=0).clamp_min(1e-5)

    def apply(self, states_NLD: Tensor) -> Tensor:
        """Change the states in place, a part at a time, and return them."""
        for part_NLD in torch.split(states_NLD, _STATISTICS_ROWS):
            part_NLD.copy_((part_NLD.float() - self._mean_LD) * self._scale_LD)
        return states_NLD


class Probe(nn.Module):
    """The weighted sum, an optional projection, and a linear head."""

    def __init__(
        self,
        layers: int,
        channels: int,
        classes: int,
        embedding: int | None,
        rng: torch.Generator,
        dropout: float = 0.0,
    ) -> None:
        """Draw the weights of the linear parts; all layers weigh the same."""
        super().__init__()
        self.dropout = dropout
        self.logits_L = nn.Parameter(torch.zeros(layers))
        self.projection = None if embedding is None else _linear(channels, embedding, rng)
        self.head = _linear(embedding or channels, classes, rng)

    def embed(self, states_NLD: Tensor) -> Tensor:
        """Return the input of the head."""
        x_ND = weighted_sum(states_NLD.float(), self.logits_L)
        return x_ND if self.projection is None else self.projection(x_ND)

    def forward(self, states_NLD: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Return logits_NV; with `rng`, of an input of the head that dropout has thinned."""
        x_ND = self.embed(states_NLD)
        if rng is not None and self.dropout:
            kept_ND = torch.rand(x_ND.shape, generator=rng) >= self.dropout
            x_ND = x_ND * kept_ND / (1 - self.dropout)
        logits_NV: Tensor = self.head(x_ND)
        return logits_NV

    @property
    def layer_weights(self) -> list[float]:
        """Weights of the layers, which sum to 1."""
        return [float(weight) for weight in self.logits_L.detach().softmax(dim=0)]


def fit(
    probe: Probe, loss_of: Callable[[torch.Generator], Tensor], config: ProbeConfig, name: str
) -> None:
    """Train with AdamW; `loss_of` draws a batch and returns its loss."""
    others = [part for part in probe.parameters() if part is not probe.logits_L]
    groups: list[dict[str, Any]] = [
        {"params": [probe.logits_L], "weight_decay": 0.0},
        {"params": others, "weight_decay": config.weight_decay},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    rng = generator(derive(config.seed, "probe", name))
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * (1 - step / config.steps)
        optimizer.zero_grad()
        loss_of(rng).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(probe.parameters(), _GRADIENT_NORM)
        optimizer.step()
    probe.eval()


def _linear(inputs: int, outputs: int, rng: torch.Generator) -> nn.Linear:
    """Return a layer with weights of deviation 1 / sqrt(inputs)."""
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(outputs, inputs, generator=rng) / inputs**0.5)
        layer.bias.zero_()
    return layer
