"""The table of what paper-size trainings cost: its sums, and the recipes that it is made of."""

from __future__ import annotations

from dataclasses import replace

from recipes.gpu.full_size import Training, paper_codec, trainings
from recipes.gpu.projection import Checked, Measured, checks, table
from speechkit.core.config import load_toml
from speechkit.ssl.diffs4l.config import Experiment
from speechkit.train.flops import Machine
from tests.ssl.test_recipes import ROOT


def test_hours_and_cost_add_up() -> None:
    rows = [
        Training(name=name, build=paper_codec, updates=1_000, processes=processes, runs=runs)
        for name, processes, runs in (("a", 4, 1), ("b", 1, 2))
    ]
    # A thousandth of an hour of the machine, at 10 TFLOP/s.
    real = Checked(flops=9 * 10**12, seconds=90.0, rate=200e9, peak_gb=1.0)
    found = Measured(parameters=5_000_000, flops=36 * 10**12, checked=real)
    machine = Machine(peak_tflops=20.0, utilisation=0.5, dollars_an_hour=3.0)
    lines = table([(row, found) for row in rows], machine).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:5]]
    assert cells[0] == ["a", "5.0 M", "36.00", "4", "1,000", "1", "4", "$12"]
    assert cells[1][6:8] == ["2", "$6"]
    assert cells[2][6:8] == ["6", "$18"]
    assert "50 % of it reached, $3 an hour" in lines[-1]
    assert "| a | 9.000 | 90.0 | 0.50 | 1.0 |" in checks([(rows[0], found)])
    assert checks([(rows[0], replace(found, checked=None))]) == ""


def test_the_experiment_is_counted_whole() -> None:
    experiment = load_toml(ROOT / "recipes" / "diffs4l" / "paper.toml", Experiment)
    rows = trainings()["diffs4l"]
    pretrainings = sum(row.runs for row in rows if "all arms" in row.name)
    tunings = sum(row.runs for row in rows if "fine-tuning" in row.name)
    runs = len(experiment.arms) * len(experiment.models) * len(experiment.seeds)
    assert pretrainings == tunings == runs == 48
    assert {row.updates for row in rows if "codec" in row.name} == set(experiment.codec_steps)
