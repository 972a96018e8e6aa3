"""Phones and frames: length regulation, positions, time scale and merging."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.errors import ConfigError
from speechkit.diffusion.duration import (
    merge_repeats,
    phone_positions,
    regulate_length,
    time_scale,
)

lengths = st.lists(st.integers(0, 40), min_size=1, max_size=30)
speeds = st.floats(0.25, 4.0)


@settings(deadline=None)
@given(lengths)
def test_regulating_repeats_each_value(frames: list[int]) -> None:
    values = [7 * n for n in range(len(frames))]
    expected = [v for v, count in zip(values, frames, strict=True) for _ in range(count)]
    assert regulate_length(torch.tensor(values), torch.tensor(frames)).tolist() == expected


@settings(deadline=None)
@given(lengths)
def test_positions_run_through_each_phone(frames: list[int]) -> None:
    expected = [((i + 0.5) / count, math.log(count)) for count in frames for i in range(count)]
    got = phone_positions(torch.tensor(frames))
    assert got.shape == (sum(frames), 2)
    torch.testing.assert_close(got, torch.tensor(expected).reshape(-1, 2))


@settings(deadline=None)
@given(lengths, speeds)
def test_time_scaling_keeps_phones_and_the_total(frames: list[int], speed: float) -> None:
    before = torch.tensor(frames)
    after = time_scale(before, speed)
    assert torch.equal(after > 0, before > 0)
    exact = sum(frames) / speed
    # Phones that would round to nothing keep a frame, which can only lengthen the whole.
    kept = sum(1 for count in frames if 0 < count < speed)
    assert exact - 0.5 - 1e-6 <= int(after.sum()) <= exact + 0.5 + kept + 1e-6


@settings(deadline=None)
@given(st.lists(st.integers(8, 40), min_size=1, max_size=30), speeds)
def test_time_scaling_long_phones_is_exact_within_rounding(frames: list[int], speed: float) -> None:
    after = time_scale(torch.tensor(frames), speed)
    assert abs(int(after.sum()) - sum(frames) / speed) <= 0.5 + 1e-6
    ends = torch.cumsum(torch.tensor(frames), 0) / speed
    assert bool(((torch.cumsum(after, 0) - ends).abs() <= 0.5 + 1e-4).all())


def test_halves_are_all_rounded_alike() -> None:
    # Halves to even would give 0, 2, 0, 2, 0, 1, and noughts are made one: 8 for 10 / 2.
    after = time_scale(torch.tensor([1, 2, 2, 2, 2, 1]), 2.0)
    assert after.tolist() == [1, 1, 1, 1, 1, 1]


@settings(deadline=None)
@given(lengths)
def test_normal_speed_changes_nothing(frames: list[int]) -> None:
    assert time_scale(torch.tensor(frames), 1.0).tolist() == frames


@pytest.mark.parametrize("speed", [0.0, -1.0, 0.2, 4.1, math.inf, math.nan])
def test_speeds_out_of_range_are_refused(speed: float) -> None:
    with pytest.raises(ConfigError, match="from 0.25 to 4"):
        time_scale(torch.tensor([3]), speed)


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=50))
def test_merging_is_undone_by_regulating(classes: list[int]) -> None:
    values_P, frames_P = merge_repeats(torch.tensor(classes))
    assert regulate_length(values_P, frames_P).tolist() == classes
    assert bool((frames_P > 0).all())
    assert bool((values_P[1:] != values_P[:-1]).all())
