"""Seeds: the same everywhere, different for different paths."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from speechkit.core.rng import derive, generator

seeds = st.integers(0, 2**63 - 1)
paths = st.lists(st.text(max_size=8) | st.integers(), max_size=4)


@given(seeds, paths)
def test_derived_seeds_start_a_generator(seed: int, path: list[str | int]) -> None:
    derived = derive(seed, *path)
    assert 0 <= derived < 2**63
    assert derived == derive(seed, *path)
    generator(derived)


@given(seeds, paths, paths)
def test_different_paths_give_different_seeds(
    seed: int, one: list[str | int], other: list[str | int]
) -> None:
    assert (derive(seed, *one) == derive(seed, *other)) == (one == other)


def test_paths_are_told_apart_by_kind_and_border() -> None:
    assert derive(0, "1") != derive(0, 1)
    assert derive(0, "ab") != derive(0, "a", "b")
    assert derive(1, 0) != derive(0, 1)


def test_derived_seed_is_pinned() -> None:
    """A change here would change every training run and every voice of a given seed."""
    assert derive(0, "step", 7, 0) == 8787834218168187867


def test_generator_draws_the_same_from_the_same_seed() -> None:
    first = torch.rand(5, generator=generator(3))
    torch.rand(100)
    assert torch.equal(first, torch.rand(5, generator=generator(3)))
    assert not torch.equal(first, torch.rand(5, generator=generator(4)))
