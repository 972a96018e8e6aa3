"""How long and how to train with fairseq2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from speechkit.core.config import require_range
from speechkit.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A training run. At least one of ``minutes`` and ``steps`` has to be given."""

    minutes: float | None = None
    """Wall-clock budget over all resumed parts together."""
    steps: int | None = None
    """Updates of the optimiser. With both budgets, training ends at the first one reached."""
    lr: float = 5e-4
    """Learning rate of AdamW at its highest."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay of the two gradient moments."""
    eps: float = 1e-6
    """Added to the root of the second moment."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    schedule: Literal["linear", "tri-stage", "constant"] = "linear"
    """Linear: warm up, then fall to zero at the budget's end. Tri-stage: warm up over the first
    tenth, hold for four tenths, fall to a twentieth (fine-tuning)."""
    warmup_steps: int = 500
    """Updates over which the linear and constant schedules rise."""
    clip_norm: float = 0.0
    """Largest norm of all gradients together; 0 for no limit (wav2vec 2.0), HuBERT has 10."""
    accumulate: int = 1
    """Batches an update on each process; N processes with 1 train as one process with N."""
    parallelism: Literal["ddp", "fsdp"] = "ddp"
    """How several processes share the work: whole copies, or sharded parameters."""
    amp: Literal["off", "bf16", "fp16"] = "off"
    """Mixed precision; on processors without bfloat16 instructions it is slower, not faster."""
    log_every_steps: int = 20
    """Updates between two lines of the log, which average over them."""
    validate_every_steps: int = 500
    """Updates between two validations."""
    save_every_steps: int = 500
    """Updates between two checkpoints; each also exports the model."""
    keep_checkpoints: int = 2
    """Checkpoints that are kept, the newest ones."""
    seed: int = 0
    """All batches and draws follow from it."""
    threads: int | None = None
    """CPU threads of each process; as torch has it when not given."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` takes CUDA if there is any."""

    def __post_init__(self) -> None:
        require_range(
            self,
            lr=(0, 10),
            eps=(0, 1),
            weight_decay=(0, 10),
            warmup_steps=(0, 10**9),
            clip_norm=(0, 1e9),
            accumulate=(1, 10**6),
            log_every_steps=(1, 10**9),
            validate_every_steps=(1, 10**9),
            save_every_steps=(1, 10**9),
            keep_checkpoints=(1, 10**6),
            seed=(0, 2**62),
        )
        for name, value in (("minutes", self.minutes), ("steps", self.steps)):
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be above 0, not {value}.")

    def checked(self) -> RunConfig:
        """Return the config, or raise ConfigError where it has no budget."""
        if self.minutes is None and self.steps is None:
            raise ConfigError("Say how long to train: --minutes or --steps.")
        return self
