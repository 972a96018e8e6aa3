"""Worker processes hand out the same batches, and say what went wrong."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechkit.core.errors import DataError, SpeechkitError
from speechkit.train import TrainConfig, train
from speechkit.train.workers import WorkerBatches
from tests.train.tiny_task import TinyTask

CONFIG = TrainConfig(steps=7, lr=0.02, log_every_steps=1, decay="constant", device="cpu")


def _log(out: Path) -> list[dict[str, float]]:
    entries = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [entry["losses"] for entry in entries if "losses" in entry]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_run_is_the_same_whoever_draws(tmp_path: Path, accumulate: int) -> None:
    config = replace(CONFIG, accumulate=accumulate)
    train(TinyTask(), config, tmp_path / "0")
    # Interrupted, and gone on with another number.
    train(TinyTask(stop_at=3), replace(config, workers=1), tmp_path / "2")
    assert train(TinyTask(), replace(config, workers=2), tmp_path / "2").finished
    assert _log(tmp_path / "2") == _log(tmp_path / "0")


def test_an_error_comes_as_it_was_raised() -> None:
    def draw(number: int) -> int:
        if number == 5:
            raise DataError("Clip seven is broken.")
        return number

    with WorkerBatches(draw, 4, 1) as batches:
        assert batches.get() == 4
        with pytest.raises(DataError, match="^Clip seven is broken.$"):
            batches.get()


def test_a_worker_that_dies_is_reported() -> None:
    def draw(number: int) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(1)

    with (
        WorkerBatches(draw, 0, 1) as batches,
        pytest.raises(SpeechkitError, match="A process that draws batches has ended"),
    ):
        batches.get()


def test_signals_to_all_leave_the_workers_to_the_training() -> None:
    def draw(number: int) -> int:
        for one in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), one)
        return os.getpid()

    with WorkerBatches(draw, 0, 2) as batches:
        assert len({batches.get() for _ in range(4)}) == 2
    deadline = time.monotonic() + 20
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not multiprocessing.active_children()
