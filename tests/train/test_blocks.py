"""Loss scale and blocks: what must not change what is learned does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
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

CONFIG = TrainConfig(steps=5, lr=0.02, log_every_steps=1, decay="constant", device="cpu")


class Block(nn.Module):
    """Some layers."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.layers(x)
        return made


class BlockedTask(TinyTask):
    """The tiny network with its last layers as two blocks, of which one drops out."""

    def __init__(self) -> None:
        super().__init__()
        head, norm, *rest = self.model
        self.model = nn.Sequential(head, norm, Block(*rest[:-1]), Block(rest[-1]))

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
    inside = task.model.get_submodule("2.layers.0")
    inside.register_forward_hook(lambda *_: seen.append(1))
    one = dataclasses.replace(CONFIG, steps=1, activation_checkpointing=True)
    train(task, one, tmp_path)
    # Once forward and once again, and once in the validation.
    assert len(seen) == 3


@pytest.mark.parametrize("setting", ["activation_checkpointing", "compile"])
def test_a_task_without_blocks_says_so(tmp_path: Path, setting: str) -> None:
    wanted: dict[str, Any] = {setting: True}
    with pytest.raises(ConfigError, match=f"TinyTask names no blocks: train without {setting}"):
        train(TinyTask(), dataclasses.replace(CONFIG, **wanted), tmp_path)


@pytest.mark.slow
def test_blocks_are_compiled_one_by_one_and_learn_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captured as torch.compile does, and run as captured: without the minute that g++ takes."""
    captured: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        captured.append(graph)
        return graph.forward

    # The suite switches the compiler off for everything else.
    monkeypatch.delenv("TORCHDYNAMO_DISABLE", raising=False)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    train(BlockedTask(), dataclasses.replace(CONFIG, compile=True), tmp_path / "compiled")
    assert len(captured) >= 2
    train(BlockedTask(), CONFIG, tmp_path / "plain")
    plain = _tensors(tmp_path / "plain")
    for name, tensor in _tensors(tmp_path / "compiled").items():
        torch.testing.assert_close(tensor, plain[name], rtol=1e-4, atol=1e-5, msg=name)


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
