"""Run a job with fairseq2's trainer, guarded against its known faults.

fairseq2 writes every environment variable into its logs; ours does not. Its checkpoints, in
``checkpoints/``, are torch files for resuming, read in torch's restricted mode; what users load is
the model folder ``model/``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from speechkit.core.errors import CheckpointError, ConfigError
from speechkit.core.files import write_atomically
from speechkit.ssl.fairseq import require_fairseq2
from speechkit.ssl.training.config import RunConfig
from speechkit.ssl.training.job import CollapseError, Job

RUN_FILE = "run.json"


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """What a run came to."""

    updates: int
    """Updates over all resumed parts."""
    minutes: float
    """Time over all resumed parts."""
    finished: bool
    """False when a signal ended it before its budget was used up."""
    model: Path
    """The exported model folder."""
    message: str
    """One sentence for the user."""


def run_training(job: Job, config: RunConfig, out: Path) -> RunReport:
    """Train until the budget is used up; a run in ``out`` is resumed.

    Raises ConfigError without a budget or without the asked device, CheckpointError when ``out``
    holds a run of another model or other data, CollapseError when the guard stops the run (its last
    checkpoint stays).
    """
    config = config.checked()
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("There is no CUDA device here: train with --device cpu, or auto.")
    require_fairseq2()
    out = Path(out)
    previous = _previous(out, job)
    if previous is not None and _is_done(previous, config):
        return _report(out, previous["updates"], previous["minutes"], finished=True, new=False)
    out.mkdir(parents=True, exist_ok=True)
    main = int(os.environ.get("RANK", "0")) == 0
    if previous is None and main:
        # So that a run that is killed is not resumed as another one.
        _write(out, job, updates=0, minutes=0.0, finished=False)
    signals: list[str] = []
    recipe = _run(job, config, out, signals)
    unit = recipe.unit
    reason = unit.why_stopped if unit is not None else None
    minutes = recipe.seconds / 60
    finished = reason is None
    if main:
        _write(out, job, recipe.updates, minutes, finished)
    if reason is not None and reason != "signal":
        raise CollapseError(f"Training of {job.name} stopped at update {recipe.updates}: {reason}")
    return _report(out, recipe.updates, minutes, finished=finished, new=True)


def _run(job: Job, config: RunConfig, out: Path, signals: list[str]) -> Any:
    """Start fairseq2 on the job; return the recipe, which knows what happened."""
    from fairseq2.error import OperationalError
    from fairseq2.recipe.run import run
    from fairseq2.task import TaskStopException

    from speechkit.ssl.training.recipe import JobRecipe
    from speechkit.ssl.training.sections import recipe_config

    recipe = JobRecipe(job, config, out, signals)
    # The first exception is how every budget ends.
    ended = contextlib.suppress(TaskStopException)
    try:
        with _environment(config), _signals(signals), _without_environment_log(), ended:
            run(recipe, recipe_config(config), out, no_rich=True, no_progress=True)
    except (OperationalError, OSError) as error:
        reasons = [reason for reason in _causes(error) if isinstance(reason, OSError)]
        if not reasons:
            raise
        raise CheckpointError(
            f"Training could not go on: {reasons[-1].strerror or reasons[-1]}. The last checkpoint "
            f"in {out} is whole; fix this and give the same command to go on from there."
        ) from error
    return recipe


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _previous(out: Path, job: Job) -> dict[str, Any] | None:
    """Return what an earlier part wrote, after checking that it was of the same job."""
    path = out / RUN_FILE
    if not path.is_file():
        return None
    try:
        previous: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        identity = previous["identity"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}): choose another --out, or delete the folder."
        ) from error
    now = json.loads(json.dumps(dict(job.identity)))
    if identity != now:
        changed = sorted(k for k in identity.keys() | now.keys() if identity.get(k) != now.get(k))
        raise CheckpointError(
            f"{out} holds a run with another {', '.join(changed)}: choose another --out, or give "
            "the same config and data to resume it."
        )
    return previous


def _is_done(previous: dict[str, Any], config: RunConfig) -> bool:
    """Return whether the budget was already used up."""
    steps = config.steps is not None and previous["updates"] >= config.steps
    minutes = config.minutes is not None and previous["minutes"] >= config.minutes
    return bool(previous["finished"]) and (steps or minutes)


def _write(out: Path, job: Job, updates: int, minutes: float, finished: bool) -> None:
    """Write what the next part needs to know."""
    content = {
        "identity": dict(job.identity),
        "updates": updates,
        "minutes": minutes,
        "finished": finished,
    }
    text = json.dumps(content, indent=2) + "\n"
    write_atomically(out / RUN_FILE, lambda path: _write_text(path, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _report(out: Path, updates: int, minutes: float, *, finished: bool, new: bool) -> RunReport:
    """Put the end of a run into words."""
    model = out / "model"
    if not new:
        message = f"Nothing to do: the run in {out} has used up this budget; its model is {model}."
    elif finished:
        message = f"Trained {updates} updates in {minutes:.1f} minutes; the model is {model}."
    else:
        message = f"Stopped at update {updates}; the same command goes on from there."
    return RunReport(
        updates=updates, minutes=minutes, finished=finished, model=model, message=message
    )


@contextmanager
def _environment(config: RunConfig) -> Iterator[None]:
    """Set what fairseq2 reads from the environment, and set it back."""
    wanted = {"FAIRSEQ2_DEVICE": config.device} if config.device == "cpu" else {}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _signals(received: list[str]) -> Iterator[None]:
    """Turn SIGTERM and the first Ctrl-C into an orderly end after the current update."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: object) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(signal.Signals(number).name)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _without_environment_log() -> Iterator[None]:
    """Keep fairseq2 from writing the environment, which may hold secrets, into its logs."""
    from fairseq2.recipe.internal.log import _StandardLogHelper

    before = _StandardLogHelper.log_environment_variables
    _StandardLogHelper.log_environment_variables = lambda self: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        _StandardLogHelper.log_environment_variables = before  # type: ignore[method-assign]
