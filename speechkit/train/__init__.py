"""Training of anything that can be put as a `Task`: one loop, for one process or many."""

from __future__ import annotations

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
