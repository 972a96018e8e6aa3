"""Model folders: ``model.safetensors`` and ``config.json``, written whole, read with suspicion.

Nothing here can run code from a file: pickle (``.pt``, ``.bin``, ``.ckpt``) is never opened, and a
config holds values only, never names of classes to import.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from speechkit.core.errors import CheckpointError, listed
from speechkit.core.files import json_text, write_atomically, write_text

MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
MAX_MODEL_BYTES = 16 * 1024**3
"""Largest weights file that is read."""
MAX_HEADER_BYTES = 16 * 1024**2
"""Largest safetensors header that is parsed; ten thousand tensors need about 1 MiB."""
MAX_CONFIG_BYTES = 4 * 1024**2
"""Largest config.json that is parsed."""
PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"})
"""Formats that can run code when they are opened, or often do."""

WEIGHTS = Path(__file__).parents[1] / "weights"
"""The bundled models: folders `codec`, `generator` and `aligner`."""

_PICKLE_ADVICE = (
    "is a pickle, which can run code when it is opened; convert it to safetensors first, on a "
    "machine you can afford to lose if you do not trust its source."
)

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model folder in memory."""

    config: dict[str, Any]
    """What config.json says."""
    state: dict[str, Tensor]
    """Tensors by name, on the CPU."""
    sha256: str
    """Hash of the weights file, in hexadecimal: names these weights for good."""


def save_checkpoint(
    folder: str | Path, state: Mapping[str, Tensor], config: Mapping[str, Any]
) -> None:
    """Write ``state`` and ``config`` into ``folder``, which may exist and keeps its other files.

    Each file is complete under its final name or not there at all. Tensors go through the CPU and
    keep their type. Raises CheckpointError when the disk refuses or the config is not JSON.
    """
    folder = Path(folder)
    try:
        text = json_text(config)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"The config cannot be written as JSON: {error}.") from error
    # Copies, because safetensors refuses tensors that share memory (tied weights).
    tensors = {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state.items()
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / CONFIG_FILE, text)
        write_atomically(
            folder / MODEL_FILE, lambda path: safetensors.torch.save_file(tensors, str(path))
        )
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"Cannot write the model to {folder}: {error}.") from error


def load_checkpoint(folder: str | Path) -> Checkpoint:
    """Return the model in ``folder``.

    Raises CheckpointError when a file is missing, truncated, oversized, not what its name says,
    not a regular file, or a link that leads out of the folder, and when the model is a pickle.
    """
    folder = Path(folder)
    config = read_config(folder)
    state, sha256 = load_tensors(folder / MODEL_FILE)
    return Checkpoint(config=config, state=state, sha256=sha256)


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a safetensors file by name, and the hash of the file.

    Raises CheckpointError as `load_checkpoint` does.
    """
    path = Path(path)
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise CheckpointError(f"{path} {_PICKLE_ADVICE}")
    if not path.parent.is_dir():
        raise CheckpointError(f"There is no file {path}: check the path.")
    data = _read_file(path.parent, path.name, MAX_MODEL_BYTES)
    _check_header(data, path)
    try:
        state = safetensors.torch.load(data)
    except Exception as error:
        # The library lets more than SafetensorError through for hostile headers.
        raise CheckpointError(f"{path} is damaged ({error}): download or copy it again.") from error
    return state, hashlib.sha256(data).hexdigest()


def read_config(folder: str | Path) -> dict[str, Any]:
    """Return what config.json in ``folder`` says: which model it is, before its weights are read.

    Raises CheckpointError as `load_checkpoint` does.
    """
    folder = Path(folder)
    if folder.suffix.lower() in PICKLE_SUFFIXES and not folder.is_dir():
        raise CheckpointError(f"{folder} {_PICKLE_ADVICE}")
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} is not a folder: give the folder that holds {MODEL_FILE} and {CONFIG_FILE}."
        )
    return _read_config(_read_file(folder, CONFIG_FILE, MAX_CONFIG_BYTES), folder)


def load_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy ``state`` into ``module``; every name and shape has to fit.

    Raises CheckpointError that names the first few missing or unexpected keys and wrong shapes;
    ``module`` is then unchanged.
    """
    _check_fit(module, state)
    module.load_state_dict(state, strict=True)


