"""What a training run is given: its config, and the task it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from speechkit.core.config import to_dict


class Task(Protocol):
    """What the training loop needs to know of a model: nothing else differs between models.

    The loop puts ``model`` on the training device and never changes its training or evaluation
    mode, except that `validate` and `export` run in evaluation mode.
    """

    @property
    def model(self) -> nn.Module:
        """All trained parameters and buffers. A frozen part inside it is saved with it."""

    @property
    def weights(self) -> Mapping[str, float]:
        """Weight of each loss by its key; losses without a weight are only logged.

        Every key must be among the losses of every step. May change from step to step.
        """

    def batch(self, rng: torch.Generator, number: int) -> Any:
        """Return one batch on the CPU: tensors in any nesting of dicts, tuples and dataclasses.

        All draws come from ``rng``. ``number`` counts the batches of all processes together, for
        tasks that go through their data epoch by epoch; it and ``rng`` settle the batch alone.
        Runs in a thread or in processes of its own, so it must not read the model.
        """

    def losses(self, batch: Any, rng: torch.Generator, step: int) -> dict[str, Tensor]:
        """Return scalars by key, such as "mel/l1". ``batch`` and ``rng`` are on the device.

        The key "total" is taken: it is logged as the weighted sum. Nothing in here may read a
        tensor's value, or the device would be waited for in every step; what only validation needs
        to know belongs there.
        """

    def validate(self) -> dict[str, float]:
        """Return held-out figures, the same on every call; "score", higher is better, if any."""

    def export(self, folder: Path, model: nn.Module) -> None:
        """Write ``model`` into the existing, empty ``folder`` as users will load it."""


@runtime_checkable
class BlockTask(Protocol):
    """A task whose model has repeated parts, each called as a module, such as Transformer blocks.

    They are what `activation_checkpointing` computes twice, `parallelism = "fsdp"` shards, and
    `compile` compiles one by one.
    """

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The parts, none inside another."""


@runtime_checkable
class ScaledTask(Protocol):
    """A task whose parameters learn at different rates, such as a new head on a trained encoder."""

    def lr_scale(self, name: str) -> float:
        """Return the factor, above 0, on the learning rate of the parameter of that name."""


@runtime_checkable
class WatchedTask(Protocol):
    """A task that can tell from the log that its model has collapsed."""

    def watch(self, step: int, steps: int, means: Mapping[str, float]) -> None:
        """Look at the means of the last ``steps`` steps; raise SpeechkitError to end the run."""


Decay = Literal["constant", "linear", "cosine", "trapezoid", "tri-stage"]
"""Courses of a learning rate."""

