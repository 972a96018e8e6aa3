"""Processes that train together, forked so that none has to import torch again."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from speechkit.train import Task, TrainConfig, train


def together(program: Callable[[int], None], size: int = 2) -> None:
    """Run ``program(rank)`` in processes with the environment that torchrun gives them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]

    def run(rank: int) -> None:
        os.environ |= {
            "RANK": str(rank),
            "WORLD_SIZE": str(size),
            "LOCAL_RANK": str(rank),
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(port),
        }
        torch.set_num_threads(1)
        program(rank)

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=run, args=(rank,)) for rank in range(size)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=300)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert codes == [0] * size


def train_together(build: Callable[[], Task], config: TrainConfig, out: Path) -> None:
    """Train in two processes, each of which leaves its tensors in ``out``, if they are whole."""

    def program(rank: int) -> None:
        task = build()
        train(task, config, out)
        if config.parallelism == "fsdp":
            return
        safetensors.torch.save_file(tensors_of(task.model), str(out / f"rank{rank}.safetensors"))

    together(program)


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and all buffers, also those that are not saved."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach().clone().contiguous() for name, tensor in named}


def left_by(out: Path, rank: int) -> dict[str, Tensor]:
    """What `train_together` left of one process."""
    return safetensors.torch.load_file(str(out / f"rank{rank}.safetensors"))
