"""Results of the public code for the small parity cases, stored beside the tests."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

FILE = Path(__file__).with_name("golden.safetensors")


@cache
def stored() -> dict[str, Tensor]:
    """Everything in the file, by `case: tensor`."""
    return load_file(FILE)


def results(case: str) -> dict[str, Tensor]:
    """Named tensors of one case."""
    prefix = f"{case}: "
    return {k.removeprefix(prefix): v for k, v in stored().items() if k.startswith(prefix)}


def write(results_by_case: dict[str, dict[str, Tensor]]) -> None:
    """Store results; codes as 16-bit numbers."""
    flat = {
        f"{case}: {name}": tensor.detach().to(
            tensor.dtype if tensor.is_floating_point() else torch.int16
        )
        for case, tensors in results_by_case.items()
        for name, tensor in tensors.items()
    }
    save_file({name: tensor.contiguous() for name, tensor in flat.items()}, FILE)
