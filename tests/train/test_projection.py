"""The table of what paper-size trainings cost: its sums, and the recipes that it is made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recipes.gpu import full_size, projection
from recipes.gpu.full_size import Training, paper_codec, trainings
from recipes.gpu.projection import Checked, Measured, checks, measure, table
from speechkit.core.config import load_toml
from speechkit.diffusion.config import DenoiserConfig
from speechkit.diffusion.train import GeneratorTraining
from speechkit.facodec.train import CodecTraining
from speechkit.ssl.diffs4l.config import Experiment
from speechkit.ssl.pretrain import PretrainConfig
from speechkit.train.flops import Machine
from tests.ssl.test_recipes import ROOT
from tests.ssl.tiny import ENCODER

RECIPES = ROOT / "recipes"
TINY = {
    "facodec/paper.toml": "facodec/paper-tiny.toml",
    "facodec/small.toml": "diffs4l/codec-tiny.toml",
    "diffs4l/generator-paper.toml": "diffs4l/generator-tiny.toml",
}
"""Recipes that have a tiny sister."""


def load_tiny(path: Path, kind: type[Any]) -> Any:
    """A recipe with networks of a few thousand weights; batches and dropouts stay as they are."""
    name = path.resolve().relative_to(RECIPES).as_posix()
    if name in TINY:
        return load_toml(RECIPES / TINY[name], kind)
    found = load_toml(path, kind)
    if isinstance(found, PretrainConfig):
        encoder = replace(ENCODER, layer_drop=found.model.encoder.layer_drop)
        if found.hubert is not None:
            return replace(found, hubert=replace(found.hubert, encoder=encoder))
        assert found.wav2vec2 is not None
        return replace(found, wav2vec2=replace(found.wav2vec2, encoder=encoder))
    if isinstance(found, GeneratorTraining):

        def narrow(config: DenoiserConfig) -> DenoiserConfig:
            return replace(config, channels=16, blocks=2, heads=2, frame_channels=16)

        sizes = found.generator
        sizes = replace(sizes, frame=narrow(sizes.frame), duration=narrow(sizes.duration))
        return replace(found, generator=sizes)
    return found


@pytest.mark.parametrize("name", list(trainings()))
def test_every_training_is_counted_and_steps(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At full size this is minutes and gigabytes; the way there is the same with tiny networks."""
    codec = load_toml(RECIPES / TINY["facodec/paper.toml"], CodecTraining).paper_codec
    monkeypatch.setattr(full_size, "load_toml", load_tiny)
    monkeypatch.setattr(full_size, "PaperCodecConfig", lambda: codec)
    monkeypatch.setattr(projection, "matrix_rate", lambda: 1e9)
    full_size.pretraining.cache_clear()
    for build, updates in {one.build: one.updates for one in trainings()[name]}.items():
        found = measure(build, updates - 1, check=True)
        assert found.checked is not None
        assert found.flops >= found.checked.flops > 0
        assert found.checked.seconds > 0
        assert found.parameters < 10**6


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
