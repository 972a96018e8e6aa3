"""Two processes under torchrun train as one process with the same global batch."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from speechkit.train import TrainConfig, distributed, train
from speechkit.train.distributed import World
from speechkit.train.state import load_state
from tests.train.tiny_task import TinyTask

ROOT = Path(__file__).parents[2]
SETTINGS = ("lr=0.02", "warmup_steps=3", "log_every_steps=1", "decay=constant", "device=cpu")
CONFIG = TrainConfig(
    steps=8, lr=0.02, warmup_steps=3, log_every_steps=1, decay="constant", device="cpu"
)


def _losses(out: Path) -> list[float]:
    entries = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [entry["losses"]["fit/l2"] for entry in entries if "losses" in entry]


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_same_global_batch(tmp_path: Path) -> None:
    """The sums run in another order, so losses may differ by a relative 1e-5.

    The running statistics are those of the first process, as with DistributedDataParallel, so they
    are not compared. The single process then goes on from the state that the two saved.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += [str(ROOT / "tests" / "train" / "tiny_task.py"), "--out", str(tmp_path / "two")]
    command += ["--steps", "8", *(word for one in SETTINGS for word in ("--set", one))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, cwd=tmp_path, timeout=300)

    as_one = dataclasses.replace(CONFIG, accumulate=2)
    train(TinyTask(), as_one, tmp_path / "one")
    assert _losses(tmp_path / "two") == pytest.approx(_losses(tmp_path / "one"), rel=1e-5)
    one, two = load_state(tmp_path / "one" / "state"), load_state(tmp_path / "two" / "state")
    assert one is not None
    assert two is not None
    for key, tensor in one[0].items():
        if "running" not in key and "num_batches" not in key:
            torch.testing.assert_close(two[0][key], tensor, rtol=1e-4, atol=1e-6, msg=key)

    longer = dataclasses.replace(as_one, steps=12)
    for name in ("one", "two"):
        assert train(TinyTask(), longer, tmp_path / name).finished
    assert _losses(tmp_path / "two") == pytest.approx(_losses(tmp_path / "one"), rel=1e-5)


@pytest.mark.parametrize(
    ("amp", "multiplies", "computed"),
    [
        ("off", True, torch.float32),
        ("auto", False, torch.float32),
        ("auto", True, torch.bfloat16),
        ("bf16", False, torch.bfloat16),
    ],
)
def test_half_precision_is_taken_where_the_hardware_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, amp: str, multiplies: bool, computed: torch.dtype
) -> None:
    monkeypatch.setattr(distributed, "multiplies_bfloat16", lambda device: multiplies)
    world = World(rank=0, size=1, device=torch.device("cpu"))
    with world.autocast(amp):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == computed
