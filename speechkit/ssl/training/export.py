"""Model folders written while a run goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from speechkit.ssl.training.job import Job


def bare(model: nn.Module) -> nn.Module:
    """Return the model inside a data-parallel wrapper."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def export_atomically(job: Job, model: nn.Module, folder: Path, write: bool) -> None:
    """Write the model beside ``folder`` and rename it there; all processes must call this.

    Sharded parameters are gathered first, which is why processes that do not ``write`` take part.
    """
    module = bare(model)
    sharded = {
        name: value.full_tensor().cpu()
        for name, value in module.state_dict().items()
        if hasattr(value, "full_tensor")
    }
    if not write:
        return
    if sharded:
        module = job.build()
        module.load_state_dict(sharded, strict=False)
    temporary = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    training = module.training
    module.eval()
    with torch.no_grad():
        job.export(temporary, module)
    module.train(training)
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    temporary.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
