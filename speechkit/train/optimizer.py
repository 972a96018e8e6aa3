"""AdamW over a model, and its moments as named tensors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from speechkit.core.errors import CheckpointError
from speechkit.train.config import TrainConfig

_logger = logging.getLogger("speechkit.train.loop")


def build_optimizer(
    parameters: Mapping[str, nn.Parameter],
    config: TrainConfig,
    lr_scale: Callable[[str], float] = lambda name: 1.0,
) -> torch.optim.Optimizer:
    """Return AdamW, fused into one kernel, that decays only matrices and larger tensors.

    Decaying biases and norm gains makes no model simpler, only worse (He et al. 2019, bag of
    tricks, section 3.1). Each group says in `lr_scale` what ``lr_scale`` says of its parameters.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        decay = config.weight_decay if parameter.ndim >= 2 else 0.0
        groups.setdefault((lr_scale(name), decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": members, "weight_decay": decay, "lr_scale": scale}
            for (scale, decay), members in groups.items()
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
