"""One process or many: the few collective operations that training needs.

What the processes must know of each other to go on, such as the time and signals, travels between
CPUs, so that no device is waited for. Gradients are averaged by hand after the backward passes
instead of by DistributedDataParallel, which sees only calls of ``model.forward`` and so misses
tasks that call parts of their model.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from speechkit.core.errors import ConfigError

BUCKET_ELEMENTS = 8 * 1024**2
"""Gradients travel in pieces of about this many numbers."""
TIMEOUT = datetime.timedelta(hours=2)
"""The other processes wait this long while the first one validates and saves."""

ValueT = TypeVar("ValueT")


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether the device has instructions that multiply bfloat16 numbers."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Private names of torch, and without them the answer is the safe one.
    checks = [
        getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile")
    ]
    return any(check is not None and check() for check in checks)


@dataclass(frozen=True, kw_only=True)
class World:
    """The processes that train together, as one of them sees it."""

    rank: int
    """Number of this process."""
    size: int
    """Number of processes."""
    device: torch.device
    """Where this process computes."""

    def autocast(self, amp: str) -> torch.autocast:
        """Return the context to compute losses in, for the setting ``amp`` of a training run.

        It keeps no half-precision copies of parameters: one made under `torch.no_grad` would be
        taken up by the passes after it, and its parameter would get no gradient in that step.
        """
        if amp == "fp16":
            return torch.autocast(self.device.type, torch.float16, cache_enabled=False)
        wanted = self.multiplied(amp) == torch.bfloat16
        return torch.autocast(self.device.type, torch.bfloat16, enabled=wanted, cache_enabled=False)

    def multiplied(self, amp: str) -> torch.dtype:
        """Return the format of large products for ``amp``: bfloat16, or float32 for all others."""
        wanted = amp == "bf16" or (amp == "auto" and multiplies_bfloat16(self.device))
        return torch.bfloat16 if wanted else torch.float32

    @property
    def is_main(self) -> bool:
        """True in the one process that logs, validates and writes files."""
        return self.rank == 0

    def total(self, *values: float) -> list[float]:
        """Return each value summed over the processes: the same numbers in all of them."""
        if self.size == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums)
        return sums.tolist()

    def summed(self, x: Tensor) -> Tensor:
        """Return a tensor on the device summed over the processes, without waiting for it."""
        if self.size > 1:
            x = x.detach().clone()
            dist.all_reduce(x)
        return x

    def gather(self, value: ValueT) -> list[ValueT]:
        """Return the values of all processes in order of rank. For small Python objects."""
        if self.size == 1:
            return [value]
        values: list[ValueT] = [value] * self.size
        dist.all_gather_object(values, value)
        return values

    def share(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite the tensors with those of the first process."""
        if self.size == 1:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.detach().reshape(-1) for tensor in bucket])
            dist.broadcast(flat, src=0)
            _unflatten(flat, bucket)


class GradientMean:
    """The mean of gradients over the processes, and the memory that they travel in.

    The memory is kept: to ask the system for it at every step takes longer than the travel.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._parameters = list(parameters)
        self._flats: list[Tensor] = []

    @torch.no_grad()
    def take(self, world: World) -> None:
        """Replace each gradient with its mean over the processes. All have to call.

        A gradient that some process lacks counts as zero there; one that all lack stays absent.
        The gradients are valid until the next call.
        """
        if world.size == 1:
            return
        present = torch.tensor([float(p.grad is not None) for p in self._parameters])
        dist.all_reduce(present)
        moved = [p for p, count in zip(self._parameters, present.tolist(), strict=True) if count]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in moved]
        owners = iter(moved)
        for index, bucket in enumerate(_buckets(gradients)):
            flat = self._flat(index, sum(one.numel() for one in bucket), bucket[0])
            torch.cat([one.reshape(-1) for one in bucket], out=flat)
            dist.all_reduce(flat)
            flat.div_(world.size)
            for piece in torch.split(flat, [one.numel() for one in bucket]):
                owner = next(owners)
                owner.grad = piece.view_as(owner)

    def _flat(self, index: int, elements: int, like: Tensor) -> Tensor:
        """Return the memory of piece ``index``: what was used at the last step, if it fits."""
        known = self._flats[index] if index < len(self._flats) else None
        if known is not None and known.numel() == elements and known.dtype == like.dtype:
            return known
        flat = torch.empty(elements, dtype=like.dtype, device=like.device)
        self._flats[index : index + 1] = [flat]
        return flat


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What a launcher says of this process in its environment."""

    rank: int = 0
    """Number of this process."""
    local_rank: int = 0
    """Its number on this machine."""
    size: int = 1
    """Number of processes."""
    address: str = ""
    """Host of the first process; empty where torch finds it by itself."""
    port: int = 0
    """Port on that host."""


