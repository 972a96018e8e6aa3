"""Seeds and generators: all randomness in the package comes from a `torch.Generator` made here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def generator(seed: int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a new generator on ``device`` that starts from ``seed`` (0 to 2**63 - 1)."""
    rng = torch.Generator(device=device)
    rng.manual_seed(seed)
    return rng


def derive(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed that depends on ``seed`` and the path of names, and on nothing else.

    The same on every machine and in every process, unlike `hash`. Sibling seeds are independent,
    so ``derive(seed, "step", 7)`` lets step 7 be drawn without drawing the steps before it.
    """
    # JSON keeps 1 apart from "1" and ("a", "b") apart from ("ab",).
    path = json.dumps([seed, *names]).encode()
    return int.from_bytes(hashlib.sha256(path).digest()[:8], "big") >> 1


def uniform(low: float, high: float, rng: torch.Generator) -> float:
    """Return a number between the two ends."""
    return low + (high - low) * float(torch.rand((), generator=rng, dtype=torch.float64))


def integer(end: int, rng: torch.Generator) -> int:
    """Return a whole number from 0 to ``end`` - 1."""
    return int(torch.randint(end, (), generator=rng))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let torch's own generator, which layers draw their weights from, start from a seed.

    Afterwards it is as it was before.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
