"""A fairseq2 recipe around a `Job`: model family, units, schedule, trainer (API of 0.8)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechkit.ssl.fairseq import require_fairseq2
from speechkit.ssl.training.budget import Budget, learning_rate_factor
from speechkit.ssl.training.config import RunConfig
from speechkit.ssl.training.export import bare, export_atomically
from speechkit.ssl.training.job import Job
from speechkit.ssl.training.reader import FixedReader, NumberedReader

require_fairseq2()

from fairseq2.composition import register_model_family  # noqa: E402  # import fixed first
from fairseq2.evaluator import EvalUnit  # noqa: E402
from fairseq2.gang import Gang, Gangs  # noqa: E402
from fairseq2.metrics import Mean, MetricBag  # noqa: E402
from fairseq2.metrics.recorders import MetricDescriptor  # noqa: E402
from fairseq2.optim.lr_schedulers import LRScheduler  # noqa: E402
from fairseq2.recipe.base import Recipe, RecipeContext  # noqa: E402
from fairseq2.recipe.component import register_component  # noqa: E402
from fairseq2.recipe.config import (  # noqa: E402
    CommonSection,
    GangSection,
    LRSchedulerSection,
    ModelSection,
    OptimizerSection,
    RegimeSection,
    TrainerSection,
)
from fairseq2.runtime.dependency import DependencyContainer, DependencyResolver  # noqa: E402
from fairseq2.task import Task  # noqa: E402
from fairseq2.trainer import Trainer, TrainUnit  # noqa: E402
from torch.optim import Optimizer  # noqa: E402

FAMILY = "speechkit_ssl"
SCHEDULE = "speechkit_budget"


@dataclass(kw_only=True)
class NoConfig:
    """The model family's config: the job knows it all."""


@dataclass(kw_only=True)
class RecipeConfig:
    """The sections that fairseq2 wants to see."""

    model: ModelSection = field(default_factory=lambda: ModelSection(family=FAMILY))
    gang: GangSection = field(default_factory=GangSection)
    trainer: TrainerSection = field(default_factory=TrainerSection)
    optimizer: OptimizerSection = field(default_factory=OptimizerSection)
    lr_scheduler: LRSchedulerSection = field(
        default_factory=lambda: LRSchedulerSection(name=SCHEDULE, config=NoConfig())
    )
    regime: RegimeSection = field(default_factory=RegimeSection)
    common: CommonSection = field(default_factory=CommonSection)


