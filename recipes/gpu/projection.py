"""What the paper-size trainings cost: `python -m recipes.gpu.projection --price 2.5`.

Counts the operations of a step at full size from the shapes alone, and multiplies by the recipe's
steps and GPUs. With --check it also does one real step on a few items on this machine's CPU,
optimiser included, and says what share of the rate of a matrix product that reached. Run it from
the top of a checkout; --check needs up to 9 GB of memory. It trains nothing and keeps nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from recipes.gpu.full_size import Part, Training, trainings
from speechkit.core.rng import generator
from speechkit.train.flops import Machine, step_flops, training_step
from speechkit.train.optimizer import build_optimizer


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A real step on a few items."""

    flops: int
    """Operations counted for it."""
    seconds: float
    """CPU time, optimiser included."""
    rate: float
    """Operations a CPU second of a matrix product, the mean of before and after."""
    peak_gb: float
    """Most memory of the program so far."""

    @property
    def reached(self) -> float:
        """Share of the rate of a matrix product."""
        return self.flops / self.seconds / self.rate


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A step of a training."""

    parameters: int
    """Of the model and what trains it."""
    flops: int
    """Operations of an update in one process."""
    checked: Checked | None = None
    """The real step, where one was asked for."""


def measure(build: Callable[[Path], Part], step: int, *, check: bool) -> Measured:
    """Build a training and count a step of it, as it is late in training."""
    with tempfile.TemporaryDirectory() as folder:
        part = build(Path(folder) / "data")
        flops = step_flops(part.task, part.batch, step) * part.train.accumulate
        parameters = sum(p.numel() for p in part.task.model.parameters())
        checked = real_step(part, step) if check else None
        return Measured(parameters=parameters, flops=flops, checked=checked)


def real_step(part: Part, step: int) -> Checked:
    """Do a step on the few items of a part, with the recipe's optimiser."""
    parameters = {n: p for n, p in part.task.model.named_parameters() if p.requires_grad}
    optimizer = build_optimizer(parameters, part.train)
    flops = step_flops(part.task, part.few, step)
    before = matrix_rate()
    start = time.process_time()
    training_step(part.task, part.few, step)
    optimizer.step()
    seconds = time.process_time() - start
    return Checked(
        flops=flops,
        seconds=seconds,
        rate=(before + matrix_rate()) / 2,
        peak_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    )


def matrix_rate(size: int = 1536, times: int = 6) -> float:
    """Operations a CPU second of a product of two float32 matrices."""
    one = torch.randn(size, size, generator=generator(0))
    _ = one @ one
    start = time.process_time()
    for _ in range(times):
        _ = one @ one
    return times * 2 * size**3 / (time.process_time() - start)


def table(rows: list[tuple[Training, Measured]], machine: Machine) -> str:
    """The rows in Markdown, and their sum."""
    lines = [
        "| training | parameters | TFLOP a step and GPU | GPUs | steps | runs | GPU hours | cost |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    total = 0.0
    for row, found in rows:
        flops = float(found.flops) * row.updates * row.processes * row.runs
        total += flops
        lines.append(
            f"| {row.name} | {found.parameters / 1e6:.1f} M | {found.flops / 1e12:.2f} "
            f"| {row.processes} | {row.updates:,} | {row.runs} | {machine.hours(flops):,.0f} "
            f"| ${machine.dollars(flops):,.0f} |"
        )
    lines.append(
        f"| together | | | | | | {machine.hours(total):,.0f} | ${machine.dollars(total):,.0f} |"
    )
    lines.append(
        f"\nAssumed of a GPU: {machine.peak_tflops:g} TFLOP/s at most, "
        f"{100 * machine.utilisation:g} % of it reached, ${machine.dollars_an_hour:g} an hour."
    )
    return "\n".join(lines)


def checks(rows: list[tuple[Training, Measured]]) -> str:
    """The real steps in Markdown; nothing where there are none."""
    found = [(row.name, one.checked) for row, one in rows if one.checked is not None]
    if not found:
        return ""
    lines = [
        "\n| real step on few items | TFLOP | CPU s | of the rate of a matrix product | GB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, one in found:
        lines.append(
            f"| {name} | {one.flops / 1e12:.3f} | {one.seconds:.1f} | {one.reached:.2f} "
            f"| {one.peak_gb:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    every = trainings()
    parser.add_argument("recipes", nargs="*", metavar="NAME", help=f"of {', '.join(every)} (all)")
    parser.add_argument("--peak", type=float, default=Machine.peak_tflops, help="TFLOP/s of a GPU")
    parser.add_argument(
        "--utilisation", type=float, default=Machine.utilisation, help="share of it, 0 to 1"
    )
    parser.add_argument(
        "--price", type=float, default=Machine.dollars_an_hour, help="dollars a GPU hour"
    )
    parser.add_argument("--check", action="store_true", help="do one real step of each, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures as they are, too")
    args = parser.parse_args()
    if unknown := sorted(set(args.recipes) - set(every)):
        parser.error(f"there is no {', '.join(unknown)}: give any of {', '.join(every)}")
    try:
        machine = Machine(
            peak_tflops=args.peak, utilisation=args.utilisation, dollars_an_hour=args.price
        )
    except ValueError as error:
        parser.error(str(error))
    found: dict[Callable[[Path], Part], Measured] = {}
    wanted = [training for name in args.recipes or every for training in every[name]]
    for training in wanted:
        print(training.name, file=sys.stderr, flush=True)
        if training.build not in found:
            found[training.build] = measure(training.build, training.updates - 1, check=args.check)
            gc.collect()
            print(found[training.build], file=sys.stderr, flush=True)
    rows = [(training, found[training.build]) for training in wanted]
    if args.json is not None:
        figures = [{"name": row.name, **asdict(one)} for row, one in rows]
        args.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    print(table(rows, machine) + checks(rows))


if __name__ == "__main__":
    main()
