"""AdamW or Muon over a model, and their moments as named tensors."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from speechkit.core.errors import CheckpointError
from speechkit.train.config import TrainConfig

_logger = logging.getLogger("speechkit.train.loop")

HIDDEN = ("blocks", "attention", "layers")
"""Names of the stacks whose matrices Muon moves: all between the first layer and the last."""

SMALLEST_SIDE = 32
"""Matrices with a shorter side have little to make orthogonal; AdamW keeps them."""

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of Jordan et al.: singular values land between 0.7 and 1.2 in five products."""


def orthogonalised(matrices_NRC: Tensor, products: int = 5) -> Tensor:
    """Matrices `[N, R, C]` with their singular values near 1 and their singular vectors kept.

    Newton-Schulz, not a decomposition (Jordan et al. 2024, "Muon"; Bernstein & Newhouse 2024).
    In the precision of what is given: bfloat16 is enough, where the hardware multiplies it.
    """
    tall = matrices_NRC.shape[-2] > matrices_NRC.shape[-1]
    x_NRC = matrices_NRC.mT if tall else matrices_NRC
    x_NRC = x_NRC / x_NRC.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    moved_NRC = (
        _by_gram(x_NRC, products) if x_NRC.dtype == torch.float32 else _by_x(x_NRC, products)
    )
    return moved_NRC.mT if tall else moved_NRC


def _by_x(x_NRC: Tensor, products: int) -> Tensor:
    first, second, third = NEWTON_SCHULZ
    for _ in range(products):
        square = x_NRC @ x_NRC.mT
        x_NRC = first * x_NRC + (second * square + third * (square @ square)) @ x_NRC
    return x_NRC


def _by_gram(x_NRC: Tensor, products: int) -> Tensor:
    """The same of X Xᵀ alone, X itself once at the end: half the work for wide matrices.

    Rounding makes least eigenvalues of X Xᵀ negative, and the polynomial drives those away from
    zero: float32 bears that, half precision does not.
    """
    first, second, third = NEWTON_SCHULZ
    gram = x_NRC @ x_NRC.mT
    eye = torch.eye(gram.shape[-1], device=gram.device)
    total = eye
    for product in range(products):
        # Polynomials of one symmetric matrix: they commute.
        step = first * eye + second * gram + third * (gram @ gram)
        total = step if product == 0 else step @ total
        if product + 1 < products:
            gram = step @ gram @ step
    return total @ x_NRC


class Muon(torch.optim.AdamW):
    """AdamW that moves the matrices of groups with `orthogonal` by their orthogonalised momentum.

    An update is as large as one of AdamW's, so that one learning rate serves both (Liu et al. 2025,
    "Muon is scalable for LLM training", section 2.2).
    """

    MOMENTUM = 0.95

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move all parameters that have a gradient."""
        every = self.param_groups
        self.param_groups = [group for group in every if not group["orthogonal"]]
        try:
            super().step(closure)
        finally:
            self.param_groups = every
        for group in every:
            if group["orthogonal"]:
                self._move(group)

    def _move(self, group: dict[str, Any]) -> None:
        shapes: dict[torch.Size, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            if parameter.grad is not None:
                shapes.setdefault(parameter.shape, []).append(parameter)
        for (rows, columns), members in shapes.items():
            bad = getattr(self, "found_inf", torch.zeros((), device=members[0].device)) > 0
            looked_ahead = [self._momentum(parameter, bad) for parameter in members]
            stacked_NRC = torch.stack(looked_ahead).to(group["precision"])
            lr = group["lr"] * (1 - bad.float())
            size = 0.2 * math.sqrt(max(rows, columns)) * lr
            for parameter, update in zip(members, orthogonalised(stacked_NRC), strict=True):
                parameter.mul_(1 - lr * group["weight_decay"]).sub_(size * update.float())

    def _momentum(self, parameter: nn.Parameter, bad: Tensor) -> Tensor:
        # Nesterov's: what the momentum will be if the next gradient is as this one.
        assert parameter.grad is not None
        gradient = torch.where(bad, torch.zeros_like(parameter.grad), parameter.grad)
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        kept: Tensor = state["momentum"]
        kept.copy_(torch.where(bad, kept, torch.lerp(gradient, kept, self.MOMENTUM)))
        return torch.lerp(gradient, kept, self.MOMENTUM)


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Whether Muon moves the parameter of that name: a matrix inside a stack of layers."""
    inside = any(part in HIDDEN for part in name.split("."))
    return inside and parameter.ndim == 2 and min(parameter.shape) >= SMALLEST_SIDE


def build_optimizer(
    parameters: Mapping[str, nn.Parameter],
    config: TrainConfig,
    lr_scale: Callable[[str], float] = lambda name: 1.0,
    precision: torch.dtype = torch.float32,
) -> torch.optim.Optimizer:
    """Return the optimiser that ``config.optimizer`` names; it decays matrices and larger tensors.

    Decaying biases and norm gains makes no model simpler, only worse (He et al. 2019, bag of
    tricks, section 3.1). Each group says in `lr_scale` what ``lr_scale`` says of its parameters.
    Muon orthogonalises in ``precision``.
    """
    muon = config.optimizer == "muon"
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        decay = config.weight_decay if parameter.ndim >= 2 else 0.0
        kind = (lr_scale(name), decay, muon and is_hidden_matrix(name, parameter))
        groups.setdefault(kind, []).append(parameter)
    return (Muon if muon else torch.optim.AdamW)(
        [
            {
                "params": members,
                "weight_decay": decay,
                "lr_scale": scale,
                "orthogonal": orthogonal,
                "precision": precision,
            }
            for (scale, decay, orthogonal), members in groups.items()
        ],
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        fused=True,
    )


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """Return the optimiser's state as tensors named "moment/parameter"."""
    return {
        f"{field}/{name}": value
        for name, parameter in parameters.items()
        for field, value in optimizer.state.get(parameter, {}).items()
    }


def tell_untouched(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> None:
    """Warn of parameters that the optimiser has not moved, for no gradient has come to them: they
    are at rest on purpose, or the task has a fault."""
    names = [name for name, parameter in parameters.items() if not optimizer.state.get(parameter)]
    if names:
        told = f"No gradient has reached {len(names)} of {len(parameters)} parameters, such as"
        _logger.warning("%s %s.", told, ", ".join(names[:3]))


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    tensors: Mapping[str, Tensor],
) -> None:
    """Put what `optimizer_tensors` returned into ``optimizer``.

    Raises CheckpointError when a tensor belongs to no parameter or has another shape.
    """
    for key, tensor in tensors.items():
        field, _, name = key.partition("/")
        parameter = parameters.get(name)
        if parameter is None or (tensor.ndim > 0 and tensor.shape != parameter.shape):
            raise CheckpointError(
                f"The saved optimiser state {key} does not fit the model: the model was changed "
                "since. Train into another folder with --out."
            )
        # A 0-dimensional parameter has 0-dimensional moments; both go where the parameter is,
        # which is where the fused kernel wants its step count too.
        optimizer.state[parameter][field] = tensor.to(parameter.device, copy=True)
