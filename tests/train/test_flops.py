"""Operations of a step against what can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from speechkit.core.rng import generator
from speechkit.ssl.transformer import SelfAttention, Transformer
from speechkit.train.flops import Machine, step_flops
from tests.facodec.builders import tiny_data
from tests.facodec.training.test_paper_task import task_for
from tests.ssl.tiny import ENCODER


class Sum:
    """The sum of what a module makes of its input, as a task."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.weights = model, {"sum": 1.0}

    def batch(self, rng: torch.Generator, number: int = 0) -> Any:
        raise NotImplementedError

    def losses(self, batch: Any, rng: torch.Generator, step: int) -> dict[str, Tensor]:
        return {"sum": self.model(*batch).square().sum()}

    def validate(self) -> dict[str, float]:
        return {}

    def export(self, folder: Path, model: nn.Module) -> None:
        raise NotImplementedError


def counted(model: nn.Module, *inputs: Any) -> int:
    """Operations of a step on these inputs."""
    return step_flops(Sum(model), inputs, 0)


def test_a_linear_layer_is_two_operations_a_weight_and_row_thrice() -> None:
    rows, inputs, inner, outputs = 8, 4, 16, 3
    model = nn.Sequential(nn.Linear(inputs, inner), nn.GELU(), nn.Linear(inner, outputs))
    # Nothing asks for the gradient of the input: forward and the weight's for the first layer.
    first, second = 2 * rows * inputs * inner, 2 * rows * inner * outputs
    assert counted(model, torch.ones(rows, inputs)) == 2 * first + 3 * second


@pytest.mark.parametrize("groups", [1, 2, 12])
@pytest.mark.parametrize("transposed", [False, True])
def test_convolutions_count_their_groups(groups: int, transposed: bool) -> None:
    batch, channels, length, kernel = 2, 12, 50, 5
    kind: Any = nn.ConvTranspose1d if transposed else nn.Conv1d
    model = kind(channels, channels, kernel, padding=2, groups=groups)
    forward = 2 * batch * length * channels * (channels // groups) * kernel
    x_BCL = torch.ones(batch, channels, length)
    assert counted(model, x_BCL) == 2 * forward
    assert counted(model, x_BCL.requires_grad_()) == 3 * forward


def test_fused_attention_is_counted() -> None:
    batch, frames, width = 2, 7, ENCODER.model_dim
    projections = 4 * 2 * batch * frames * width**2
    products = 2 * 2 * batch * frames**2 * width
    x_BFD = torch.ones(batch, frames, width, requires_grad=True)
    assert counted(SelfAttention(ENCODER), x_BFD, None) == 3 * (projections + products)


class Windows(nn.Module):
    """A layer over a window whose place is drawn on the host, moved to its device in each step."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x_FD: Tensor) -> Tensor:
        self.to(x_FD.device)
        (first,) = torch.randint(3, 6, (1,), generator=generator(1)).tolist()
        assert 3 <= first < 6
        out_FD: Tensor = self.inner(x_FD[first : first + 5])
        return out_FD


def test_what_is_drawn_and_read_on_the_host_has_values() -> None:
    model = Windows()
    weight = model.inner.weight
    assert counted(model, torch.ones(12, 4)) == 2 * 2 * 5 * 4 * 4
    assert model.inner.weight is weight
    # It moves again, as any module.
    assert model.double().inner.weight.dtype == torch.float64


def test_blocks_that_are_skipped_are_counted_as_they_are_computed() -> None:
    x_BFD = torch.ones(2, 7, ENCODER.model_dim)
    counts = [
        counted(Transformer(replace(ENCODER, layer_drop=chance)).train(), x_BFD, None)
        for chance in (0.0, 0.5)
    ]
    assert counts[0] == counts[1] > 0


def test_values_of_a_batch_cannot_be_read() -> None:
    class Reads(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.tolist() else x * 2

    with pytest.raises(RuntimeError):
        counted(Reads(), torch.ones(3, requires_grad=True))


def test_two_crops_of_the_papers_codec_cost_twice_one(tmp_path: Path) -> None:
    data = tiny_data(tmp_path)
    one, two = (task_for(data, batch_size=size, start_from_batch=False) for size in (1, 2))
    counts = [step_flops(task, task.batch(generator(0)), 1) for task in (one, two)]
    assert counts[1] == pytest.approx(2 * counts[0], rel=0.01)


def test_hours_and_price_follow_from_the_assumptions() -> None:
    machine = Machine(peak_tflops=100.0, utilisation=0.5, dollars_an_hour=3.0)
    assert machine.hours(50e12 * 3600) == pytest.approx(1.0)
    assert machine.dollars(100e12 * 3600) == pytest.approx(6.0)
    with pytest.raises(ValueError, match="utilisation"):
        Machine(utilisation=0.0)
