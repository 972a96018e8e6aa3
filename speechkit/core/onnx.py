"""Exported models on onnxruntime: the graphs of a folder, and what was exported.

`speechkit.export` writes such a folder: config.json as that of the weights, with a part `onnx`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from speechkit.core.checkpoint import Checkpoint
from speechkit.core.errors import CheckpointError, ConfigError
from speechkit.core.extras import missing_package

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Which weights a loaded part is made of."""

    sha256: str
    """Hash of the weights file, in hexadecimal: of an export, of the weights it was made of."""

    trained: bool
    """False for random weights."""

    exported: bool = False
    """Whether onnxruntime computes it, on the CPU in float32."""


def is_export(config: Mapping[str, Any]) -> bool:
    """Whether this is the config.json of an exported part."""
    return isinstance(config.get("onnx"), dict)


def origin_of(made: Checkpoint) -> Origin:
    """Which weights a checkpoint or an exported part has."""
    if not is_export(made.config):
        return Origin(sha256=made.sha256, trained="training" in made.config)
    about = made.config["onnx"]
    sha256 = str(about.get("weights_sha256", ""))
    return Origin(sha256=sha256, trained=about.get("trained") is True, exported=True)


def check_exported_place(device: str | torch.device, dtype: str | torch.dtype) -> None:
    """Raise ConfigError for anything but the CPU and float32, where exports compute."""
    place = torch.device(device).type if device != "auto" else "cpu"
    if place != "cpu" or dtype not in ("auto", "float32", torch.float32):
        raise ConfigError(
            "An ONNX export computes on the CPU in float32: leave out --device and --dtype."
        )


class Graphs:
    """The sessions of a folder of exported graphs, by name."""

    def __init__(self, folder: Path, made: Checkpoint) -> None:
        """Raises CheckpointError for a file that is missing or not the one that was exported,
        MissingPackageError without onnxruntime."""
        try:
            import onnxruntime
        except ImportError as error:
            raise missing_package(error) or error from error
        files = made.config["onnx"].get("files")
        if not isinstance(files, dict):
            raise CheckpointError(f"{folder} names no graphs: export the model again.")
        self.sessions: dict[str, onnxruntime.InferenceSession] = {}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Threads that spin while they wait slow down everything beside them.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        for name, sha256 in files.items():
            data = _read(folder, str(name))
            if hashlib.sha256(data).hexdigest() != sha256:
                raise CheckpointError(f"{folder / name} is not the file that was exported.")
            self.sessions[Path(name).stem] = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )

    def run(self, graph: str, **inputs: Tensor) -> list[Tensor]:
        """The outputs of a graph, on the CPU; raises CheckpointError where it is not there."""
        if graph not in self.sessions:
            raise CheckpointError(f"The exported model has no graph {graph}: export it again.")
        given = {name: tensor.cpu().numpy() for name, tensor in inputs.items()}
        return [torch.from_numpy(found) for found in self.sessions[graph].run(None, given)]


def _read(folder: Path, name: str) -> bytes:
    """A graph that lies in the folder itself."""
    path = folder / name
    if Path(name).name != name or path.is_symlink() or not path.is_file():
        raise CheckpointError(f"{folder} has no file {name}: export the model again.")
    return path.read_bytes()
