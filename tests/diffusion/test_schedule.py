"""The forward process: schedule and masking."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.rng import generator
from speechkit.diffusion.masking import draw_mask
from speechkit.diffusion.schedule import mask_ratio, mask_ratios, masked_counts


def test_masked_counts_of_the_paper() -> None:
    assert masked_counts(240, 4) == (221, 169, 91, 0)


@settings(deadline=None)
@given(st.integers(0, 5000), st.integers(1, 64))
def test_masked_counts_fall_to_zero(positions: int, steps: int) -> None:
    counts = masked_counts(positions, steps)
    assert len(counts) == steps
    assert counts[-1] == 0
    assert all(late <= early for early, late in zip((positions, *counts), counts, strict=False))


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_mask_ratio_rises_with_time(one: float, other: float) -> None:
    early, late = sorted((one, other))
    assert 0.0 <= mask_ratio(early) <= mask_ratio(late) <= 1.0
    assert mask_ratio(one) == pytest.approx(float(mask_ratios(torch.tensor([one]))), abs=1e-6)


def test_mask_ratio_at_the_ends_and_outside() -> None:
    assert (mask_ratio(0), mask_ratio(1)) == (0.0, 1.0)
    assert mask_ratio(0.5) == pytest.approx(math.sqrt(0.5))
    for time in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            mask_ratio(time)
    with pytest.raises(ValueError, match="at least 1 step"):
        masked_counts(10, 0)


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 20), st.integers(0, 10**6), st.floats(0, 1))
def test_masking_stays_in_the_target_and_masks_something(
    batch: int, length: int, seed: int, time: float
) -> None:
    rng = generator(seed)
    target_BL = torch.rand(batch, length, generator=rng) < 0.5
    masked_BL = draw_mask(torch.full((batch,), time), target_BL, rng)
    assert not bool((masked_BL & ~target_BL).any())
    assert torch.equal(masked_BL.any(-1), target_BL.any(-1))


@pytest.mark.parametrize("time", [0.1, 0.5, 0.9])
def test_the_masked_share_is_that_of_the_time(time: float) -> None:
    target_BL = torch.ones(4, 5000, dtype=torch.bool)
    share = draw_mask(torch.full((4,), time), target_BL, generator(0)).float().mean()
    assert float(share) == pytest.approx(mask_ratio(time), abs=0.02)


def test_at_time_one_everything_is_masked_and_at_zero_one_position() -> None:
    target_BL = torch.ones(2, 9, dtype=torch.bool)
    masked_BL = draw_mask(torch.tensor([1.0, 0.0]), target_BL, generator(0))
    assert masked_BL.sum(-1).tolist() == [9, 1]
