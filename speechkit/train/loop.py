"""The training loop: budget, accumulation, clipping, averaging, log, saving, resuming, processes.

It knows no model: a `Task` gives batches, losses, held-out figures and an export. All randomness of
step s follows from the seed and s, so nothing but tensors and counters has to be saved. With a
budget of steps, a run that was interrupted ends with the same bits as one that was not. With one of
minutes it draws the same, but its learning rate follows the clock: two runs that were not equally
fast differ, and so do two of the same command.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from speechkit.core import checkpoint
from speechkit.core.errors import ConfigError, SpeechkitError
from speechkit.core.rng import derive, generator
from speechkit.train.config import Task, TrainConfig, TrainReport
from speechkit.train.distributed import World, join_world
from speechkit.train.ema import Ema
from speechkit.train.evaluation import exported_step, recover_exports, validate_and_export
from speechkit.train.log import Meter, MetricLog
from speechkit.train.optimizer import (
    build_optimizer,
    load_optimizer_tensors,
    optimizer_tensors,
    trained_parameters,
)
from speechkit.train.prefetch import Prefetcher, pinned, to_device
from speechkit.train.progress import Progress, progress
from speechkit.train.schedule import lr_multiplier, progress_of
from speechkit.train.state import Counters, check_identity, load_state, save_state
from speechkit.train.stopping import StopRequest, stop_on_signal

__all__ = ["MAX_SKIPPED_IN_A_ROW", "Task", "TrainConfig", "TrainReport", "train"]

MAX_SKIPPED_IN_A_ROW = 10
"""Steps in a row whose loss or gradient is not finite, after which a run gives up."""
STATE_FOLDER = "state"

_logger = logging.getLogger(__name__)


def train(
    task: Task, config: TrainConfig, out: Path, *, identity: Mapping[str, Any] | None = None
) -> TrainReport:
    """Train ``task`` until the budget is used up or a signal asks to stop; return how it went.

    Below ``out`` are then ``state`` to resume from, ``metrics.jsonl`` and TensorBoard files, and
    two exports with their ``figures.json``: ``last``, and ``best`` by the validation score. When
    ``out`` holds a state, training goes on from there. Under torchrun or srun all processes call
    this. ``identity``, plain values as JSON has them, says what else the run follows from: settings
    of task and model, and the data.

    Raises ConfigError when no budget is given, and when the state in ``out`` is of a run with
    another ``identity`` or with other settings than those that may change (`config.CHANGEABLE`).
    Raises CheckpointError when the state does not fit the model, SpeechkitError after ten steps in
    a row whose loss or gradient is not finite.
    """
    if config.minutes is None and config.steps is None:
        raise ConfigError("Training needs a budget: give --minutes or --steps, or both.")
    with ExitStack() as stack:
        stack.enter_context(_threads(config.threads))
        world = stack.enter_context(join_world(config.device))
        on_cuda = world.device.type == "cuda"
        stack.enter_context(torch.random.fork_rng([world.device] if on_cuda else []))
        request = stack.enter_context(stop_on_signal(repeat_ends=world.size == 1))
        return _Run(task, config, out, world, identity or {}).go(request)


class _Run:
    """One process's part of a training run."""

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        out: Path,
        world: World,
        identity: Mapping[str, Any],
    ) -> None:
        self.task, self.config, self.out, self.world = task, config, out, world
        self.identity = {**identity, "train": config.identity()}
        self.began = monotonic()
        self.model = task.model.to(world.device)
        self.parameters = trained_parameters(self.model)
        self.optimizer = build_optimizer(self.parameters, config)
        self.losses = torch.compile(task.losses) if config.compile else task.losses
        self.ema: Ema | None = None
        if world.is_main and config.ema_decay > 0:
            self.ema = Ema(self.parameters, config.ema_decay)
        self.counters = Counters()
        self.restore()
        self.earlier_seconds = self.counters.elapsed_seconds
        self.saved_seconds = self.earlier_seconds
        self.meter = Meter()
        self.logged = (self.counters.step, monotonic())
        self.figures: dict[str, float] = {}
        self.log: MetricLog | None = None
        if world.is_main:
            out.mkdir(parents=True, exist_ok=True)
            recover_exports(out)
            self.log = MetricLog(out, self.counters.step)

    def go(self, request: StopRequest) -> TrainReport:
        """Train until the end, and return the report."""
        config, counters = self.config, self.counters
        bar: Progress[None] = progress(
            "training",
            total=config.steps,
            unit="step",
            initial=counters.step,
            # The log has its own lines.
            plain=False,
        )
        with Prefetcher(self.draw, first=counters.step) as batches, bar:
            while True:
                seconds, asked = self.world.total(
                    self.elapsed() if self.world.is_main else 0.0, float(request.received)
                )
                counters.elapsed_seconds = seconds
                share = progress_of(
                    counters.step, seconds, steps=config.steps, minutes=config.minutes
                )
                if asked or share >= 1:
                    break
                self.step(batches.get(), share)
                bar.update()
                if counters.step % config.log_every_steps == 0:
                    # With a budget of minutes, the number of steps is what it looks like by now.
                    bar.total = config.steps or round(counters.step / max(share, 1e-9))
                    self.write_log(share)
                if self.elapsed() - self.saved_seconds >= 60.0 * config.save_every_minutes:
                    self.save()
                if counters.step % config.validate_every_steps == 0:
                    self.evaluate()
        finished = share >= 1
        if finished and exported_step(self.out) != counters.step:
            self.evaluate()
        self.save()
        if self.log is not None:
            self.log.close()
        # Nobody leaves before the first process has written the exports.
        self.world.total(0.0)
        return self.report(finished)

    def step(self, batches: list[Any], progress: float) -> None:
        """Do one optimiser step on the batches of this process."""
        config, counters, step = self.config, self.counters, self.counters.step
        lr = config.lr * lr_multiplier(
            step,
            progress,
            warmup_steps=config.warmup_steps,
            decay=config.decay,
            decay_share=config.decay_share,
            final_lr_share=config.final_lr_share,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        losses = [self.backward(batch, index) for index, batch in enumerate(batches)]
        self.world.average_gradients(list(self.parameters.values()))
        norm = self.clip()
        mine = torch.stack([one["total"] for one in losses]).sum() + norm
        # The sum is not finite if a part of it is not, so all processes decide alike.
        (sum_over_all,) = self.world.total(float(mine))
        if math.isfinite(sum_over_all):
            self.optimizer.step()
            if self.ema is not None:
                self.ema.update(step)
            counters.skipped_in_a_row = 0
            for one in losses:
                self.meter.add(one)
            self.meter.add({"grad_norm": norm})
        else:
            # What is not finite has gone into running statistics, too.
            for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(before)
            self.skip(losses)
        self.optimizer.zero_grad(set_to_none=True)
        # As DistributedDataParallel does: statistics kept in buffers are those of the first one.
        self.world.share(list(self.model.buffers()))
        counters.step += 1

    def backward(self, batch: Any, index: int) -> dict[str, Tensor]:
        """Add the gradients of one batch to the parameters; return its losses and their total."""
        world, weights = self.world, self.task.weights
        path = (self.counters.step, self.position(index))
        rng = generator(derive(self.config.seed, "losses", *path), world.device)
        # Dropout and the like know only the global generator.
        torch.manual_seed(derive(self.config.seed, "global", *path))
        with world.autocast(self.config.amp):
            losses = self.losses(to_device(batch, world.device), rng, self.counters.step)
        for key in weights:
            if key not in losses:
                raise ConfigError(
                    f'There is a weight for the loss "{key}", but the losses are '
                    f"{', '.join(sorted(losses))}: correct the name or remove the weight."
                )
        total = torch.stack([weight * losses[key].float() for key, weight in weights.items()]).sum()
        (total / self.config.accumulate).backward()  # type: ignore[no-untyped-call]
        return {**losses, "total": total.detach()}

    def clip(self) -> Tensor:
        """Limit the norm of all gradients together; return what it was before."""
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.config.clip_norm > 0:
            torch.nn.utils.clip_grads_with_norm_(
                self.parameters.values(), self.config.clip_norm, norm
            )
        return norm

    def skip(self, losses: list[dict[str, Tensor]]) -> None:
        """Count a step that cannot be used. Raises SpeechkitError after too many in a row."""
        self.counters.skipped_steps += 1
        self.counters.skipped_in_a_row += 1
        bad = sorted({key for one in losses for key in one if not torch.isfinite(one[key]).all()})
        described = f"losses not finite: {', '.join(bad)}" if bad else "the gradient is not finite"
        _logger.warning("Step %d is skipped, %s.", self.counters.step, described)
        if self.counters.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise SpeechkitError(
                f"Training stopped at step {self.counters.step}: {MAX_SKIPPED_IN_A_ROW} steps in a "
                f"row cannot be used ({described}). Resume with a lower learning rate, or look for "
                "broken clips in the data."
            )

    def position(self, index: int) -> int:
        """Return the number of this process's batch ``index`` among all batches of a step.

        Seeds depend on it, so that processes and accumulation are interchangeable.
        """
        return self.world.rank * self.config.accumulate + index

    def draw(self, step: int) -> list[Any]:
        """Return this process's batches of a step. Called in the prefetching thread."""
        batches = []
        for index in range(self.config.accumulate):
            seed = derive(self.config.seed, "step", step, self.position(index))
            batch = self.task.batch(generator(seed))
            batches.append(pinned(batch) if self.world.device.type == "cuda" else batch)
        return batches

    def elapsed(self) -> float:
        """Return the seconds taken so far, over all resumed parts."""
        return self.earlier_seconds + monotonic() - self.began

    def write_log(self, share: float) -> None:
        """Write the averages since the last time; ``share`` of the budget is used.

        All processes have to call.
        """
        means = self.meter.read(self.world)
        step, now = self.counters.step, monotonic()
        logged_step, logged_at = self.logged
        self.logged = (step, now)
        if self.log is None or not means:
            return
        rate = (step - logged_step) / max(now - logged_at, 1e-9)
        minutes = self.elapsed() / 60.0
        entry = {
            "step": step,
            "minutes": minutes,
            "lr": self.optimizer.param_groups[0]["lr"],
            "grad_norm": means.pop("grad_norm"),
            "losses": means,
            "steps_per_second": rate,
            "skipped_steps": self.counters.skipped_steps,
        }
        self.log.write(entry)
        _logger.info(
            "step %d  %.2f steps/s  %.0f min left  loss %.4f  %s",
            step,
            rate,
            minutes * (1.0 - share) / max(share, 1e-9),
            means["total"],
            _listed(means),
        )

    def evaluate(self) -> None:
        """Validate and export the averaged weights, in the first process."""
        if self.log is None:
            return
        averaged = self.ema.applied() if self.ema is not None else nullcontext()
        with averaged:
            self.figures = validate_and_export(self.task, self.counters, self.elapsed(), self.out)
        step = self.counters.step
        self.log.write({"step": step, "minutes": self.elapsed() / 60.0, "validation": self.figures})
        _logger.info("step %d  validation  %s", step, _listed(self.figures))

    def save(self) -> None:
        """Save the state, in the first process."""
        self.saved_seconds = self.elapsed()
        if not self.world.is_main:
            return
        parts = {
            "model": self.model.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer, self.parameters),
            "ema": self.ema.tensors() if self.ema is not None else {},
        }
        tensors = {f"{part}/{key}": t for part, named in parts.items() for key, t in named.items()}
        save_state(
            self.out / STATE_FOLDER,
            tensors,
            dataclasses.replace(self.counters, elapsed_seconds=self.saved_seconds),
            self.identity,
            self.config.keep_checkpoints,
        )

    def restore(self) -> None:
        """Take up the newest saved state, if any, in all processes alike."""
        saved = load_state(self.out / STATE_FOLDER)
        if saved is not None:
            check_identity(saved.identity, self.identity, self.out)
            self.counters = saved.counters
            parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "ema": {}}
            for key, tensor in saved.tensors.items():
                part, _, name = key.partition("/")
                parts[part][name] = tensor
            checkpoint.load_state(self.model, parts["model"])
            load_optimizer_tensors(self.optimizer, self.parameters, parts["optimizer"])
            if self.ema is not None:
                self.ema.load(parts["ema"])
            _logger.info("Resuming at step %d from %s.", self.counters.step, self.out)
        if len(set(self.world.gather(self.counters.step))) > 1:
            raise ConfigError(f"All machines must share the folder {self.out}: they see others.")
        self.world.share([*self.model.parameters(), *self.model.buffers()])

    def report(self, finished: bool) -> TrainReport:
        """Return how the run went."""
        step, minutes = self.counters.step, self.counters.elapsed_seconds / 60.0
        if finished:
            message = f"Finished after {step} steps and {minutes:.1f} minutes: {self.out / 'last'}."
        else:
            message = (
                f"Stopped at step {step}, and saved {self.out / STATE_FOLDER}: "
                "run the same command again to resume."
            )
        return TrainReport(
            step=step,
            minutes=minutes,
            finished=finished,
            skipped_steps=self.counters.skipped_steps,
            best_score=self.counters.best_score,
            figures=self.figures,
            message=message,
        )


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Let torch use ``count`` CPU threads for a while."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count is not None:
            torch.set_num_threads(before)


def _listed(figures: dict[str, float]) -> str:
    """Return figures as text, such as "mel/l1 0.4213"."""
    return "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
