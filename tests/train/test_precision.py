"""Half precision reaches every parameter that float32 reaches, on the tasks that people train."""

from __future__ import annotations

import pytest
import torch

from speechkit.core.rng import generator
from speechkit.train import Task
from speechkit.train.distributed import World
from speechkit.train.prefetch import to_device
from tests.train.real_tasks import RealTasks

NAMES = (
    "acoustic", "decoder", "vocoder", "adversarial", "paper", "generator", "wav2vec2", "hubert",
    "ctc",
)  # fmt: skip
WORLD = World(rank=0, size=1, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> RealTasks:
    return RealTasks(tmp_path_factory.mktemp("real"))


def reached(task: Task, amp: str) -> set[str]:
    """Names of the parameters with a gradient after one step."""
    torch.manual_seed(0)
    batch = to_device(task.batch(generator(0), 0), WORLD.device)
    with WORLD.autocast(amp):
        losses = task.losses(batch, generator(1), 2)
    total = torch.stack([weight * losses[key].float() for key, weight in task.weights.items()])
    total.sum().backward()  # type: ignore[no-untyped-call]
    named = task.model.named_parameters()
    return {name for name, parameter in named if parameter.grad is not None}


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_reaches_what_float32_reaches(real: RealTasks, name: str) -> None:
    """A copy made in half precision without gradients must not stand in for a parameter."""
    wanted = reached(real.build(name), "off")
    assert len(wanted) > 10
    assert reached(real.build(name), "bf16") == wanted
