"""The training loop on a tiny task: exact resume, budgets, signals, faults, outputs."""

from __future__ import annotations

import dataclasses
import importlib.machinery
import json
import math
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from speechkit.core.checkpoint import load_checkpoint
from speechkit.core.errors import CheckpointError, ConfigError, SpeechkitError
from speechkit.train import TrainConfig, loop, train
from speechkit.train.state import Counters, load_state
from tests.train.tiny_task import TinyTask

CONFIG = TrainConfig(
    steps=10, lr=0.02, warmup_steps=3, log_every_steps=1, validate_every_steps=4, device="cpu"
)


def _state(out: Path) -> tuple[dict[str, Tensor], Counters]:
    loaded = load_state(out / "state")
    assert loaded is not None
    return loaded.tensors, loaded.counters


def _entries(out: Path, kind: str) -> list[dict[str, Any]]:
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if kind in entry]


def _curve(out: Path) -> list[tuple[int, float, float]]:
    return [
        (entry["step"], entry["losses"]["fit/l2"], entry["lr"]) for entry in _entries(out, "losses")
    ]


@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, amp: Any, accumulate: int) -> None:
    config = dataclasses.replace(CONFIG, amp=amp, accumulate=accumulate)
    train(TinyTask(), config, tmp_path / "whole")
    first = train(TinyTask(stop_at=5), config, tmp_path / "parts")
    assert (first.step, first.finished) == (5, False)
    assert "same command" in first.message
    torch.rand(3)
    second = train(TinyTask(), config, tmp_path / "parts")
    assert (second.step, second.finished) == (10, True)
    whole, parts = _state(tmp_path / "whole"), _state(tmp_path / "parts")
    assert whole[0].keys() == parts[0].keys()
    kinds = {key.partition("/")[0] for key in whole[0]}
    assert kinds == {"model", "optimizer", "ema"} | ({"scale"} if amp == "fp16" else set())
    for key, tensor in whole[0].items():
        assert torch.equal(tensor, parts[0][key]), key
    assert dataclasses.replace(whole[1], elapsed_seconds=0) == dataclasses.replace(
        parts[1], elapsed_seconds=0
    )
    assert _curve(tmp_path / "whole") == _curve(tmp_path / "parts")
    for name in ("best", "last"):
        exports = [load_checkpoint(tmp_path / part / name) for part in ("whole", "parts")]
        assert exports[0].sha256 == exports[1].sha256


def test_longer_training_of_a_finished_run_goes_on(tmp_path: Path) -> None:
    constant = dataclasses.replace(CONFIG, decay="constant")
    train(TinyTask(), constant, tmp_path / "whole")
    train(TinyTask(), dataclasses.replace(constant, steps=5), tmp_path / "parts")
    train(TinyTask(), constant, tmp_path / "parts")
    whole, parts = _state(tmp_path / "whole")[0], _state(tmp_path / "parts")[0]
    assert all(torch.equal(tensor, parts[key]) for key, tensor in whole.items())


