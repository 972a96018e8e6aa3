"""What is done to the repeated parts of a model: computed twice, compiled, or shared out.

A sharded parameter is trained through its share, a plain tensor that lies in the same memory, so
that optimiser, averages and clipping need not know of shards. Everything else of the model stays
whole in each process.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from speechkit.core.errors import ConfigError
from speechkit.train.config import BlockTask, Task, TrainConfig
from speechkit.train.distributed import GradientMean, World


def blocks_of(model: nn.Module, *kinds: type[nn.Module]) -> tuple[nn.Module, ...]:
    """Return the parts of a model that are of these kinds and learn."""
    return tuple(
        module
        for module in model.modules()
        if isinstance(module, kinds) and any(p.requires_grad for p in module.parameters())
    )


class ShardedModel:
    """The parameters that want gradients, as this process trains them."""

    def __init__(self, task: Task, config: TrainConfig, world: World) -> None:
        """Prepare the blocks as ``config`` asks; the model is on its device and equal everywhere.

        Raises ConfigError where that takes blocks and the task has none.
        """
        self.model = task.model
        blocks = task.blocks if isinstance(task, BlockTask) else ()
        sharded = config.parallelism == "fsdp" and world.size > 1
        wanted = {
            'parallelism="fsdp"': sharded,
            "activation_checkpointing": config.activation_checkpointing,
            "compile": config.compile,
        }
        asked = [setting for setting, on in wanted.items() if on]
        if asked and not blocks:
            raise ConfigError(
                f"{type(task).__name__} names no blocks: train without {', '.join(asked)}."
            )
        self.whole: nn.Module | None = None
        if sharded and world.is_main:
            # What is exported; a sharded model cannot be copied any more.
            self.whole = copy.deepcopy(self.model).cpu()
        if config.activation_checkpointing:
            for block in blocks:
                _compute_twice(block)
        if config.compile:
            for block in blocks:
                block.compile()  # type: ignore[no-untyped-call]
        if sharded:
            _shard(blocks, world)
        self.sharded = sharded
        self._parameters = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        self.trained: dict[str, nn.Parameter] = {
            name: nn.Parameter(_share_of(parameter).detach())
            if _is_shared(parameter)
            else parameter
            for name, parameter in self._parameters.items()
        }
        """What the optimiser moves, by name; of sharded parameters this process's share."""
        self._mean = GradientMean(p for p in self._parameters.values() if not _is_shared(p))

    def take_gradients(self, world: World) -> None:
        """Put into ``trained`` the mean gradients over the processes."""
        for name, parameter in self._parameters.items():
            if _is_shared(parameter) and parameter.grad is not None:
                # Averaged already, when the blocks' backward passes shared them out.
                self.trained[name].grad = _share_of(parameter.grad)
        self._mean.take(world)

    def drop_gradients(self) -> None:
        """Forget the gradients."""
        for parameter in (*self._parameters.values(), *self.trained.values()):
            parameter.grad = None

    def norm(self, world: World) -> Tensor:
        """Return the norm of the gradients of the whole model."""
        shares = [p.grad for n, p in self.trained.items() if self._shares(n) and p.grad is not None]
        copies = [
            p.grad for n, p in self.trained.items() if not self._shares(n) and p.grad is not None
        ]
        norm = torch.nn.utils.get_total_norm(copies)
        if not self.sharded:
            return norm
        squares = torch.stack([share.float().square().sum() for share in shares] or [norm * 0])
        return (norm.square() + world.summed(squares.sum())).sqrt()

    def gathered(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors in the shape of ``trained``, or scalars, as those of the whole model.

        All processes must call.
        """
        return {
            name: _gathered(tensor, self._parameters[_parameter_of(name, self._parameters)])
            for name, tensor in tensors.items()
        }

    def divided(self, name: str, tensor: Tensor) -> Tensor:
        """Return this process's share of a tensor of the whole model, such as a saved moment."""
        from torch.distributed.tensor import distribute_tensor

        like: Any = self._parameters[name]
        if not _is_shared(like) or tensor.ndim == 0:
            return tensor
        there = tensor.to(_share_of(like).device)
        return _share_of(
            distribute_tensor(there, like.device_mesh, like.placements, src_data_rank=None)
        )

    def state(self) -> dict[str, Tensor]:
        """Return the state dict of the whole model. All processes must call."""
        return {
            name: tensor.full_tensor() if _is_shared(tensor) else tensor
            for name, tensor in self.model.state_dict().items()
        }

    def exported(self) -> nn.Module | None:
        """Return the whole model as it is now, in the process that exports. All must call."""
        if not self.sharded:
            return self.model
        state = self.state()
        if self.whole is not None:
            self.whole.load_state_dict(state)
        return self.whole

    def _shares(self, name: str) -> bool:
        return self.trained[name] is not self._parameters[name]


def _shard(blocks: Sequence[nn.Module], world: World) -> None:
    """Share out the parameters of each block among all processes."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    for block in blocks:
        fully_shard(block, mesh=mesh)


def _compute_twice(block: nn.Module) -> None:
    """Have a block forget what is inside it, and compute that again in the backward pass."""
    once = block.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return once(*args, **kwargs)
        return checkpoint(once, *args, use_reentrant=False, **kwargs)

    block.forward = forward


def _is_shared(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")


def _share_of(tensor: Any) -> Tensor:
    share: Tensor = tensor.to_local()
    return share


def _gathered(tensor: Tensor, like: Any) -> Tensor:
    if not _is_shared(like) or tensor.ndim == 0:
        return tensor
    from torch.distributed.tensor import DTensor

    placed = DTensor.from_local(
        tensor.detach(),
        like.device_mesh,
        like.placements,
        shape=like.shape,
        stride=like.stride(),
    )
    whole: Tensor = placed.full_tensor()
    return whole


def _parameter_of(name: str, parameters: Mapping[str, nn.Parameter]) -> str:
    """The parameter that a tensor belongs to: its name is the parameter's, or ends in it."""
    return name if name in parameters else name.partition("/")[2]
