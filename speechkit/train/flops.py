"""Floating-point operations of a training step, counted without doing them, and what they cost.

Counted are matrix products, attention and convolutions, forward and backward, a multiplication and
an addition as two; element-wise work and Fourier transforms are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from speechkit.core.config import require_range
from speechkit.core.rng import generator
from speechkit.train.config import Task
from speechkit.train.prefetch import map_tensors


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a GPU is assumed to do and to cost."""

    peak_tflops: float = 989.0
    """Its peak in 10¹² operations a second: 989 is an H100 SXM in bfloat16 without sparsity, by
    its data sheet."""

    utilisation: float = 0.35
    """Share of the peak that a training reaches. 0.3 to 0.5 is reported for large Transformers;
    narrow convolutions reach less."""

    dollars_an_hour: float = 2.5
    """Price of an hour of it."""

    def __post_init__(self) -> None:
        require_range(
            self, peak_tflops=(1e-3, 1e7), utilisation=(1e-4, 1.0), dollars_an_hour=(0, 1e4)
        )

    def hours(self, flops: float) -> float:
        """Hours of one such GPU for so many operations."""
        return flops / (self.peak_tflops * 1e12 * self.utilisation) / 3600

    def dollars(self, flops: float) -> float:
        """Price of these hours."""
        return self.hours(flops) * self.dollars_an_hour


def training_step(task: Task, batch: Any, step: int, seed: int = 0) -> None:
    """Forward and backward of one batch, as the training loop does it in full precision."""
    losses = task.losses(batch, generator(seed), step)
    total = torch.stack([losses[name] * weight for name, weight in task.weights.items()]).sum()
    total.backward()  # type: ignore[no-untyped-call]


def step_flops(task: Task, batch: Any, step: int, seed: int = 0) -> int:
    """Operations of the forward and backward pass of a batch, of which only the shapes are worked
    out: a batch that would take a GPU is counted in seconds."""
    counter = FlopCounterMode(
        display=False,
        custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward},
    )
    # The fused attention of a CPU is unknown to the counter; its products are not.
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    shapes = map_tensors(mode.from_tensor, batch)
    alone = _shapes_alone(task.model, mode)
    with sdpa_kernel(SDPBackend.MATH), alone, mode, _NeedsValues(), counter:
        training_step(task, shapes, step, seed)
    return int(counter.get_total_flops())


class _NeedsValues(TorchFunctionMode):
    """Has the values that a step cannot do without.

    Numbers that it draws and reads, such as which blocks it skips, are drawn in earnest; reading
    any other tensor is an error still. CTC, which looks at its lengths and has no products, is
    some scalar of its input.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Do what was called; a tensor that it draws can be asked for its numbers."""
        given = kwargs or {}
        if func is functional.ctc_loss:
            return args[0].sum()
        result = func(*args, **given)
        if func in (torch.rand, torch.randint) and isinstance(result, FakeTensor):

            def numbers() -> list[Any]:
                with unset_fake_temporarily():
                    drawn: list[Any] = func(*args, **given).tolist()
                return drawn

            result.tolist = numbers  # type: ignore[method-assign]
        return result


@contextmanager
def _shapes_alone(model: nn.Module, mode: FakeTensorMode) -> Iterator[None]:
    """Put tensors without values in the place of a model's for a while, and keep them there.

    A step may move modules to its device; these are there, and torch cannot swap their tensors.
    """
    modules: list[nn.Module] = list(model.modules())
    stores: list[dict[str, Any]] = [
        store
        for module in modules
        for store in (module._parameters, module._buffers)  # noqa: SLF001
    ]
    real = [dict(store) for store in stores]
    try:
        for store in stores:
            for name, tensor in store.items():
                if tensor is not None:
                    store[name] = mode.from_tensor(tensor)
        for module in modules:
            module.__dict__["_apply"] = lambda *_, itself=module, **__: itself
        yield
    finally:
        for module in modules:
            module.__dict__.pop("_apply", None)
        for store, before in zip(stores, real, strict=True):
            store.update(before)


def _convolution_backward(
    grad_shape: Sequence[int],
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    output_mask: Sequence[bool],
    *,
    out_shape: Any = None,
) -> int:
    """As many for the input's gradient, and for the weight's, as forward.

    torch's own formula takes no notice of groups: for the weights of a depthwise convolution of C
    channels it counts C times too many.
    """
    forward = conv_flop_count(
        list(x_shape), list(weight_shape), list(grad_shape), transposed=transposed
    )
    return forward * (int(output_mask[0]) + int(output_mask[1]))
