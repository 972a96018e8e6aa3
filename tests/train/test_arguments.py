"""Flags of the training programs."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from speechkit.core.errors import ConfigError
from speechkit.train import TrainConfig, add_training_arguments, config_from_args


@dataclass(frozen=True, kw_only=True)
class ProgramConfig:
    channels: int = 8
    train: TrainConfig = field(default_factory=TrainConfig)


def _config(*words: str) -> ProgramConfig:
    parser = argparse.ArgumentParser()
    add_training_arguments(parser)
    return config_from_args(parser.parse_args(["--out", "run", *words]), ProgramConfig)


def test_defaults_without_any_flag() -> None:
    assert _config() == ProgramConfig()


def test_flags_win_over_set_and_set_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text("channels = 16\n[train]\nsteps = 5\nlr = 0.1\nseed = 1\n")
    config = _config(
        *("--config", str(path), "--set", "train.lr=0.2", "--set", "train.seed=2"),
        *("--seed", "3", "--minutes", "0.5", "--device", "cpu", "--threads", "1"),
    )
    assert config.channels == 16
    assert config.train == TrainConfig(
        steps=5, lr=0.2, seed=3, minutes=0.5, device="cpu", threads=1
    )


@pytest.mark.parametrize(
    "setting",
    ["train.steps=0", "train.decay=stairs", "train.ema_decay=1.0", "train.stepz=4", "train.lr=-1"],
)
def test_values_that_cannot_be_used_are_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=setting.partition("=")[0].partition(".")[2]):
        _config("--set", setting)
