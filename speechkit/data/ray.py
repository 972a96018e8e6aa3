"""The same tasks, done by workers of Ray Data on one machine or many that share a folder."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from speechkit.core.errors import ConfigError


class Loads(Protocol):
    """Work that says how a task is done."""

    def load(self) -> Callable[[Any, Callable[[int], object]], None]:
        """What does a task, loaded once a process."""


class TaskDoer:
    """What each worker of Ray keeps: all that tasks need, loaded once."""

    def __init__(self, work: Loads, tasks: Sequence[Any], threads: int, folder: str) -> None:
        """Load everything; `folder` is where the program was started, as paths are told from it."""
        # Actors start in a folder of their own.
        os.chdir(folder)
        torch.set_num_threads(threads)
        self.tasks, self.do = tasks, work.load()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Do the tasks whose numbers are in the batch."""
        for number in batch["item"].tolist():
            self.do(self.tasks[number], lambda count: None)
        return batch


def do_with_ray(
    work: Loads, tasks: Sequence[Any], *, workers: int, threads: int, device: str
) -> None:
    """Do the tasks with `workers` actors, each with a GPU unless `device` is the CPU.

    Raises ConfigError where Ray is not installed.
    """
    try:
        # Not a plain import: Ray is no dependency, and its types are not looked for.
        ray = importlib.import_module("ray")
        importlib.import_module("ray.data")
    except ImportError as error:
        raise ConfigError(
            "Ray is not installed: pip install 'ray[data]', or leave --ray out and divide the work "
            "with --shard 1/2, 2/2 and so on."
        ) from error
    if not tasks:
        return
    ours = not ray.is_initialized()
    if ours:
        ray.init(log_to_driver=False, include_dashboard=False)
    try:
        ray.data.from_items(list(range(len(tasks)))).map_batches(
            TaskDoer,
            fn_constructor_args=(work, list(tasks), threads, os.getcwd()),
            batch_size=1,
            concurrency=min(workers, len(tasks)),
            num_gpus=0 if device == "cpu" else 1,
        ).materialize()
    finally:
        if ours:
            ray.shutdown()
