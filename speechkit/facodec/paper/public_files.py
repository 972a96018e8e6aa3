"""Reading the public checkpoints, which are pickles: the one place where a pickle is opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from speechkit.core.checkpoint import MAX_MODEL_BYTES
from speechkit.core.errors import CheckpointError

PICKLE_WARNING = (
    "these files are pickles, and a pickle can be made to run code when it is opened. They are "
    "read in torch's restricted mode, which lets tensors through and nothing else, but open only "
    "files that you trust."
)


def read_pickled_tensors(path: str | Path) -> dict[str, Tensor]:
    """The flat dict of tensors in a file that torch.save wrote, on the CPU.

    Raises CheckpointError for a file that is missing, cut short, or anything but such a dict of
    plain floating-point tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no file {path}: check the path.")
    if path.stat().st_size > MAX_MODEL_BYTES:
        raise CheckpointError(
            f"{path} is larger than {MAX_MODEL_BYTES} bytes: this is not a codec."
        )
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
    except Exception as error:
        # The unpickler raises whatever a file makes it raise.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(
            f"{path} cannot be read as a file of tensors ({reason[0][:200]}): it is cut short, or "
            "something other than tensors is in it. Download it again from its publisher."
        ) from error
    return _flat_tensors(loaded, path)


def _flat_tensors(loaded: object, path: Path) -> dict[str, Tensor]:
    """The dict, after a look at everything in it."""
    if not isinstance(loaded, Mapping) or not loaded:
        raise CheckpointError(f"{path} is not a dict of tensors: give the public .bin files.")
    tensors: dict[str, Tensor] = {}
    numbers = 0
    for name, tensor in loaded.items():
        plain = isinstance(tensor, Tensor) and tensor.layout == torch.strided
        if not isinstance(name, str) or not plain or not tensor.is_floating_point():
            raise CheckpointError(
                f"{path} holds {str(name)[:80]!r}, which is not a plain tensor of numbers: give "
                "the public .bin files."
            )
        # A tensor may claim more numbers than the file has, by repeating them.
        numbers += tensor.numel()
        if 4 * numbers > MAX_MODEL_BYTES:
            raise CheckpointError(f"{path} claims to hold too many numbers: this is not a codec.")
        tensors[name] = tensor.detach()
    return tensors
