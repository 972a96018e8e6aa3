"""Loss scale and blocks: what must not change what is learned does not."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from speechkit.core.errors import ConfigError
from speechkit.train import TrainConfig, train
from speechkit.train.scale import GROWTH_STEPS, LossScale
from speechkit.train.state import load_state
from tests.train.tiny_task import TinyTask

ROOT = Path(__file__).parents[2]
CONFIG = TrainConfig(steps=5, lr=0.02, log_every_steps=1, decay="constant", device="cpu")


class BlockedTask(TinyTask):
    """The tiny network with its first layers as one block, which drops out."""

    def __init__(self) -> None:
        super().__init__()
        head, norm, *rest = self.model
        self.model = nn.Sequential(head, norm, nn.Sequential(*rest[:-1]), rest[-1])

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return [self.model[2], self.model[3]]


def _tensors(out: Path) -> dict[str, torch.Tensor]:
    saved = load_state(out / "state")
    assert saved is not None
    return saved.tensors


def test_computing_blocks_twice_changes_no_bit(tmp_path: Path) -> None:
    train(BlockedTask(), CONFIG, tmp_path / "once")
    twice = dataclasses.replace(CONFIG, activation_checkpointing=True)
    train(BlockedTask(), twice, tmp_path / "twice")
    once = _tensors(tmp_path / "once")
    for name, tensor in _tensors(tmp_path / "twice").items():
        assert torch.equal(tensor, once[name]), name


def test_a_block_is_computed_again_in_the_backward_pass(tmp_path: Path) -> None:
    task, seen = BlockedTask(), list[int]()
    inside = task.model.get_submodule("2.0")
    inside.register_forward_hook(lambda *_: seen.append(1))
    one = dataclasses.replace(CONFIG, steps=1, activation_checkpointing=True)
    train(task, one, tmp_path)
    # Once forward and once again, and once in the validation.
    assert len(seen) == 3


def test_a_task_without_blocks_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TinyTask names no blocks"):
        train(TinyTask(), dataclasses.replace(CONFIG, activation_checkpointing=True), tmp_path)


COMPILED = """
import dataclasses, sys
from pathlib import Path
import torch._dynamo
from speechkit.train import train
from tests.train.test_blocks import CONFIG, BlockedTask
from tests.train.tiny_task import TinyTask
sys.modules["torch.utils.tensorboard"] = None
for task in (TinyTask, BlockedTask):
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    out = Path(sys.argv[1]) / task.__name__
    train(task(), dataclasses.replace(CONFIG, compile=True), out)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > before, task
"""


@pytest.mark.slow
def test_compiled_training_learns_the_same(tmp_path: Path) -> None:
    """The compiler fuses operations, so bits may differ; it needs a C++ compiler."""
    if shutil.which("g++") is None:
        pytest.skip("no g++: torch.compile needs one on a CPU")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    # The suite switches the compiler off for everything else.
    del environment["TORCHDYNAMO_DISABLE"]
    subprocess.run(
        [sys.executable, "-c", COMPILED, str(tmp_path)], check=True, env=environment, timeout=600
    )
    for task in (TinyTask, BlockedTask):
        train(task(), CONFIG, tmp_path / f"plain-{task.__name__}")
        plain = _tensors(tmp_path / f"plain-{task.__name__}")
        for name, tensor in _tensors(tmp_path / task.__name__).items():
            torch.testing.assert_close(tensor, plain[name], rtol=1e-3, atol=1e-4, msg=name)


def test_the_loss_scale_falls_at_once_and_rises_slowly() -> None:
    scale = LossScale(torch.device("cpu"), enabled=True)
    one = torch.ones(())
    first = float(scale.scaled(one))
    scale.update(torch.ones(()))
    assert float(scale.scaled(one)) == first / 2
    for _ in range(GROWTH_STEPS - 1):
        scale.update(torch.zeros(()))
    assert float(scale.scaled(one)) == first / 2
    again = LossScale(torch.device("cpu"), enabled=True)
    again.load(scale.tensors())
    for one_more in (scale, again):
        one_more.update(torch.zeros(()))
        assert float(one_more.scaled(one)) == first
    gradients = [torch.full((2,), 3 * first)]
    scale.unscale(gradients)
    assert gradients[0].tolist() == [3.0, 3.0]


def test_an_overflow_skips_a_step_and_trains_on(tmp_path: Path) -> None:
    class Overflow(TinyTask):
        def losses(self, batch: Any, rng: torch.Generator, step: int) -> dict[str, torch.Tensor]:
            losses = super().losses(batch, rng, step)
            # Too large for the scale that training starts with, not for half of it.
            return {**losses, "fit/l2": losses["fit/l2"] * (1e34 if step == 1 else 1.0)}

    report = train(Overflow(), dataclasses.replace(CONFIG, amp="fp16"), tmp_path)
    assert report.skipped_steps == 1
    assert float(_tensors(tmp_path)["scale/scale"]) == 2.0**15
