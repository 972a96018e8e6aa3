"""The same shards, made by workers of Ray Data on one machine or many."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from speechkit.core.errors import ConfigError
from speechkit.ssl.augment.config import AugmentConfig
from speechkit.ssl.augment.files import Inputs, is_made
from speechkit.ssl.augment.pool import Pool


class ShardMaker:
    """What each worker of Ray keeps: the pool, loaded once."""

    def __init__(self, inputs: Inputs, config: AugmentConfig, folder: Path) -> None:
        """Load everything, once a worker."""
        self.pool = Pool(inputs, config, folder)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Make the shards of a batch, but for those that an earlier try finished."""
        for shard in batch["item"].tolist():
            if not is_made(self.pool.folder, shard):
                self.pool.make(shard)
        return batch


def make_with_ray(
    inputs: Inputs, config: AugmentConfig, folder: Path, shards: Sequence[int], workers: int
) -> None:
    """Make these shards with `workers` actors; `folder` has to be shared by all machines.

    Raises ConfigError where Ray is not installed.
    """
    try:
        # Not a plain import: Ray is no dependency, and its types are not looked for.
        ray = importlib.import_module("ray")
        importlib.import_module("ray.data")
    except ImportError as error:
        raise ConfigError(
            "Ray is not installed: pip install 'ray[data]', or leave --ray out and divide the work "
            "with --shard 1/2, 2/2 and so on."
        ) from error
    if not shards:
        return
    # Paths as every worker sees them: actors start in a folder of their own.
    there = replace(
        inputs,
        corpus=inputs.corpus.resolve(),
        units=inputs.units.resolve(),
        codec=inputs.codec.resolve(),
        generator=None if inputs.generator is None else inputs.generator.resolve(),
    )
    ours = not ray.is_initialized()
    if ours:
        ray.init(log_to_driver=False, include_dashboard=False)
    try:
        ray.data.from_items(list(shards)).map_batches(
            ShardMaker,
            fn_constructor_args=(there, config, folder.resolve()),
            batch_size=1,
            concurrency=min(workers, len(shards)),
            num_gpus=0 if inputs.device == "cpu" else 1,
        ).materialize()
    finally:
        if ours:
            ray.shutdown()
