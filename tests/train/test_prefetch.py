"""The background thread changes nothing but the time."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from speechkit.train.prefetch import Prefetcher, map_tensors


def test_results_come_in_order_and_the_thread_ends() -> None:
    before = threading.active_count()
    with Prefetcher(lambda number: number * number, first=3) as results:
        assert [results.get() for _ in range(20)] == [n * n for n in range(3, 23)]
    assert threading.active_count() == before


def test_an_error_reaches_the_caller_after_the_good_results() -> None:
    def draw(number: int) -> int:
        if number == 2:
            raise ValueError("clip 2 is broken")
        return number

    with Prefetcher(draw, first=0) as results:
        assert [results.get(), results.get()] == [0, 1]
        with pytest.raises(ValueError, match="clip 2"):
            results.get()


class Pair(NamedTuple):
    first: Tensor
    second: int


@dataclass(frozen=True)
class Batch:
    pair: Pair
    many: dict[str, list[Tensor]]
    name: str


def test_map_tensors_keeps_the_structure() -> None:
    batch = Batch(Pair(torch.ones(2), 3), {"x": [torch.ones(1), torch.zeros(1)]}, "clip")
    doubled = map_tensors(lambda tensor: tensor * 2, (batch, None))
    assert isinstance(doubled, tuple)
    assert doubled[1] is None
    assert torch.equal(doubled[0].pair.first, torch.full((2,), 2.0))
    assert isinstance(doubled[0].pair, Pair)
    assert [float(tensor) for tensor in doubled[0].many["x"]] == [2.0, 0.0]
    assert doubled[0].name == "clip"