CHANGEABLE = frozenset(
    ("minutes", "steps", "accumulate", "amp", "threads", "device", "compile", "workers", "wandb")
    + ("log_every_steps", "validate_every_steps", "save_every_minutes", "keep_checkpoints")
    + ("activation_checkpointing", "parallelism")
)
"""Settings that may change when a run is resumed: budgets, hardware and book-keeping."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long and how to train. At least one of ``minutes`` and ``steps`` has to be given."""

    minutes: float | None = None
    """Wall-clock budget, validation included, over all resumed parts together."""

    steps: int | None = None
    """Optimiser steps. With both budgets, training ends at the first one reached."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    """`muon` moves the matrices inside stacks of layers by their orthogonalised momentum (Jordan et
    al. 2024), with updates as large as AdamW's; all else is left to AdamW. Not with `fsdp`."""

    lr: float = 1e-3
    """Learning rate at its highest, of AdamW (Loshchilov & Hutter 2019) and of Muon."""

    betas: tuple[float, float] = (0.9, 0.99)
    """Decay of the two gradient moments."""

    eps: float = 1e-8
    """Added to the root of the second moment."""

    weight_decay: float = 0.01
    """Decoupled weight decay, of parameters with two or more dimensions only."""

    warmup_steps: int = 200
    """Steps over which the learning rate rises linearly from near zero."""

    decay: Decay = "trapezoid"
    """Course of the learning rate over the budget. Trapezoid: constant, then linear to the end.
    Tri-stage, of wav2vec 2.0's fine-tuning: up over the first tenth, whatever `warmup_steps` says,
    constant for four tenths, then down to a twentieth."""

    decay_share: float = 0.3
    """Last part of the budget, over which the trapezoid falls."""

    final_lr_share: float = 0.0
    """Learning rate at the end of the budget, as a share of ``lr``."""

    clip_norm: float = 1.0
    """Largest norm of the gradient of all parameters together; 0 for no limit."""

    accumulate: int = 1
    """Batches a step on each process; N processes with 1 train just as one process with N."""

    ema_decay: float = 0.999
    """Decay of the averaged weights that are validated and exported; 0 exports the last ones."""

    workers: int = 0
    """Processes that draw batches on each training process; 0 draws in a thread. The batches are
    the same, whatever the number."""

    amp: Literal["off", "bf16", "fp16", "auto"] = "off"
    """`bf16` and `fp16` compute the losses under autocast, `fp16` with a loss scale; `auto` takes
    bf16 where the hardware multiplies it: elsewhere it is up to ten times slower, not faster."""

    activation_checkpointing: bool = False
    """Compute the model's blocks again in the backward pass instead of keeping what is inside
    them: a third more time, a fraction of the memory (Chen et al. 2016)."""

    parallelism: Literal["ddp", "fsdp"] = "ddp"
    """How several processes share the work: whole copies, or with the parameters of the model's
    blocks, their gradients, moments and averages in shares (Zhao et al. 2023)."""

    log_every_steps: int = 50
    """Steps between two lines of the log, which average over them."""

    validate_every_steps: int = 1000
    """Steps between two validations; there is always one at the end."""

    save_every_minutes: float = 10.0
    """Time between two saved states."""

    keep_checkpoints: int = 2
    """Saved states that are kept, the newest ones."""

    seed: int = 0
    """All batches and draws follow from it."""

    threads: int | None = None
    """CPU threads of each process; left as torch has it when not given."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` takes CUDA if there is any."""

    compile: bool = False
    """Compile the model's blocks with torch.compile: slow to start, then faster on GPUs."""

    wandb: str | None = None
    """Project of Weights & Biases to log to as well; its package must be installed."""

    def __post_init__(self) -> None:
        positive = {
            "minutes": self.minutes,
            "steps": self.steps,
            "lr": self.lr,
            "accumulate": self.accumulate,
            "log_every_steps": self.log_every_steps,
            "validate_every_steps": self.validate_every_steps,
            "keep_checkpoints": self.keep_checkpoints,
            "threads": self.threads,
        }
        for name, value in positive.items():
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}")
        not_negative = {
            "weight_decay": self.weight_decay,
            "warmup_steps": self.warmup_steps,
            "workers": self.workers,
            "clip_norm": self.clip_norm,
            "save_every_minutes": self.save_every_minutes,
            "seed": self.seed,
        }
        for name, value in not_negative.items():
            if not value >= 0:
                raise ValueError(f"{name} must not be below 0, but is {value}")
        for name, value in {
            "decay_share": self.decay_share,
            "final_lr_share": self.final_lr_share,
        }.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, not {value}")
        if self.optimizer == "muon" and self.parallelism == "fsdp":
            raise ValueError("optimizer = muon needs whole matrices: take parallelism = ddp")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be at least 0 and below 1, not {self.ema_decay}")

    def identity(self) -> dict[str, Any]:
        """Return the settings that a resumed run must share with its earlier parts."""
        chosen = {name: value for name, value in to_dict(self).items() if name not in CHANGEABLE}
        if self.optimizer == "adamw":
            # As runs have it that began before there was a choice.
            del chosen["optimizer"]
        return chosen


@dataclass(frozen=True, kw_only=True)
class TrainReport:
    """What a run came to."""

    step: int
    """Steps done, over all resumed parts."""
    minutes: float
    """Time taken, over all resumed parts."""
    finished: bool
    """False when a signal ended it before its budget was used up."""
    skipped_steps: int
    """Steps without an update because a loss or gradient was not finite."""
    best_score: float | None
    """Highest validation score, if the task gives one."""
    figures: dict[str, float]
    """Figures of the last validation of this part; empty when it had none."""
    message: str
    """One sentence for the user: where the model is, or how to resume."""
