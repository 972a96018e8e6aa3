"""A regression task small enough to train in milliseconds, also as a program for torchrun."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.rng import generator
from speechkit.train import TrainConfig, add_training_arguments, config_from_args, train


class TinyTask:
    """Learns a fixed linear map through a network with dropout and batch statistics."""

    def __init__(self, *, stop_at: int | None = None, bad_steps: range = range(0)) -> None:
        rng = generator(7)
        self.model = nn.Sequential(
            nn.Linear(4, 16), nn.BatchNorm1d(16), nn.GELU(), nn.Dropout(0.1), nn.Linear(16, 3)
        )
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.3)
        self.weights = {"fit/l2": 1.0}
        self.target = torch.randn(4, 3, generator=rng)
        self.held_out = torch.randn(64, 4, generator=rng)
        self.stop_at, self.bad_steps = stop_at, bad_steps

    def batch(self, rng: torch.Generator, number: int = 0) -> dict[str, Tensor]:
        inputs = torch.randn(8, 4, generator=rng)
        return {"inputs": inputs, "outputs": inputs @ self.target}

    def losses(self, batch: Any, rng: torch.Generator, step: int) -> dict[str, Tensor]:
        if step + 1 == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        noise = torch.randn(batch["inputs"].shape, generator=rng) * 0.01
        error = self.model(batch["inputs"] + noise) - batch["outputs"]
        l2 = error.square().mean()
        if step in self.bad_steps:
            l2 = l2 * float("nan")
        return {"fit/l2": l2, "fit/l1": error.abs().mean().detach()}

    def validate(self) -> dict[str, float]:
        assert not self.model.training
        error = self.model(self.held_out) - self.held_out @ self.target
        return {"score": -float(error.square().mean())}

    def export(self, folder: Path, model: nn.Module) -> None:
        save_checkpoint(folder, model.state_dict(), {"kind": "tiny"})


def main() -> None:
    parser = argparse.ArgumentParser()
    add_training_arguments(parser)
    args = parser.parse_args()
    # Takes seconds to import, in every process.
    sys.modules["torch.utils.tensorboard"] = None  # type: ignore[assignment]
    train(TinyTask(), config_from_args(args, TrainConfig, section=""), args.out)


if __name__ == "__main__":
    main()
