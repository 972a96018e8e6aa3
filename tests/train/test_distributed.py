"""Two processes under torchrun train as one process with the same global batch."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from speechkit.train import TrainConfig, distributed, train
from speechkit.train.distributed import Launch, World, first_host, read_launch
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


PROGRAM = [str(ROOT / "tests" / "train" / "tiny_task.py"), "--steps", "8"]
PROGRAM += [word for one in SETTINGS for word in ("--set", one)]


def _under_torchrun(out: Path) -> None:
    """Train in two processes that torchrun starts."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, *PROGRAM, "--out", str(out)], check=True, env=environment, timeout=300
    )


def _under_srun(out: Path) -> None:
    """Train in two processes with the environment that srun gives them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "localhost"}
    shared = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **step}
    processes = [
        subprocess.Popen(
            [sys.executable, *PROGRAM, "--out", str(out)],
            env={**shared, "MASTER_PORT": str(port), "SLURM_PROCID": str(rank)},
        )
        for rank in (0, 1)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("launch", [_under_torchrun, _under_srun])
def test_two_processes_train_as_one_with_the_same_global_batch(
    tmp_path: Path, launch: Callable[[Path], None]
) -> None:
    """The sums run in another order, so losses may differ by a relative 1e-5.

    The running statistics are those of the first process, as with DistributedDataParallel, so they
    are not compared. The single process then goes on from the state that the two saved.
    """
    launch(tmp_path / "two")
    as_one = dataclasses.replace(CONFIG, accumulate=2)
    train(TinyTask(), as_one, tmp_path / "one")
    assert _losses(tmp_path / "two") == pytest.approx(_losses(tmp_path / "one"), rel=1e-5)
    one, two = load_state(tmp_path / "one" / "state"), load_state(tmp_path / "two" / "state")
    assert one is not None
    assert two is not None
    for key, tensor in one.tensors.items():
        if "running" not in key and "num_batches" not in key:
            torch.testing.assert_close(two.tensors[key], tensor, rtol=1e-4, atol=1e-6, msg=key)

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


def test_the_launcher_says_who_a_process_is() -> None:
    srun = {
        "SLURM_PROCID": "9",
        "SLURM_LOCALID": "1",
        "SLURM_STEP_NUM_TASKS": "16",
        "SLURM_STEP_NODELIST": "gpu[003-004]",
        "SLURM_JOB_ID": "70005",
    }
    by_srun = Launch(rank=9, local_rank=1, size=16, address="gpu003", port=30_005)
    assert read_launch(srun) == by_srun
    given = {**srun, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "5"}
    assert read_launch(given) == dataclasses.replace(by_srun, address="10.0.0.1", port=5)
    # torchrun, started once a machine by srun, knows better.
    torchrun = {**srun, "RANK": "3", "LOCAL_RANK": "3", "WORLD_SIZE": "8"}
    assert read_launch(torchrun) == Launch(rank=3, local_rank=3, size=8)
    # A batch script without srun is one process, whatever was reserved for it.
    assert read_launch({"SLURM_PROCID": "0", "SLURM_NTASKS": "16"}) == Launch()
    assert read_launch({}) == Launch()


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("gpu003", "gpu003"),
        ("gpu[003-006,010],cpu1", "gpu003"),
        ("gpu[7,9]", "gpu7"),
        ("a1,b[2-3]", "a1"),
        ("", ""),
    ],
)
def test_the_first_host_of_a_list(hosts: str, first: str) -> None:
    assert first_host(hosts) == first