def build_and_load(build: Callable[[], ModuleT], state: Mapping[str, Tensor]) -> ModuleT:
    """Return the module that ``build`` makes, with copies of the tensors of ``state`` in it.

    Builds it on torch's meta device, where no size takes memory, and then puts the tensors in, each
    in the type that the module has. So a config with absurd sizes is refused, as a CheckpointError,
    before anything is allocated. Draws no random numbers. ``build`` has to give what the state does
    not hold (windows, filters, counters) the device of its own, ``device="cpu"``.
    """
    module = build_without_memory(build)
    _check_fit(module, state)
    wanted = module.state_dict()
    own = {name: state[name].to(wanted[name].dtype, copy=True) for name in wanted}
    module.load_state_dict(own, strict=True, assign=True)
    empty = [name for name, buffer in module.named_buffers() if buffer.is_meta]
    if empty:
        raise RuntimeError(f'{type(module).__name__} builds {empty} without device="cpu"')
    return module


def build_without_memory(build: Callable[[], ModuleT]) -> ModuleT:
    """Return the module that ``build`` makes, on torch's meta device: names and shapes alone.

    Raises CheckpointError where nothing can be built.
    """
    try:
        with torch.device("meta"), _Undrawn():
            return build()
    except (RuntimeError, ValueError, ZeroDivisionError, OverflowError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"The config describes no possible model: {reason}") from error


class _Undrawn(TorchFunctionMode):
    """Skips drawing initial values on the meta device, which has none.

    Only to save time: the first draw there loads torch's symbolic shapes, 870 modules and seconds.
    """

    _DRAWS = frozenset((torch.rand, torch.randn))

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == nn.init.__name__:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        if func in self._DRAWS and not kwargs:
            return torch.empty(*args)
        if func in (torch.Tensor.uniform_, torch.Tensor.normal_):
            return args[0]
        return func(*args, **kwargs)


def _check_fit(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless ``state`` has just the names and shapes of ``module``."""
    wanted = module.state_dict()
    shapes = [
        f"{name} is {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    problems = [
        f"{label}: {listed(names)}"
        for label, names in (
            ("missing", [name for name in wanted if name not in state]),
            ("unexpected", [name for name in state if name not in wanted]),
            ("wrong shape", shapes),
        )
        if names
    ]
    if problems:
        raise CheckpointError(
            "The weights do not fit the model that the config describes; "
            f"{'; '.join(problems)}. Use the config.json that came with the weights."
        )


def _read_file(folder: Path, name: str, max_bytes: int) -> bytes:
    """Return the bytes of a regular file in ``folder``, or raise CheckpointError."""
    path = folder / name
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(_missing(folder, name)) from error
    if not real.is_relative_to(folder.resolve()):
        raise CheckpointError(
            f"{path} is a link that leads out of its folder: put the file itself there."
        )
    if not real.is_file():
        raise CheckpointError(f"{path} is not a regular file: put the file itself there.")
    if real.stat().st_size > max_bytes:
        raise CheckpointError(f"{path} is larger than {max_bytes} bytes: this is not a model.")
    try:
        return real.read_bytes()
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {error.strerror}.") from error


def _missing(folder: Path, name: str) -> str:
    """Return the sentence for a missing file, which may be there as a pickle."""
    pickles = sorted(
        path.name for path in folder.iterdir() if path.suffix.lower() in PICKLE_SUFFIXES
    )
    if name == MODEL_FILE and pickles:
        return f"{folder} has no {MODEL_FILE}, and {pickles[0]} {_PICKLE_ADVICE}"
    return f"{folder} has no {name}: a model folder holds {MODEL_FILE} and {CONFIG_FILE}."


def _read_config(data: bytes, folder: Path) -> dict[str, Any]:
    """Return config.json as a dict, or raise CheckpointError."""
    try:
        config = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder / CONFIG_FILE} is not valid JSON: {error}.") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{folder / CONFIG_FILE} must be a JSON object.")
    return config


def _check_header(data: bytes, path: Path) -> None:
    """Raise CheckpointError unless ``data`` starts as a safetensors file of reasonable size does.

    The format: 8 bytes with the length of the header, then the header in JSON, then the tensors.
    """
    header_bytes = int.from_bytes(data[:8], "little")
    fits = len(data) > 8 and header_bytes <= min(len(data) - 8, MAX_HEADER_BYTES)
    if fits and data[8:9] == b"{":
        return
    if data[:4] == b"PK\x03\x04" or (data[:1] == b"\x80" and data[1:2] in b"\x02\x03\x04\x05"):
        raise CheckpointError(f"{path} {_PICKLE_ADVICE}")
    raise CheckpointError(
        f"{path} is cut short or is not a safetensors file: download or copy it again."
    )
