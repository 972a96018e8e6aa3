"""Training of the generator learns on a tiny corpus, and exports what can be loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from speechkit.core.rng import derive, generator
from speechkit.diffusion.dataset import GeneratorDataset
from speechkit.diffusion.generator import load_generator
from speechkit.diffusion.task import GeneratorTask, GeneratorTaskConfig
from tests.diffusion.builders import SMALL, live_generator
from tests.facodec.builders import TinyData

CONFIG = GeneratorTaskConfig(
    frames=700, target_frames=(50, 60), duration_batch_size=6, target_phones=20
)


def task_on(data: TinyData, config: GeneratorTaskConfig = CONFIG) -> GeneratorTask:
    def dataset(validation: bool) -> GeneratorDataset:
        return GeneratorDataset(
            data.corpus, data.alignment, data.codes, SMALL,
            prompt_drop=config.prompt_drop, held_out=0.25, validation=validation,
        )  # fmt: skip

    model = live_generator().train()
    return GeneratorTask(model, dataset(False), dataset(True), config)


def test_training_learns(data: TinyData) -> None:
    task = task_on(data)
    batches = [task.batch(generator(derive(0, number))) for number in range(5)]
    optimizer = torch.optim.Adam(task.model.parameters(), lr=1e-2)
    totals = []
    for step in range(20):
        losses = task.losses(batches[step % 5], generator(0), step)
        total = torch.stack([losses[key] * w for key, w in task.weights.items()]).sum()
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        totals.append(float(total.detach()))
    # The same five batches at the start and at the end.
    assert sum(totals[-5:]) < 0.9 * sum(totals[:5])
    assert all(p.grad is not None for p in task.model.parameters())


def test_stages_are_as_even_as_the_batch_allows(data: TinyData) -> None:
    config = replace(CONFIG, stage_share=(0.25, 0.5, 0.25), duration_batch_size=0, frames=2400)
    task = task_on(data, config)
    seen = [task.batch(generator(number))["frame"].draws.stage_B for number in range(40)]
    for stage_B in seen:
        counts = torch.bincount(stage_B, minlength=3)
        even = len(stage_B) * torch.tensor([0.25, 0.5, 0.25])
        assert bool(((counts - even).abs() <= 1).all())
    # Which item trains which stage is drawn.
    assert len({tuple(stage_B.tolist()) for stage_B in seen}) > 20


def test_losses_follow_the_batch(data: TinyData) -> None:
    task = task_on(data)
    batches = [task.batch(generator(seed)) for seed in (0, 0, 1)]
    one, same, other = (task.losses(batch, generator(0), 0) for batch in batches)
    assert set(task.weights) <= set(one)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["frame/nll"], other["frame/nll"])


def test_validation_is_repeatable_and_covers_every_codebook(data: TinyData, tmp_path: Path) -> None:
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
