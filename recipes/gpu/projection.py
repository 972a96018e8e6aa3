"""What the paper-size trainings cost: `python -m recipes.gpu.projection --price 2.5`.

Counts the operations of a few items' forward and backward pass at full size, scales them to the
recipe's batch, and multiplies by its steps and GPUs. That pass, and the optimiser's step after it,
are real, on this machine's CPU, and timed: the table says what share of the rate of a matrix
product they reached. Run it from the top of a checkout; it needs up to 9 GB of memory, trains
nothing and keeps nothing.
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
from speechkit.train.flops import Machine, step_flops
from speechkit.train.optimizer import build_optimizer


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One step of a `Part`."""

    parameters: int
    """Of the model and what trains it."""
    counted: int
    """Operations of the part's batch."""
    scaled: float
    """Operations of an update of the recipe in one process."""
    seconds: float
    """CPU time of the step, optimiser included."""
    gflops: float
    """Rate of a matrix product, the mean of before and after, 10⁹ operations a CPU second."""
    peak_gb: float
    """Most memory of the program so far."""


def measure(build: Callable[[Path], Part], step: int) -> Measured:
    """Build a training and do a step of it."""
    with tempfile.TemporaryDirectory() as folder:
        part = build(Path(folder) / "data")
        model = part.task.model
        parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        optimizer = build_optimizer(parameters, part.train)
        before = matrix_rate()
        start = time.process_time()
        counted = step_flops(part.task, part.batch, step)
        optimizer.step()
        seconds = time.process_time() - start
        rate = (before + matrix_rate()) / 2
        scaled = counted * part.scale
        if part.apart is not None:
            scaled += step_flops(*part.apart, step) * (part.apart_scale - part.scale)
        return Measured(
            parameters=sum(p.numel() for p in model.parameters()),
            counted=counted,
            scaled=scaled * part.train.accumulate,
            seconds=seconds,
            gflops=rate / 1e9,
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
        "| training | parameters | TFLOP a step and GPU | GPUs | steps | runs | GPU hours | cost | "
        "real step | of the CPU's rate |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    total = 0.0
    for row, found in rows:
        flops = found.scaled * row.updates * row.processes * row.runs
        total += flops
        reached = found.counted / 1e9 / found.seconds / found.gflops
        lines.append(
            f"| {row.name} | {found.parameters / 1e6:.1f} M | {found.scaled / 1e12:.2f} "
            f"| {row.processes} | {row.updates:,} | {row.runs} | {machine.hours(flops):,.0f} "
            f"| ${machine.dollars(flops):,.0f} | 1/{found.scaled / found.counted:.1f} of it in "
            f"{found.seconds:.1f} CPU s | {reached:.2f} |"
        )
    lines.append(
        f"| together | | | | | | {machine.hours(total):,.0f} | ${machine.dollars(total):,.0f} | | |"
    )
    lines.append(
        f"\nAssumed of a GPU: {machine.peak_tflops:g} TFLOP/s at most, "
        f"{100 * machine.utilisation:g} % of it reached, ${machine.dollars_an_hour:g} an hour."
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
    parser.add_argument("--json", type=Path, metavar="FILE", help="what was measured, too")
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
            found[training.build] = measure(training.build, training.updates - 1)
            gc.collect()
            print(found[training.build], file=sys.stderr, flush=True)
    rows = [(training, found[training.build]) for training in wanted]
    if args.json is not None:
        figures = [{"name": row.name, **asdict(one)} for row, one in rows]
        args.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    print(table(rows, machine))


if __name__ == "__main__":
    main()
