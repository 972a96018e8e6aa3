"""The tasks that people train: in two processes as in one, sharded or not, whoever draws."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from speechkit.core.rng import derive, generator
from speechkit.train import TrainConfig, train
from speechkit.train.state import load_state
from speechkit.train.workers import WorkerBatches
from tests.train.processes import left_by, train_together
from tests.train.real_tasks import RealTasks

NAMES = ("acoustic", "decoder", "paper", "generator", "adversarial", "wav2vec2", "hubert", "ctc")
CONFIG = TrainConfig(steps=3, lr=1e-3, log_every_steps=1, decay="constant", device="cpu", seed=5)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> RealTasks:
    return RealTasks(tmp_path_factory.mktemp("real"))


@pytest.fixture(autouse=True)
def _no_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if TensorBoard were not installed: its import takes seconds."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def totals(out: Path) -> list[float]:
    """The loss of each step."""
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [line["losses"]["total"] for line in lines if "losses" in line]


def assert_equal_processes(out: Path) -> dict[str, Tensor]:
    """Parameters and buffers of two processes have the same bits; returns them."""
    first, second = left_by(out, 0), left_by(out, 1)
    assert first.keys() == second.keys()
    for key, tensor in first.items():
        assert torch.equal(tensor, second[key]), key
    return first


@pytest.mark.slow
@pytest.mark.parametrize("name", ["acoustic", "paper"])
def test_processes_agree_on_restarted_codebooks(real: RealTasks, name: str, tmp_path: Path) -> None:
    train_together(lambda: real.build(name), CONFIG, tmp_path)
    found = assert_equal_processes(tmp_path)
    fresh = {n: p.detach() for n, p in real.build(name).model.named_parameters()}
    codebooks = [key for key in found if key.endswith("codebook_VC")]
    assert codebooks
    assert all(not torch.equal(found[key], fresh[key]) for key in codebooks)


def averages_close(one: Path, two: Path) -> None:
    """The averaged weights of two runs, which summed in another order."""
    first, second = load_state(one / "state"), load_state(two / "state")
    assert first is not None
    assert second is not None
    assert first.tensors.keys() == second.tensors.keys()
    for key, tensor in first.tensors.items():
        if key.startswith("ema/"):
            # AdamW's first steps are as large for tiny gradients: rounding may turn their sign.
            off = (second.tensors[key] - tensor).abs()
            assert float((off > 1e-4).float().mean()) < 0.01, key


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_train_as_one(real: RealTasks, name: str, tmp_path: Path) -> None:
    """Discriminators, adversaries and what buffers remember agree to the last bit; losses and
    averages are those of one process that takes both batches."""
    train_together(lambda: real.build(name), CONFIG, tmp_path / "two")
    assert_equal_processes(tmp_path / "two")
    train(real.build(name), replace(CONFIG, accumulate=2), tmp_path / "one")
    assert totals(tmp_path / "two") == pytest.approx(totals(tmp_path / "one"), rel=1e-4)
    averages_close(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["acoustic", "generator", "hubert", "ctc"])
def test_shares_of_the_parameters_train_as_the_whole(
    real: RealTasks, name: str, tmp_path: Path
) -> None:
    """Two processes with `fsdp`; their state is then taken up by one process without."""
    settings = replace(CONFIG, parallelism="fsdp", amp="off", activation_checkpointing=True)
    train_together(
        lambda: real.build(name, validates=name == "hubert"),
        settings,
        tmp_path / "two",
    )
    one = replace(CONFIG, accumulate=2)
    train(real.build(name), one, tmp_path / "one")
    assert totals(tmp_path / "two") == pytest.approx(totals(tmp_path / "one"), rel=1e-4)
    averages_close(tmp_path / "one", tmp_path / "two")
    for folder in ("one", "two"):
        longer = replace(one, steps=4)
        assert train(real.build(name), longer, tmp_path / folder).step == 4
    assert totals(tmp_path / "two") == pytest.approx(totals(tmp_path / "one"), rel=1e-3)
    exports = [sorted(p.name for p in (tmp_path / f / "last").iterdir()) for f in ("one", "two")]
    assert exports[0] == exports[1]


@pytest.mark.parametrize("name", ["acoustic", "generator", "hubert", "ctc", "wav2vec2"])
def test_workers_draw_the_same_bytes(real: RealTasks, name: str) -> None:
    task = real.build(name)

    def draw(number: int) -> Any:
        return task.batch(generator(derive(1, number)), number)

    with WorkerBatches(draw, 3, 2) as batches:
        for number in range(3, 8):
            assert_same(batches.get(), draw(number))


def assert_same(one: Any, other: Any) -> None:
    """Every tensor of two batches has the same bits."""
    if isinstance(one, Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (tuple, list)):
        for first, second in zip(one, other, strict=True):
            assert_same(first, second)
    elif hasattr(one, "__dataclass_fields__"):
        assert_same(vars(one), vars(other))
    else:
        assert one == other


class Reads(TorchDispatchMode):
    """Notes operations that make a GPU's host wait for their result."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "item")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        masks = [i for i in indices if i is not None and i.dtype in (torch.bool, torch.uint8)]
        if name in self.WAITING or masks:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["hubert", "generator", "acoustic"])
def test_computing_blocks_twice_gives_the_same_losses(
    real: RealTasks, name: str, tmp_path: Path
) -> None:
    once = replace(CONFIG, steps=2)
    train(real.build(name), once, tmp_path / "once")
    train(real.build(name), replace(once, activation_checkpointing=True), tmp_path / "twice")
    assert totals(tmp_path / "twice") == totals(tmp_path / "once")


@pytest.mark.parametrize("name", NAMES)
def test_a_step_reads_no_tensor(real: RealTasks, name: str) -> None:
    task = real.build(name)
    batch = task.batch(generator(0), 0)
    with Reads() as reads:
        losses = task.losses(batch, generator(1), 3)
        torch.stack([losses[key] * w for key, w in task.weights.items()]).sum().backward()  # type: ignore[no-untyped-call]
    assert reads.seen == []
