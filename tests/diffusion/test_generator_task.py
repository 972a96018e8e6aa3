"""Training of the generator learns on a tiny corpus, and exports what can be loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from speechkit.core.rng import derive, generator
from speechkit.diffusion.generator import load_generator
from speechkit.diffusion.sequences import Sequences
from speechkit.diffusion.task import GeneratorTask, GeneratorTaskConfig
from tests.diffusion.builders import SMALL, live_generator
from tests.facodec.builders import TinyData

CONFIG = GeneratorTaskConfig(
    batch_size=6, target_frames=50, duration_batch_size=6, target_phones=20
)


def task_on(data: TinyData, config: GeneratorTaskConfig = CONFIG) -> GeneratorTask:
    def sequences(validation: bool) -> Sequences:
        return Sequences(
            data.corpus, data.alignment, data.codes, SMALL, target_frames=config.target_frames,
            prompt_drop=config.prompt_drop, held_out=0.25, validation=validation,
        )  # fmt: skip

    model = live_generator().train()
    return GeneratorTask(model, sequences(False), sequences(True), config)


def test_training_learns(data: TinyData) -> None:
    task = task_on(data)
    batch = task.batch(generator(0))
    optimizer = torch.optim.Adam(task.model.parameters(), lr=1e-2)
    totals = []
    for step in range(20):
        losses = task.losses(batch, generator(derive(0, step % 5)), step)
        total = torch.stack([losses[key] * w for key, w in task.weights.items()]).sum()
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        totals.append(float(total.detach()))
    # The same five draws of masks and books at the start and at the end.
    assert sum(totals[-5:]) < 0.9 * sum(totals[:5])
    assert all(p.grad is not None for p in task.model.parameters())


def test_losses_follow_the_generator(data: TinyData) -> None:
    task = task_on(data)
    batch = task.batch(generator(0))
    one, same, other = (task.losses(batch, generator(seed), 0) for seed in (0, 0, 1))
    assert set(task.weights) <= set(one)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["frame/nll"], other["frame/nll"])


def test_validation_is_repeatable_and_covers_every_book(data: TinyData, tmp_path: Path) -> None:
    task = task_on(data)
    task.model.eval()
    figures = task.validate()
    assert figures == task.validate()
    assert {key.rpartition("_")[2] for key in figures if key.startswith("nll/")} >= set("012345")
    task.export(tmp_path, task.model)
    loaded = load_generator(tmp_path)
    assert loaded.config == task.model.config
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, task.model.state_dict()[name]), name


def test_durations_can_be_left_out(data: TinyData) -> None:
    task = task_on(data, replace(CONFIG, duration_batch_size=0))
    losses = task.losses(task.batch(generator(0)), generator(0), 0)
    assert not [key for key in (*losses, *task.weights) if key.startswith("duration")]
