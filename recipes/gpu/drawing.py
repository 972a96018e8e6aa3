"""Whether data keep up with a training: `python -m recipes.gpu.drawing --data data/train.corpus`.

For codec (phase acoustic), generator and self-supervised pre-training with the small recipes: what
drawing a batch takes beside a step, in CPU time, and steps a minute with `train.workers` 0, 1, 2
and how much of that time the step waited for its batch. The corpus must be aligned and encoded by
the bundled codec. Rounds take turns, so that a machine with other work treats all alike: compare
within a row. It trains networks that are thrown away, and writes nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from speechkit.core.checkpoint import WEIGHTS
from speechkit.core.config import load_toml
from speechkit.core.rng import derive, generator
from speechkit.data.alignment import Alignment
from speechkit.data.codes import CorpusCodes
from speechkit.data.packed import PackedCorpus
from speechkit.diffusion.train import GeneratorTraining, generator_task
from speechkit.facodec.train import PHASES, CodecTraining, Start
from speechkit.ssl.checkpoints import build_pretrainer
from speechkit.ssl.crops import CropDataset
from speechkit.ssl.guard import CollapseGuard
from speechkit.ssl.pretrain import PretrainConfig
from speechkit.ssl.task import PretrainTask
from speechkit.train import Task, TrainConfig
from speechkit.train.distributed import World, pick_device
from speechkit.train.optimizer import build_optimizer
from speechkit.train.prefetch import Prefetcher, to_device
from speechkit.train.workers import WorkerBatches

RECIPES = Path(__file__).resolve().parents[1]


def codec(data: Path) -> tuple[Task, TrainConfig]:
    """The acoustic phase of the small codec."""
    recipe = load_toml(RECIPES / "facodec/small.toml", CodecTraining)
    return PHASES["acoustic"](Start(recipe=recipe, data=data, init=None)), recipe.train


def speaker(data: Path) -> tuple[Task, TrainConfig]:
    """The small generator over the bundled codec."""
    recipe = load_toml(RECIPES / "diffusion/small.toml", GeneratorTraining)
    corpus = PackedCorpus(data)
    task = generator_task(recipe, Alignment(corpus), CorpusCodes(corpus), WEIGHTS / "codec")
    return task, recipe.train


def pretrainer(data: Path) -> tuple[Task, TrainConfig]:
    """The small wav2vec 2.0, which needs no units."""
    config = load_toml(RECIPES / "ssl/wav2vec2-small.toml", PretrainConfig)
    crops = CropDataset(PackedCorpus(data), config.data, config.model, config.train.seed)
    model = build_pretrainer(config.model, config.train.seed).train()
    return PretrainTask(model, crops, CollapseGuard(config=config.guard)), config.train


TRAININGS: Mapping[str, Callable[[Path], tuple[Task, TrainConfig]]] = {
    "codec": codec,
    "generator": speaker,
    "ssl": pretrainer,
}
"""What can be asked for."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """Some steps in a row with so many workers."""

    seconds: float
    """Time of a step, its batch included."""
    waited: float
    """Share of it in which the step waited for its batch."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a training needs of its data."""

    draw_seconds: float
    """CPU time of drawing a batch."""
    step_seconds: float
    """CPU time of a step: forward, backward, optimiser."""
    rounds: Mapping[int, Sequence[Round]]
    """By number of workers."""

    def row(self, name: str) -> str:
        """A row of the table; medians over the rounds."""
        cells = [f"{1e3 * self.draw_seconds:.0f}", f"{1e3 * self.step_seconds:.0f}"]
        cells.append(f"{100 * self.draw_seconds / self.step_seconds:.1f} %")
        for rounds in self.rounds.values():
            seconds = statistics.median(one.seconds for one in rounds)
            waited = statistics.median(one.waited for one in rounds)
            cells.append(f"{60 / seconds:.1f} ({100 * waited:.1f} %)")
        return f"| {name} | " + " | ".join(cells) + " |"


def heading(workers: Sequence[int]) -> str:
    """The head of the table."""
    columns = ["training", "drawing, CPU ms", "step, CPU ms", "share"]
    columns += [f"steps a minute with {count} (waited)" for count in workers]
    return "| " + " | ".join(columns) + " |\n| --- |" + " ---: |" * (len(columns) - 1)


def measure(
    task: Task, config: TrainConfig, workers: Sequence[int], steps: int, rounds: int
) -> Found:
    """Draw and step alone, then together with each number of workers in turn."""
    world = World(rank=0, size=1, device=pick_device(config.device))
    task.model.to(world.device)
    wanted = {name: p for name, p in task.model.named_parameters() if p.requires_grad}
    optimizer = build_optimizer(wanted, config)

    def draw(number: int) -> Any:
        return task.batch(generator(derive(config.seed, "step", number, 0)), number)

    def step(batch: Any, number: int) -> None:
        rng = generator(derive(config.seed, "losses", number), world.device)
        with world.autocast(config.amp):
            losses = task.losses(to_device(batch, world.device), rng, number)
        weights = task.weights
        torch.stack([losses[k].float() * w for k, w in weights.items()]).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        if world.device.type == "cuda":
            torch.cuda.synchronize()

    batches = [draw(number) for number in range(steps)]
    # The first of each opens files and reserves memory.
    step(batches[0], 0)
    draw_seconds = statistics.mean(_cpu_seconds(draw, number) for number in range(steps))
    step_seconds = statistics.mean(_cpu_seconds(step, b, n) for n, b in enumerate(batches))
    found: dict[int, list[Round]] = {count: [] for count in workers}
    for _ in range(rounds):
        for count, done in found.items():
            done.append(_round(draw, step, count, steps))
    return Found(draw_seconds=draw_seconds, step_seconds=step_seconds, rounds=found)


def _round(
    draw: Callable[[int], Any], step: Callable[[Any, int], None], workers: int, steps: int
) -> Round:
    """Do the steps, after one that waits until all workers are there."""
    source = WorkerBatches(draw, 0, workers) if workers else Prefetcher(draw, 0)
    waited = 0.0
    with source as batches:
        step(batches.get(), 0)
        start = time.monotonic()
        for number in range(1, steps + 1):
            before = time.monotonic()
            batch = batches.get()
            waited += time.monotonic() - before
            step(batch, number)
        seconds = time.monotonic() - start
    return Round(seconds=seconds / steps, waited=waited / seconds)


def _cpu_seconds(work: Callable[..., object], *given: object) -> float:
    """CPU time of this process for a call."""
    start = time.process_time()
    work(*given)
    return time.process_time() - start


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    every = ", ".join(TRAININGS)
    parser.add_argument("trainings", nargs="*", metavar="NAME", help=f"of {every} (all)")
    parser.add_argument("--data", type=Path, required=True, help="an aligned and encoded corpus")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--steps", type=int, default=8, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if unknown := sorted(set(args.trainings) - set(TRAININGS)):
        parser.error(f"there is no {', '.join(unknown)}: give any of {every}")
    if min(args.steps, args.rounds) < 1 or min(args.workers) < 0:
        parser.error("--steps and --rounds are at least 1, --workers at least 0")
    print(heading(args.workers), flush=True)
    for name in args.trainings or TRAININGS:
        print(name, file=sys.stderr, flush=True)
        task, config = TRAININGS[name](args.data)
        print(measure(task, config, args.workers, args.steps, args.rounds).row(name), flush=True)


if __name__ == "__main__":
    main()