def test_a_lost_part_of_a_run_is_repeated(tmp_path: Path) -> None:
    """As after a power cut: the log is further on than the last saved state."""
    config = dataclasses.replace(CONFIG, save_every_minutes=0.0)
    train(TinyTask(), config, tmp_path / "whole")

    class Dying(TinyTask):
        def losses(self, batch: Any, rng: torch.Generator, step: int) -> dict[str, Tensor]:
            if step == 7:
                raise RuntimeError("power cut")
            return super().losses(batch, rng, step)

    with pytest.raises(RuntimeError):
        train(Dying(), config, tmp_path / "parts")
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "losses": {"fit/l2": 0.0}, "lr": 0}\n{"step": 9, "los')
    train(TinyTask(), config, tmp_path / "parts")
    assert _curve(tmp_path / "whole") == _curve(tmp_path / "parts")


def test_learns_and_writes_what_it_promises(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=200, validate_every_steps=50, log_every_steps=20)
    report = train(TinyTask(), config, tmp_path)
    assert report.finished
    assert report.figures["score"] > -0.5
    entries = _entries(tmp_path, "losses")
    assert [entry["step"] for entry in entries] == list(range(20, 201, 20))
    assert entries[-1]["losses"]["total"] < 0.5 * entries[0]["losses"]["total"]
    for key in ("minutes", "lr", "grad_norm", "steps_per_second", "skipped_steps"):
        assert math.isfinite(entries[0][key])
    scores = [entry["validation"]["score"] for entry in _entries(tmp_path, "validation")]
    assert len(scores) == 4
    assert report.best_score == max(scores)
    best = json.loads((tmp_path / "best" / "figures.json").read_text())
    assert best["figures"]["score"] == max(scores)
    last = json.loads((tmp_path / "last" / "figures.json").read_text())
    assert last["step"] == 200
    averages = {key: t for key, t in _state(tmp_path)[0].items() if key.startswith("ema/")}
    exported = load_checkpoint(tmp_path / "last").state
    for key, tensor in averages.items():
        assert torch.equal(exported[key.removeprefix("ema/")], tensor)


def test_the_trained_weights_return_after_validation(tmp_path: Path) -> None:
    task = TinyTask()
    train(task, CONFIG, tmp_path)
    for name, tensor in task.model.state_dict().items():
        assert torch.equal(tensor, _state(tmp_path)[0][f"model/{name}"])
    assert all(module.training for module in task.model.modules())


def test_without_averaging_the_last_weights_are_exported(tmp_path: Path) -> None:
    train(TinyTask(), dataclasses.replace(CONFIG, ema_decay=0.0), tmp_path)
    state = _state(tmp_path)[0]
    assert not any(key.startswith("ema/") for key in state)
    for name, tensor in load_checkpoint(tmp_path / "last").state.items():
        assert torch.equal(tensor, state[f"model/{name}"])


def test_the_global_generator_is_left_alone(tmp_path: Path) -> None:
    task = TinyTask()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    train(task, CONFIG, tmp_path)
    assert torch.equal(torch.rand(4), expected)


class Clock:
    """Time that passes by a tenth of a second whenever somebody looks."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 0.1
        return self.seconds


def test_the_minutes_budget_spans_resumed_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "monotonic", Clock())
    config = dataclasses.replace(CONFIG, steps=None, minutes=0.5)
    first = train(TinyTask(stop_at=20), config, tmp_path)
    assert not first.finished
    assert 0 < first.minutes < 0.5
    second = train(TinyTask(), config, tmp_path)
    assert second.finished
    assert second.minutes == pytest.approx(0.5, abs=0.05)
    rates = [entry["lr"] for entry in _entries(tmp_path, "losses")]
    assert max(rates) == CONFIG.lr
    assert rates[-1] < 0.1 * CONFIG.lr, "the rate falls with the time that is left"


def test_a_budget_that_is_over_before_it_begins_gives_weights(tmp_path: Path) -> None:
    """On a machine so busy that the first batch comes too late: one step, not an empty folder."""
    config = dataclasses.replace(CONFIG, steps=None, minutes=1e-9)
    report = train(TinyTask(), config, tmp_path)
    assert (report.finished, report.step) == (True, 1)
    assert (tmp_path / "last" / "model.safetensors").is_file()
    assert train(TinyTask(), config, tmp_path).step == 1


def test_the_minutes_budget_holds_on_a_real_clock(tmp_path: Path) -> None:
    report = train(TinyTask(), dataclasses.replace(CONFIG, steps=None, minutes=0.02), tmp_path)
    assert report.finished
    assert 0.02 <= report.minutes < 0.1


def test_running_a_finished_run_again_changes_nothing(tmp_path: Path) -> None:
    train(TinyTask(), CONFIG, tmp_path)
    before = (tmp_path / "last" / "model.safetensors").stat()
    report = train(TinyTask(), CONFIG, tmp_path)
    assert report.finished
    assert report.step == 10
    assert (tmp_path / "last" / "model.safetensors").stat() == before


def test_a_bad_step_is_skipped_and_leaves_no_trace(tmp_path: Path) -> None:
    report = train(TinyTask(bad_steps=range(3, 6)), CONFIG, tmp_path)
    assert report.finished
    assert report.skipped_steps == 3
    assert all(torch.isfinite(tensor).all() for tensor in _state(tmp_path)[0].values())
    assert [step for step, _, _ in _curve(tmp_path)] == [1, 2, 3, 7, 8, 9, 10]


def test_statistics_are_not_spoilt_by_a_bad_batch(tmp_path: Path) -> None:
    class BadBatch(TinyTask):
        def losses(self, batch: Any, rng: torch.Generator, step: int) -> dict[str, Tensor]:
            if step == 2:
                batch = {**batch, "inputs": batch["inputs"] * float("inf")}
            return super().losses(batch, rng, step)

    assert train(BadBatch(), CONFIG, tmp_path).skipped_steps == 1
    assert all(torch.isfinite(tensor).all() for tensor in _state(tmp_path)[0].values())


def test_too_many_bad_steps_end_the_run(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=100)
    with pytest.raises(SpeechkitError, match=r"step 12: .*fit/l2"):
        train(TinyTask(bad_steps=range(3, 100)), config, tmp_path)


def test_a_weight_without_a_loss_is_named(tmp_path: Path) -> None:
    task = TinyTask()
    task.weights = {"fit/l2": 1.0, "fit/l3": 1.0}
    with pytest.raises(ConfigError, match="fit/l3"):
        train(task, CONFIG, tmp_path)


def test_a_budget_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--minutes or --steps"):
        train(TinyTask(), dataclasses.replace(CONFIG, steps=None), tmp_path)


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    train(TinyTask(), CONFIG, tmp_path)
    task = TinyTask()
    task.model[0] = torch.nn.Linear(4, 16, bias=False)
    with pytest.raises(CheckpointError, match=r"0\.bias"):
        train(task, CONFIG, tmp_path)


@pytest.mark.parametrize(
    ("change", "data", "named"),
    [
        ({"lr": 0.03}, "a", "train.lr"),
        ({"seed": 5, "betas": (0.8, 0.9)}, "a", "train.betas, train.seed"),
        ({}, "b", "data.clips"),
    ],
)
def test_a_run_is_not_resumed_as_another_one(
    tmp_path: Path, change: dict[str, Any], data: str, named: str
) -> None:
    train(TinyTask(stop_at=5), CONFIG, tmp_path, identity={"data": {"clips": "a"}})
    before = _state(tmp_path)[1]
    changed = dataclasses.replace(CONFIG, **change)
    with pytest.raises(ConfigError, match=f"another {named}: choose another --out"):
        train(TinyTask(), changed, tmp_path, identity={"data": {"clips": data}})
    assert _state(tmp_path)[1] == before


def test_budgets_hardware_and_book_keeping_may_change(tmp_path: Path) -> None:
    train(TinyTask(stop_at=5), CONFIG, tmp_path, identity={"data": "a"})
    changed = dataclasses.replace(
        CONFIG, steps=12, minutes=9.0, log_every_steps=2, keep_checkpoints=1, threads=1
    )
    assert train(TinyTask(), changed, tmp_path, identity={"data": "a"}).step == 12


def test_a_state_that_does_not_say_what_it_began_with_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(TinyTask(stop_at=5), CONFIG, tmp_path)
    (path,) = tmp_path.glob("state/*/state.json")
    described = json.loads(path.read_text())
    del described["identity"]
    path.write_text(json.dumps(described))
    assert train(TinyTask(), CONFIG, tmp_path).step == 10
    assert "unchecked" in caplog.text


def test_what_gets_no_gradient_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    task = TinyTask()
    train(task, CONFIG, tmp_path / "all")
    assert "No gradient" not in caplog.text
    task.model.register_parameter("idle", torch.nn.Parameter(torch.zeros(2)))
    train(task, CONFIG, tmp_path / "idle")
    assert "No gradient has reached 1 of 7 parameters, such as idle." in caplog.text


def test_threads_are_set_for_the_run_only(tmp_path: Path) -> None:
    seen: list[int] = []

    class Counting(TinyTask):
        def losses(self, batch: Any, rng: torch.Generator, step: int) -> dict[str, Tensor]:
            seen.append(torch.get_num_threads())
            return super().losses(batch, rng, step)

    before = torch.get_num_threads()
    train(Counting(), dataclasses.replace(CONFIG, steps=1, threads=before + 1), tmp_path)
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_weights_and_biases_is_asked_where_it_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    asked = dataclasses.replace(CONFIG, wandb="voices")
    with pytest.raises(ConfigError, match="wandb is not installed"):
        train(TinyTask(), asked, tmp_path / "run")
    curves: list[tuple[int, set[str]]] = []
    begun: list[dict[str, Any]] = []

    class Run:
        def log(self, values: dict[str, float], step: int) -> None:
            curves.append((step, set(values)))

        def finish(self) -> None:
            curves.append((-1, set()))

    def init(**given: Any) -> Run:
        begun.append(given)
        return Run()

    double = types.ModuleType("wandb")
    double.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
    vars(double)["init"] = init
    monkeypatch.setitem(sys.modules, "wandb", double)
    train(TinyTask(stop_at=3), asked, tmp_path / "run")
    train(TinyTask(), asked, tmp_path / "run")
    # One run of that service, whose steps go on.
    assert [one["project"] for one in begun] == ["voices", "voices"]
    assert begun[0]["id"] == begun[1]["id"]
    steps = [step for step, names in curves if "losses/fit/l2" in names]
    assert steps == list(range(1, 11))
    assert curves[-1][0] == -1


def test_tensorboard_curves_are_written_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.undo()
    train(TinyTask(), CONFIG, tmp_path)
    assert list((tmp_path / "tensorboard").glob("events.*"))
