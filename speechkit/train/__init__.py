"""Training of anything that can be put as a `Task`: one loop, for one process or many.

Names are looked up when they are used, so that a command line can add the arguments without torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechkit.train.arguments import add_training_arguments, config_from_args
    from speechkit.train.config import Task, TrainConfig, TrainReport
    from speechkit.train.loop import train
    from speechkit.train.progress import show_progress

__all__ = [
    "Task",
    "TrainConfig",
    "TrainReport",
    "add_training_arguments",
    "config_from_args",
    "show_progress",
    "train",
]
_HOMES: Mapping[str, str] = {
    **dict.fromkeys(("add_training_arguments", "config_from_args"), "arguments"),
    **dict.fromkeys(("Task", "TrainConfig", "TrainReport"), "config"),
    "show_progress": "progress",
    "train": "loop",
}


def __getattr__(name: str) -> Any:
    """Import one of `__all__`."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