def read_launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """Return how this process was launched: by torchrun, by SLURM's srun, or alone.

    torchrun within srun counts as torchrun. Under srun the first process listens on the first host
    of the step, on MASTER_PORT or a port that follows from the job's number.
    """
    if "RANK" in environment:
        return Launch(
            rank=int(environment["RANK"]),
            local_rank=int(environment.get("LOCAL_RANK", "0")),
            size=int(environment.get("WORLD_SIZE", "1")),
        )
    # Only srun sets the number of tasks of a step: a batch script alone is one process.
    size = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    if size == 1 or "SLURM_PROCID" not in environment:
        return Launch()
    hosts = environment.get("SLURM_STEP_NODELIST", "")
    job = int(environment.get("SLURM_JOB_ID", "0"))
    return Launch(
        rank=int(environment["SLURM_PROCID"]),
        local_rank=int(environment.get("SLURM_LOCALID", "0")),
        size=size,
        address=environment.get("MASTER_ADDR") or first_host(hosts) or "localhost",
        port=int(environment.get("MASTER_PORT") or 20_000 + job % 20_000),
    )


def first_host(hosts: str) -> str:
    """Return the first of SLURM's host names, such as gpu003 of "gpu[003-006,010],cpu1"."""
    head, bracket, ranges = hosts.partition("[")
    if not bracket or "," in head:
        return head.split(",")[0]
    return head + re.split("[-,\\]]", ranges)[0]


def pick_device(device: str) -> torch.device:
    """Return the device for "auto" (CUDA if there is any), "cpu" or "cuda".

    Raises ConfigError when CUDA is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("There is no CUDA device here: give --device cpu, or auto.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


@contextmanager
def join_world(device: str) -> Iterator[World]:
    """Give the world of this process, as its launcher describes it, and leave it at the end.

    ``device`` is "auto", "cpu" or "cuda". CUDA tensors travel through NCCL, others through Gloo.
    Raises ConfigError when CUDA is asked for and there is none.
    """
    launch = read_launch()
    where = pick_device(device)
    if where.type == "cuda":
        where = torch.device("cuda", launch.local_rank)
        torch.cuda.set_device(where)
    if launch.size == 1 and not dist.is_initialized():
        yield World(rank=0, size=1, device=where)
        return
    ours = not dist.is_initialized()
    if ours:
        # What torchrun has set in the environment torch reads there.
        given: dict[str, Any] = {}
        if launch.address:
            address = f"tcp://{launch.address}:{launch.port}"
            given = {"init_method": address, "rank": launch.rank, "world_size": launch.size}
        backend = "cpu:gloo,cuda:nccl" if where.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=TIMEOUT, **given)
    try:
        yield World(rank=dist.get_rank(), size=dist.get_world_size(), device=where)
    finally:
        if ours:
            dist.destroy_process_group()


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Give the tensors in order, in groups of one type and limited size."""
    bucket: list[Tensor] = []
    elements = 0
    for tensor in tensors:
        full = elements + tensor.numel() > BUCKET_ELEMENTS
        if bucket and (full or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, elements = [], 0
        bucket.append(tensor)
        elements += tensor.numel()
    if bucket:
        yield bucket


@torch.no_grad()
def _unflatten(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    """Copy consecutive pieces of ``flat`` into the tensors."""
    pieces = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, piece in zip(tensors, pieces, strict=True):
        tensor.copy_(piece.view_as(tensor))