class BudgetLR(LRScheduler):
    """Follows the budget, so that extending a finished run goes on where its new length says."""

    def __init__(self, optimizer: Optimizer, config: RunConfig, budget: Budget) -> None:
        self._config, self._budget = config, budget
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        """Return the rate of each parameter group for the next update."""
        factor = learning_rate_factor(self._config, self.last_epoch, self._budget.progress)
        return [float(base) * factor for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Return the number of the update."""
        return {"last_epoch": self.last_epoch, "_step_count": self._step_count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from that update."""
        self.__dict__.update(state_dict)


class JobTrainUnit(TrainUnit[Any]):
    """Computes losses, keeps the budget, and watches for a collapse."""

    def __init__(
        self, job: Job, model: nn.Module, budget: Budget, gangs: Gangs, stop_at_once: list[str]
    ) -> None:
        self.model_ = model
        self.trainer: Trainer | None = None
        self.why_stopped: str | None = None
        self._job, self._budget, self._gang = job, budget, gangs.root
        self._device = gangs.device
        self._collapse = ""
        self._signals = stop_at_once

    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        """Name what is logged."""
        for name in ("loss", *self._job.figures):
            metric_bag.add(name, Mean())

    def set_step_nr(self, step_nr: int) -> None:
        """Agree on progress before the update numbered ``step_nr``, from 1."""
        if self._job.before_update is not None:
            self._job.before_update(bare(self.model_), step_nr - 1)
        used, stop = self._budget.used(step_nr), float(bool(self._collapse or self._signals))
        if self._gang.size > 1:
            used, stop = _largest(self._gang, self._device, used, stop)
        self._budget.progress = used
        if (used >= 1.0 or stop > 0) and self.trainer is not None:
            if stop > 0:
                self.why_stopped = self._collapse or "signal"
            self.trainer.request_stop()

    def process_batch(self, batch: Any, metric_bag: MetricBag) -> tuple[Tensor, int | None]:
        """Return the summed loss and the targets it is over."""
        result = self.model_(batch)
        targets = int(result["targets"])
        figures = log_figures(self._job, result, targets, metric_bag)
        if self._job.guard is not None and not self._collapse:
            self._collapse = self._job.guard.watch(batch.update, figures) or ""
        return result["total"], targets


class JobEvalUnit(EvalUnit[Any]):
    """Computes the same figures on held-out batches."""

    def __init__(self, job: Job, model: nn.Module) -> None:
        self._job, self._model = job, model

    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        """Name what is logged."""
        for name in ("loss", *self._job.figures):
            metric_bag.add(name, Mean())

    def process_batch(self, batch: Any, metric_bag: MetricBag) -> None:
        """Add the figures of one batch."""
        result = self._model(batch)
        log_figures(self._job, result, int(result["targets"]), metric_bag)


def as_number(value: Any) -> str:
    """Return a figure with four digits."""
    return f"{float(value):.4g}"


def log_figures(
    job: Job, result: dict[str, Tensor], targets: int, metric_bag: MetricBag
) -> dict[str, float]:
    """Add a batch's figures to the bag, weighted by its targets; return them."""
    figures = {"loss": float(result["total"].detach()) / max(targets, 1)}
    for name in job.figures:
        value = float(result[name].detach())
        figures[name] = value / max(targets, 1) if name.startswith("loss/") else value
    for name, value in figures.items():
        if math.isfinite(value):
            metric_bag.get(name, Mean).update(torch.tensor(value), weight=targets)
    return figures


def _largest(gang: Gang, device: torch.device, *values: float) -> list[float]:
    """Return each value's maximum over the processes."""
    mine = torch.tensor(values, dtype=torch.float64, device=device)
    everybody = [torch.zeros_like(mine) for _ in range(gang.size)]
    gang.all_gather_to_list(everybody, mine)
    return [float(value) for value in torch.stack(everybody).amax(dim=0)]


class JobRecipe(Recipe):
    """Trains a job."""

    def __init__(self, job: Job, config: RunConfig, out: Path, signals: list[str]) -> None:
        self._job, self._config, self._out = job, config, out
        self._budget = Budget(config)
        self._signals = signals
        self.unit: JobTrainUnit | None = None
        self.updates = 0
        """Updates made, known once the trainer ran."""

    @property
    def config_kls(self) -> type[object]:
        """The class of the sections."""
        return RecipeConfig

    @property
    def seconds(self) -> float:
        """Time spent over all parts of the run."""
        return self._budget.seconds

    def register(self, container: DependencyContainer) -> None:
        """Make model and schedule known to fairseq2."""
        register_model_family(
            container,
            FAMILY,
            nn.Module,
            NoConfig,
            factory=lambda config: self._job.build(),
            supports_meta=False,
            fsdp_applier=apply_fsdp,
        )
        register_component(
            container, LRScheduler, SCHEDULE, config_kls=NoConfig, factory=self._schedule
        )
        for name in self._job.figures:
            described = MetricDescriptor(
                name, name.removeprefix("figure/"), 100, formatter=as_number
            )
            container.collection.register_instance(MetricDescriptor, described)

    def _schedule(self, resolver: DependencyResolver, config: NoConfig) -> BudgetLR:
        """Make the learning-rate schedule."""
        return BudgetLR(resolver.resolve(Optimizer), self._config, self._budget)

    def create_task(self, context: RecipeContext) -> Task:
        """Build the trainer, with an export at every checkpoint."""
        gangs, job = context.gangs, self._job
        model = context.get_data_parallel_model()
        unit = self.unit = JobTrainUnit(job, model, self._budget, gangs, self._signals)
        train = NumberedReader(job.draw, gangs, self._config.accumulate, self._budget)
        held_out = job.held_out()
        if len(held_out) >= gangs.dp.size:
            valid = ([JobEvalUnit(job, model)], [FixedReader(held_out, gangs)])
            trainer = context.create_trainer(unit, train, *valid)
        else:
            trainer = context.create_trainer(unit, train)
        unit.trainer = trainer

        def export(args: Any) -> None:
            self.updates = trainer.step_nr
            export_atomically(job, model, self._out / "model", gangs.root.rank == 0)

        trainer.register_checkpoint_save_hook(export)
        return trainer


def apply_fsdp(model: nn.Module, granularity: str, wrapper: Any) -> nn.Module:
    """Shard each Transformer block, then the rest; fairseq2 calls it under `fsdp`."""
    if granularity != "model":
        layers = model.get_submodule("encoder.encoder.layers")
        for name, layer in list(layers.named_children()):
            setattr(layers, name, wrapper(layer))
    wrapped: nn.Module = wrapper(model)
    return wrapped
