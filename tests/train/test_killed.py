"""Killed at any moment (SIGKILL), a training goes on: same losses, same weights, no torn file."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechkit.core.checkpoint import load_checkpoint
from speechkit.core.rng import generator
from speechkit.ssl.pretrain import PretrainConfig, pretrain
from speechkit.train.evaluation import recover_exports
from speechkit.train.state import load_state
from tests.ssl.tiny import hubert_config, tiny_corpus, tiny_units

STEPS = 40


def recipe() -> PretrainConfig:
    """A training that saves after every step, and exports after every fifth."""
    config = hubert_config(STEPS, validate_every_steps=5)
    return replace(config, train=replace(config.train, save_every_minutes=1e-9))


def killed_again_and_again(work: Callable[[], object], out: Path) -> tuple[int, list[int]]:
    """Train in processes that are killed ever later, until one ends.

    Returns how many were killed, and the step of the state after each. What a killed process leaves
    must be whole: a state and exports that load.
    """
    draws = generator(1)
    context = multiprocessing.get_context("fork")
    steps: list[int] = []
    for attempt in range(100):
        process = context.Process(target=work)
        process.start()
        process.join(0.1 * 1.2**attempt * (0.5 + float(torch.rand((), generator=draws))))
        if not process.is_alive():
            assert process.exitcode == 0
            return attempt, steps
        process.kill()
        process.join()
        saved = load_state(out / "state")
        steps.append(0 if saved is None else saved.counters.step)
        if out.is_dir():
            recover_exports(out)
        for export in (out / "best", out / "last"):
            if export.is_dir():
                load_checkpoint(export)
                json.loads((export / "figures.json").read_text())
    raise AssertionError("it never came to an end")


def curve(out: Path) -> list[tuple[int, float]]:
    """Step and loss of each line of the log, all of whose lines are whole."""
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line["losses"]["total"]) for line in lines if "losses" in line]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")
def test_training_survives_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if TensorBoard were not installed: its import takes seconds.
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    corpus, units = tiny_corpus(tmp_path / "tones.safetensors"), tiny_units(tmp_path / "units")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    threads = torch.get_num_threads()
    # Forking a process that has started torch's threads can hang.
    torch.set_num_threads(1)
    try:
        kills, steps = killed_again_and_again(
            lambda: pretrain(corpus, recipe(), killed, units=units), killed
        )
        pretrain(corpus, recipe(), whole, units=units)
    finally:
        torch.set_num_threads(threads)
    # Nothing that was saved was lost, and some died in the midst of it.
    assert steps == sorted(steps)
    assert any(0 < step < STEPS for step in steps)
    assert kills > 1
    assert curve(killed) == curve(whole)
    ends = [load_state(out / "state") for out in (killed, whole)]
    assert ends[0] is not None
    assert ends[1] is not None
    assert ends[0].tensors.keys() == ends[1].tensors.keys()
    assert all(torch.equal(tensor, ends[1].tensors[key]) for key, tensor in ends[0].tensors.items())
    for name in ("best", "last"):
        assert load_checkpoint(killed / name).sha256 == load_checkpoint(whole / name).sha256
    # No temporary file or folder of a killed process stays.
    assert sorted(p.name for p in killed.iterdir()) == sorted(p.name for p in whole.iterdir())
