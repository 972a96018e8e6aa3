"""Our run config in fairseq2's words."""

from __future__ import annotations

import torch

from speechkit.ssl.fairseq import require_fairseq2
from speechkit.ssl.training.config import RunConfig
from speechkit.ssl.training.recipe import RecipeConfig

require_fairseq2()

from fairseq2.recipe.config import (  # noqa: E402  # import fixed first
    ADAMW_OPTIMIZER,
    AdamWConfig,
    GradAccumulationConfig,
    MixedPrecisionConfig,
    OptimizerSection,
    RegimeSection,
    TrainerSection,
)


def recipe_config(config: RunConfig) -> RecipeConfig:
    """Return the sections of a run. Its length is not among them: the budget ends it."""
    precision = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(config.amp)
    every = config.log_every_steps
    sections = RecipeConfig(
        trainer=TrainerSection(
            data_parallelism=config.parallelism,
            mixed_precision=MixedPrecisionConfig(
                mode="off" if precision is None else "auto", dtype=precision or torch.float32
            ),
            grad_accumulation=GradAccumulationConfig(num_batches=config.accumulate),
            max_grad_norm=config.clip_norm or None,
        ),
        optimizer=OptimizerSection(
            name=ADAMW_OPTIMIZER,
            config=AdamWConfig(
                lr=config.lr,
                betas=config.betas,
                eps=config.eps,
                weight_decay=config.weight_decay,
            ),
        ),
        regime=RegimeSection(
            validate_every_n_steps=_multiple(config.validate_every_steps, every),
            checkpoint_every_n_steps=_multiple(config.save_every_steps, every),
            keep_last_n_checkpoints=config.keep_checkpoints,
            publish_metrics_every_n_steps=every,
        ),
    )
    sections.common.seed = config.seed
    # Otherwise every changed key would begin a run in a folder of its own.
    sections.common.no_sweep_dir = True
    sections.common.torch.num_threads = config.threads
    sections.common.metric_recorders.tensorboard.enabled = False
    return sections


def _multiple(steps: int, of: int) -> int:
    """Return the next multiple: fairseq2 wants its intervals to fit into each other."""
    return -(-steps // of) * of
