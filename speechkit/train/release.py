"""Put trained models where the package looks for them: `speechkit release`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from speechkit.core.checkpoint import load_checkpoint, save_checkpoint
from speechkit.core.checksums import record_sums
from speechkit.core.errors import CheckpointError
from speechkit.train.evaluation import FIGURES_FILE


def release(source: Path, target: Path, training: Mapping[str, Any] | None = None) -> None:
    """Write the export in `source` to `target` in half precision, and its checksums beside it.

    Half precision is half the size, and no difference can be heard. `training` says how the weights
    came about, and stands in the config of the release; where it is not given, the figures that
    training left beside the export do. The model card is written by hand.

    Raises CheckpointError where `source` holds no export.
    """
    found = load_checkpoint(source)
    state = {
        name: tensor.half() if tensor.dtype == torch.float32 else tensor
        for name, tensor in found.state.items()
    }
    if training is None:
        training = _figures(source)
    save_checkpoint(target, state, {**found.config, "training": dict(training)})
    record_sums(target)


def _figures(source: Path) -> dict[str, Any]:
    """What training left beside an export."""
    try:
        figures: dict[str, Any] = json.loads((source / FIGURES_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{source} has no readable {FIGURES_FILE}: say with --training how it was trained."
        ) from error
    return figures
