"""Where models compute and in which number format."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from speechkit.core.errors import ConfigError

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "bfloat16", "float16")


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """The device of a name such as `cuda:1`; `auto` takes CUDA, then MPS, if there is any.

    Raises ConfigError for a device that is unknown or not there.
    """
    if isinstance(name, torch.device):
        return name
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in (*DEVICES, "meta"):
        raise ConfigError(f"There is no device {name!r}; give one of {', '.join(DEVICES)}.")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ConfigError(
            f"There is no device {name!r}: {count} CUDA devices are seen; give cpu or auto."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("This machine has no MPS device: give cpu or auto.")
    return device


def pick_dtype(name: str | torch.dtype, device: torch.device) -> torch.dtype:
    """The number format of a name; `auto` is bfloat16 on CUDA that multiplies it, else float32.

    On CPUs `auto` is float32, so that the same seed gives the same codes on each. Raises
    ConfigError for a format that is unknown, or that the device cannot compute in.
    """
    if isinstance(name, torch.dtype):
        dtype = name
    elif name == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    elif name in DTYPES:
        found: torch.dtype = getattr(torch, name)
        dtype = found
    else:
        raise ConfigError(f"There is no dtype {name!r}; give one of {', '.join(DTYPES)}.")
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ConfigError(f"Models do not compute in {dtype}; give float32, bfloat16 or float16.")
    if dtype == torch.float16 and device.type == "cpu":
        raise ConfigError("CPUs are slow and inexact in float16: give bfloat16 or float32.")
    return dtype


def in_float32(x: Tensor) -> AbstractContextManager[object]:
    """The context in which nothing around a tensor is computed in half precision."""
    kind = x.device.type
    if torch.amp.autocast_mode.is_autocast_available(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()
