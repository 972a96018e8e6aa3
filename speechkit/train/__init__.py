"""Training of anything that can be put as a `Task`: one loop, for one process or many.

Names are looked up when they are used, so that a command line can add the arguments without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechkit.train.arguments import add_training_arguments, config_from_args, show_progress
    from speechkit.train.loop import Task, TrainConfig, TrainReport, train

__all__ = [
    "Task",
    "TrainConfig",
    "TrainReport",
    "add_training_arguments",
    "config_from_args",
    "show_progress",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import one of `__all__`."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    arguments = ("add_training_arguments", "config_from_args", "show_progress")
    home = "arguments" if name in arguments else "loop"
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
