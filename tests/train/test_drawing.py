"""The program that says whether data keep up with a training."""

from __future__ import annotations

from pathlib import Path

from recipes.gpu.drawing import TRAININGS, Found, Round, heading, measure
from recipes.gpu.full_size import corpus_of
from speechkit.core.checkpoint import WEIGHTS
from speechkit.core.rng import generator
from speechkit.train import TrainConfig
from speechkit.train.flops import step_flops
from tests.train.real_tasks import RealTasks


def test_a_training_is_measured_with_any_number_of_workers(tmp_path: Path) -> None:
    task = RealTasks(tmp_path).build("wav2vec2")
    before = [p.detach().clone() for p in task.model.parameters()]
    found = measure(task, TrainConfig(steps=1, device="cpu"), [0, 1], steps=2, rounds=2)
    assert found.draw_seconds > 0
    assert found.step_seconds > 0
    assert {count: len(rounds) for count, rounds in found.rounds.items()} == {0: 2, 1: 2}
    assert all(0 <= one.waited <= 1 for rounds in found.rounds.values() for one in rounds)
    # The steps are real.
    assert any((p != old).any() for p, old in zip(task.model.parameters(), before, strict=True))


def test_the_row_has_medians_and_shares() -> None:
    rounds = [Round(seconds=s, waited=w) for s, w in ((2.0, 0.1), (3.0, 0.2), (60.0, 0.9))]
    row = Found(draw_seconds=0.05, step_seconds=2.0, rounds={0: rounds}).row("codec")
    assert row == "| codec | 50 | 2000 | 2.5 % | 20.0 (20.0 %) |"
    assert heading([0]).splitlines()[0].count("|") == row.count("|")


def test_the_recipes_draw_and_can_be_counted(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "noise", WEIGHTS / "codec")
    for name, build in TRAININGS.items():
        task, config = build(corpus.path)
        batch = task.batch(generator(0), 0)
        assert sum(p.numel() for p in task.model.parameters()) > 10**6, name
        assert step_flops(task, batch, 1) > 10**9, name
        assert config.workers == 0, name
