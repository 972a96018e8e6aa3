"""The training loop: budget, accumulation, clipping, averaging, log, saving, resuming, processes.

It knows no model: a `Task` gives batches, losses, held-out figures and an export. All randomness of
step s follows from the seed and s, so nothing but tensors and counters has to be saved. A step that
is not logged does not wait for the device: what it comes to is read with the log. With a budget of
steps, a run that was interrupted ends with the same bits as one that was not. With one of
minutes it draws the same, but its learning rate follows the clock: two runs that were not equally
fast differ, and so do two of the same command.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from speechkit.core import checkpoint
from speechkit.core.errors import ConfigError
from speechkit.core.rng import derive, generator
from speechkit.train.blocks import ShardedModel
from speechkit.train.config import ScaledTask, Task, TrainConfig, TrainReport, WatchedTask
from speechkit.train.distributed import World, join_world
from speechkit.train.ema import Ema
from speechkit.train.evaluation import (
    export_model,
    exported_step,
    held_out_figures,
    recover_exports,
)
from speechkit.train.log import Meter, MetricLog, check_wandb
from speechkit.train.optimizer import (
    build_optimizer,
    load_optimizer_tensors,
    optimizer_tensors,
    tell_untouched,
)
from speechkit.train.prefetch import Prefetcher, to_device
from speechkit.train.progress import Progress, progress
from speechkit.train.scale import LossScale
from speechkit.train.schedule import lr_multiplier, progress_of
from speechkit.train.skips import Skips
from speechkit.train.state import Counters, check_identity, load_state, save_state
from speechkit.train.stopping import StopRequest, stop_on_signal
from speechkit.train.workers import WorkerBatches

__all__ = ["Task", "TrainConfig", "TrainReport", "train"]

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

    Raises ConfigError when no budget is given, for settings that this machine or the task cannot
    serve, and when the state in ``out`` is of a run with another ``identity`` or with other
    settings than those that may change (`config.CHANGEABLE`).
    Raises CheckpointError when the state does not fit the model, SpeechkitError after ten steps in
    a row whose loss or gradient is not finite.
    """
    if config.minutes is None and config.steps is None:
        raise ConfigError("Training needs a budget: give --minutes or --steps, or both.")
    check_wandb(config.wandb)
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
        self.counters = Counters()
        task.model.to(world.device)
        saved = self.restore()
        self.model = ShardedModel(task, config, world)
        scale = {"lr_scale": task.lr_scale} if isinstance(task, ScaledTask) else {}
        precision = world.multiplied(config.amp)
        self.optimizer = build_optimizer(self.model.trained, config, **scale, precision=precision)
        self.ema: Ema | None = None
        if config.ema_decay > 0 and (world.is_main or self.model.sharded):
            self.ema = Ema(self.model.trained, config.ema_decay)
        self.scale = LossScale(world.device, enabled=config.amp == "fp16")
        self.restore_moments(saved)
        self.skips = Skips(self.counters, world.device)
        self.earlier_seconds = self.saved_seconds = self.counters.elapsed_seconds
        self.meter = Meter()
        self.logged = (self.counters.step, monotonic())
        self.figures: dict[str, float] = {}
        self.log: MetricLog | None = None
        if world.is_main:
            out.mkdir(parents=True, exist_ok=True)
            recover_exports(out)
            self.log = MetricLog(out, self.counters.step, config.wandb)
        # The entry of a validation is written after its exports.
        done = 0 if self.log is None else min(exported_step(out) or 0, self.log.validated_step)
        (exported,) = world.total(float(done))
        self.exported = int(exported)

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
        if counters.step and counters.step % config.validate_every_steps == 0:
            # The run may have ended between saving this step and its validation.
            self.evaluate_once()
        with self.batches() as batches, bar:
            while True:
                seconds, asked = self.world.total(
                    self.elapsed() if self.world.is_main else 0.0, float(request.received)
                )
                counters.elapsed_seconds = seconds
                share = progress_of(
                    counters.step, seconds, steps=config.steps, minutes=config.minutes
                )
                # A step at least, however late the first one comes: there would be no weights.
                if asked or (share >= 1 and counters.step):
                    break
                self.step([batches.get() for _ in range(config.accumulate)], share)
                bar.update()
                if counters.step % config.log_every_steps == 0:
                    # With a budget of minutes, the number of steps is what it looks like by now.
                    bar.total = config.steps or round(counters.step / max(share, 1e-9))
                    self.write_log(share)
                # By the time that all agree on, for all may have to take part.
                if seconds - self.saved_seconds >= 60.0 * config.save_every_minutes:
                    self.save()
                    self.saved_seconds = seconds
                if counters.step % config.validate_every_steps == 0:
                    self.evaluate()
        finished = share >= 1
        if finished:
            self.evaluate_once()
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
            group["lr"] = lr * group["lr_scale"]
        buffers = list(self.task.model.buffers())
        before = [buffer.clone() for buffer in buffers]
        losses = self.backward_all(batches, buffers, before)
        self.model.take_gradients(self.world)
        self.scale.unscale([p.grad for p in self.model.trained.values() if p.grad is not None])
        norm = self.clip()
        mine = torch.stack([one["total"] for one in losses]).sum() + norm
        # The sum is not finite if a part of it is not, so all processes decide alike.
        bad = (~torch.isfinite(self.world.summed(mine))).float()
        # The fused kernel looks at it on the device: a step that is bad changes nothing.
        self.optimizer.found_inf = bad  # type: ignore[attr-defined]
        self.optimizer.step()
        self.scale.update(bad)
        if self.ema is not None:
            self.ema.update(step, bad)
        for one in losses:
            self.meter.add(one, bad)
        self.meter.add({"grad_norm": norm}, bad)
        # What is not finite has gone into running statistics, too.
        for buffer, old in zip(buffers, before, strict=True):
            buffer.copy_(torch.where(bad > 0, old, buffer))
        self.model.drop_gradients()
        # As DistributedDataParallel does: statistics kept in buffers are those of the first one.
        self.world.share(buffers)
        self.skips.add(bad, losses)
        counters.step += 1
        # On a CPU it costs nothing to look at once.
        if self.world.device.type == "cpu" or counters.step % config.log_every_steps == 0:
            self.skips.read(counters, scaled=self.scale.enabled)

    def backward_all(
        self, batches: list[Any], buffers: list[Tensor], before: list[Tensor]
    ) -> list[dict[str, Tensor]]:
        """The losses of each batch, whose gradients are added up. Every batch finds the buffers as
        they were `before`, and what the first makes of them stays: as it is among processes."""
        losses = [self.backward(batches[0], 0)]
        first = [buffer.clone() for buffer in buffers] if len(batches) > 1 else []
        for index, batch in enumerate(batches[1:], start=1):
            copy_all(buffers, before)
            losses.append(self.backward(batch, index))
        if first:
            copy_all(buffers, first)
        return losses

    def backward(self, batch: Any, index: int) -> dict[str, Tensor]:
        """Add the gradients of one batch to the parameters; return its losses and their total."""
        world, weights = self.world, self.task.weights
        path = (self.counters.step, self.position(index))
        rng = generator(derive(self.config.seed, "losses", *path), world.device)
        # Dropout and the like know only the global generator.
        torch.manual_seed(derive(self.config.seed, "global", *path))
        with world.autocast(self.config.amp):
            losses = self.task.losses(to_device(batch, world.device), rng, self.counters.step)
        for key in weights:
            if key not in losses:
                raise ConfigError(
                    f'There is a weight for the loss "{key}", but the losses are '
                    f"{', '.join(sorted(losses))}: correct the name or remove the weight."
                )
        total = torch.stack([weight * losses[key].float() for key, weight in weights.items()]).sum()
        self.scale.scaled(total / self.config.accumulate).backward()  # type: ignore[no-untyped-call]
        return {**losses, "total": total.detach()}

    def clip(self) -> Tensor:
        """Limit the norm of all gradients together; return what it was before."""
        norm = self.model.norm(self.world)
        if self.config.clip_norm > 0:
            torch.nn.utils.clip_grads_with_norm_(
                self.model.trained.values(), self.config.clip_norm, norm
            )
        return norm

    def position(self, index: int) -> int:
        """Return the number of this process's batch ``index`` among all batches of a step.

        Seeds depend on it, so that processes and accumulation are interchangeable.
        """
        return self.world.rank * self.config.accumulate + index

    def batches(self) -> Prefetcher | WorkerBatches:
        """Return what draws this process's batches ahead of time."""
        first, pin = self.counters.step * self.config.accumulate, self.world.device.type == "cuda"
        if self.config.workers:
            return WorkerBatches(self.draw, first, self.config.workers, pin=pin)
        return Prefetcher(self.draw, first, depth=2 * self.config.accumulate, pin=pin)

    def draw(self, number: int) -> Any:
        """Return this process's batch of that number. Called in a thread or a worker process."""
        step, index = divmod(number, self.config.accumulate)
        position = self.position(index)
        rng = generator(derive(self.config.seed, "step", step, position))
        return self.task.batch(rng, step * self.config.accumulate * self.world.size + position)

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
        if means and isinstance(self.task, WatchedTask):
            self.task.watch(step, step - logged_step, means)
        if self.log is None or not means:
            return
        rate = (step - logged_step) / max(now - logged_at, 1e-9)
        minutes = self.elapsed() / 60.0
        entry = {
            "step": step,
            "minutes": minutes,
            # That of parameters without a factor.
            "lr": self.optimizer.param_groups[0]["lr"] / self.optimizer.param_groups[0]["lr_scale"],
            "grad_norm": means.pop("grad_norm"),
            "losses": means,
            "steps_per_second": rate,
            "skipped_steps": self.counters.skipped_steps,
        }
        self.log.write(entry)
        if not logged_step:
            tell_untouched(self.optimizer, self.model.trained)
        _logger.info(
            "step %d  %.2f steps/s  %.0f min left  loss %.4f  %s",
            step,
            rate,
            minutes * (1.0 - share) / max(share, 1e-9),
            means["total"],
            _listed(means),
        )

    def evaluate_once(self) -> None:
        """Evaluate, unless that is done for this step."""
        if self.exported != self.counters.step:
            self.evaluate()

    def evaluate(self) -> None:
        """Validate and export the averaged weights, in the first process."""
        self.exported = self.counters.step
        if self.log is None and not self.model.sharded:
            return
        averaged = self.ema.applied() if self.ema is not None else nullcontext()
        with averaged:
            # Processes that share the parameters compute together.
            self.figures = held_out_figures(self.task)
            model = self.model.exported()
            if self.log is None or model is None:
                return
            export_model(self.task, model, self.figures, self.counters, self.elapsed(), self.out)
        step = self.counters.step
        self.log.write({"step": step, "minutes": self.elapsed() / 60.0, "validation": self.figures})
        _logger.info("step %d  validation  %s", step, _listed(self.figures))

    def save(self) -> None:
        """Save the state, in the first process."""
        if not self.world.is_main and not self.model.sharded:
            return
        self.skips.read(self.counters, scaled=self.scale.enabled)
        model, moments = self.model, optimizer_tensors(self.optimizer, self.model.trained)
        parts = {
            "model": model.state(),
            "optimizer": model.gathered(moments),
            "ema": model.gathered(self.ema.tensors()) if self.ema is not None else {},
            "scale": self.scale.tensors(),
        }
        if not self.world.is_main:
            return
        tensors = {f"{part}/{key}": t for part, named in parts.items() for key, t in named.items()}
        save_state(
            self.out / STATE_FOLDER,
            tensors,
            dataclasses.replace(self.counters, elapsed_seconds=self.elapsed()),
            self.identity,
            self.config.keep_checkpoints,
        )

    def restore(self) -> dict[str, dict[str, Tensor]]:
        """Take up the newest saved state, if any, in all processes alike.

        Returns what is to be restored once the optimiser stands, by part and name.
        """
        saved, model = load_state(self.out / STATE_FOLDER), self.task.model
        parts: dict[str, dict[str, Tensor]] = {"optimizer": {}, "ema": {}, "scale": {}, "model": {}}
        if saved is not None:
            check_identity(saved.identity, self.identity, self.out)
            self.counters = saved.counters
            for key, tensor in saved.tensors.items():
                part, _, name = key.partition("/")
                parts[part][name] = tensor
            checkpoint.load_state(model, parts.pop("model"))
            _logger.info("Resuming at step %d from %s.", self.counters.step, self.out)
        if len(set(self.world.gather(self.counters.step))) > 1:
            raise ConfigError(f"All machines must share the folder {self.out}: they see others.")
        self.world.share([*model.parameters(), *model.buffers()])
        return parts

    def restore_moments(self, saved: dict[str, dict[str, Tensor]]) -> None:
        """Take up what `restore` returned."""
        moments = {
            key: self.model.divided(key.partition("/")[2], tensor)
            for key, tensor in saved["optimizer"].items()
        }
        load_optimizer_tensors(self.optimizer, self.model.trained, moments)
        if self.ema is not None:
            averages = {name: self.model.divided(name, t) for name, t in saved["ema"].items()}
            self.ema.load(averages)
        self.scale.load(saved["scale"])

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


@torch.no_grad()
def copy_all(into: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    """Give each tensor the values of its fellow."""
    for tensor, value in zip(into, values, strict=True):
        tensor.copy_(value)
