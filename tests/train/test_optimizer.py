"""Muon: what it does to matrices, which ones it takes, and that runs with it resume and recover."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from speechkit.core.errors import ConfigError
from speechkit.core.rng import generator
from speechkit.train import TrainConfig, train
from speechkit.train.optimizer import build_optimizer, is_hidden_matrix, orthogonalised
from speechkit.train.state import load_state
from tests.train.tiny_task import TinyTask

CONFIG = TrainConfig(
    steps=10, optimizer="muon", lr=0.02, warmup_steps=3, log_every_steps=1, device="cpu"
)


class HiddenTask(TinyTask):
    """The tiny task with a stack of layers, of which Muon takes two."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.model = nn.Sequential(nn.Linear(4, 32), Layers(), nn.Linear(32, 3))
        rng = generator(3)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.1)


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden: Tensor = self.layers(inputs)
        return inputs + hidden


def _saved(out: Path) -> dict[str, Tensor]:
    loaded = load_state(out / "state")
    assert loaded is not None
    return loaded.tensors


@torch.no_grad()
def _score(task: TinyTask) -> float:
    task.model.eval()
    return task.validate()["score"]


@pytest.mark.parametrize("shape", [(3, 48, 48), (2, 32, 128), (2, 128, 32)])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_singular_values_come_near_one_and_singular_vectors_stay(
    shape: tuple[int, int, int], precision: torch.dtype
) -> None:
    matrices_NRC = torch.randn(shape, generator=generator(1)) * 1e-3
    moved_NRC = orthogonalised(matrices_NRC.to(precision)).float()
    values_NS = torch.linalg.svdvals(moved_NRC)
    assert values_NS.max() < 1.3
    # The least singular values of square noise are next to nothing and stay behind.
    assert values_NS.median() > 0.65
    left_NRS, _, right_NSC = torch.linalg.svd(matrices_NRC, full_matrices=False)
    core_NSS = left_NRS.mT @ moved_NRC @ right_NSC.mT
    diagonal_NSS = torch.diag_embed(torch.diagonal(core_NSS, dim1=-2, dim2=-1))
    limit = 1e-3 if precision == torch.float32 else 0.1
    assert (core_NSS - diagonal_NSS).abs().max() < limit


def test_matrices_of_low_rank_stay_finite_and_bounded() -> None:
    rng = generator(4)
    thin = torch.randn(64, 2, generator=rng) @ torch.randn(2, 96, generator=rng)
    matrices_NRC = torch.stack([thin, torch.zeros_like(thin), torch.full_like(thin, 1e4)])
    for precision in (torch.float32, torch.bfloat16):
        moved_NRC = orthogonalised(matrices_NRC.to(precision)).float()
        values_NS = torch.linalg.svdvals(moved_NRC)
        assert values_NS.max() < 1.3
        assert values_NS[0, :2].min() > 0.6
        assert values_NS[1].max() == 0


def test_it_takes_matrices_inside_stacks_of_layers_alone() -> None:
    names = {
        "trunk.blocks.3.attention.out.weight": (64, 64),
        "trunk.blocks.3.norm.weight": (64,),
        "trunk.blocks.3.convolution.weight": (64, 64, 5),
        "trunk.blocks.3.gate.weight": (8, 64),
        "embedding.weight": (1024, 64),
        "heads.0.weight": (1024, 64),
    }
    taken = [name for name, shape in names.items() if is_hidden_matrix(name, torch.zeros(shape))]
    assert taken == ["trunk.blocks.3.attention.out.weight"]


def test_an_update_is_as_large_as_one_of_adamw() -> None:
    sizes = {}
    gradient = torch.randn(64, 256, generator=generator(2))
    for optimizer in ("adamw", "muon"):
        parameter = nn.Parameter(torch.zeros(64, 256))
        config = replace(CONFIG, optimizer=optimizer, weight_decay=0.0)
        parameter.grad = gradient.clone()
        build_optimizer({"blocks.0.weight": parameter}, config).step()
        sizes[optimizer] = float(parameter.detach().square().mean().sqrt())
    # AdamW's first update is the sign of the gradient; later ones are about a fifth of that.
    assert sizes["muon"] == pytest.approx(0.2 * sizes["adamw"], rel=0.15)


@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
def test_a_resumed_run_with_muon_ends_with_the_same_bits(tmp_path: Path, amp: Any) -> None:
    config = replace(CONFIG, amp=amp)
    train(HiddenTask(), config, tmp_path / "whole")
    assert train(HiddenTask(stop_at=5), config, tmp_path / "parts").step == 5
    assert train(HiddenTask(), config, tmp_path / "parts").finished
    whole, parts = _saved(tmp_path / "whole"), _saved(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(tensor, parts[key]) for key, tensor in whole.items())
    moved = {key for key in whole if key.startswith("optimizer/momentum/")}
    assert moved == {f"optimizer/momentum/1.layers.{number}.weight" for number in (0, 2)}


def test_a_step_that_is_not_finite_leaves_no_trace(tmp_path: Path) -> None:
    constant = replace(CONFIG, decay="constant", warmup_steps=0)
    train(HiddenTask(bad_steps=range(4, 10)), constant, tmp_path / "bad")
    train(HiddenTask(), replace(constant, steps=4), tmp_path / "good")
    bad, good = _saved(tmp_path / "bad"), _saved(tmp_path / "good")
    kept = [key for key in good if key.startswith(("model/", "optimizer/momentum/"))]
    assert len(kept) > 4
    assert all(torch.equal(bad[key], good[key]) for key in kept)


def test_it_learns_and_another_optimizer_is_another_run(tmp_path: Path) -> None:
    task = HiddenTask()
    before = _score(task)
    train(task, replace(CONFIG, steps=60), tmp_path / "run")
    assert _score(task) > before / 4
    with pytest.raises(ConfigError, match="optimizer"):
        train(HiddenTask(), replace(CONFIG, steps=90, optimizer="adamw"), tmp_path / "run")


def test_runs_that_began_before_there_was_a_choice_go_on() -> None:
    assert "optimizer" not in replace(CONFIG, optimizer="adamw").identity()
    assert CONFIG.identity()["optimizer"] == "muon"


def test_it_wants_whole_matrices() -> None:
    with pytest.raises(ValueError, match="parallelism = ddp"):
        replace(CONFIG, parallelism="fsdp")
