"""Pieces of clips with a label, and what is common to choosing them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from speechkit.core.errors import DataError
from speechkit.core.rng import derive, generator

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A cut of a clip."""

    clip: int
    """Which clip of the corpus."""
    start: int
    """First sample."""
    stop: int
    """Sample behind the last."""
    label: int
    """Class: a speaker or a word."""
    test: bool
    """Used to test and not to train."""


def shuffled(items: Iterable[Item], seed: int, *names: str | int) -> list[Item]:
    """Return the items in an order that depends on the seed and the names."""
    kept = list(items)
    rng = generator(derive(seed, "probe", *names))
    return [kept[place] for place in torch.randperm(len(kept), generator=rng).tolist()]


def in_turns(groups: Sequence[Sequence[Item]]) -> list[Item]:
    """Return the first item of each group, then the second of each, and so on."""
    longest = max((len(group) for group in groups), default=0)
    return [group[turn] for turn in range(longest) for group in groups if turn < len(group)]


def held_out(speakers: Iterable[int], share: float, seed: int, name: str) -> set[int]:
    """Return speakers to test on: a share of them, at least one.

    Raises DataError for fewer than two speakers.
    """
    order = shuffled(sorted(set(speakers)), seed, name)
    if len(order) < 2:
        raise DataError(
            f"The {name} probe needs clips of two speakers, to be tested on another voice, and has "
            f"{len(order)}: widen the selection."
        )
    return set(order[: max(1, int(share * len(order)))])
