"""Validation during training, and the two exports it keeps up to date."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from speechkit.train.config import Task
from speechkit.train.state import Counters, recover_folder, replace_folder

BEST_FOLDER = "best"
LAST_FOLDER = "last"
FIGURES_FILE = "figures.json"


@torch.no_grad()
def held_out_figures(task: Task) -> dict[str, float]:
    """Return the held-out figures of the task's model as it is now."""
    with evaluation_mode(task.model):
        return task.validate()


@torch.no_grad()
def export_model(
    task: Task,
    model: nn.Module,
    figures: dict[str, float],
    counters: Counters,
    elapsed_seconds: float,
    out: Path,
) -> None:
    """Export ``model``, whose held-out figures these are, to ``out/last``.

    With the highest "score" so far, also to ``out/best``, and ``counters.best_score`` is set.
    """
    described = {"step": counters.step, "minutes": elapsed_seconds / 60.0, "figures": figures}

    def write(folder: Path) -> None:
        task.export(folder, model)
        text = json.dumps(described, indent=2) + "\n"
        (folder / FIGURES_FILE).write_text(text, encoding="utf-8")

    with evaluation_mode(model):
        replace_folder(out / LAST_FOLDER, write)
        score, best = figures.get("score"), counters.best_score
        if score is not None and (best is None or score > best):
            replace_folder(out / BEST_FOLDER, write)
            counters.best_score = score


def exported_step(out: Path) -> int | None:
    """Return the step of ``out/last``, or None when there is no such export."""
    try:
        text = (out / LAST_FOLDER / FIGURES_FILE).read_text(encoding="utf-8")
        return int(json.loads(text)["step"])
    except (OSError, ValueError, KeyError):
        return None


def recover_exports(out: Path) -> None:
    """Put back exports that a crash left displaced."""
    for name in (BEST_FOLDER, LAST_FOLDER):
        recover_folder(out / name)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put all of ``model`` into evaluation mode, and each part back into its own at the end."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
