"""The frame grid: ceil, exact inverses, and refusal of nonsense."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.core.timebase import Timebase

timebases = st.builds(
    Timebase,
    sample_rate_hz=st.sampled_from([8_000, 16_000, 22_050, 24_000, 44_100]),
    hop_samples=st.integers(1, 1_000),
)
counts = st.integers(0, 10_000_000)


@given(timebases, counts)
def test_frames_just_cover_the_samples(timebase: Timebase, samples: int) -> None:
    frames = timebase.frames(samples)
    assert timebase.samples(frames) >= samples
    assert frames == 0 or timebase.samples(frames - 1) < samples


@given(timebases, counts)
def test_whole_frames_survive_both_round_trips(timebase: Timebase, frames: int) -> None:
    assert timebase.frames(timebase.samples(frames)) == frames
    assert timebase.frames_from_seconds(timebase.seconds(frames)) == frames


@given(timebases, counts, counts)
def test_frames_never_fall_as_samples_grow(timebase: Timebase, first: int, second: int) -> None:
    low, high = sorted((first, second))
    assert timebase.frames(low) <= timebase.frames(high)


def test_default_grid_is_fifty_frames_a_second() -> None:
    timebase = Timebase()
    assert timebase.frames_per_second == 50
    assert timebase.frames(1) == 1
    assert timebase.frames(321) == 2
    assert timebase.frames_from_seconds(0.06) == 3


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0])
def test_impossible_lengths_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"finite|negative"):
        Timebase().frames_from_seconds(seconds)


def test_impossible_grids_and_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Timebase(hop_samples=0)
    with pytest.raises(ValueError, match="negative"):
        Timebase().frames(-1)
    with pytest.raises(ValueError, match="negative"):
        Timebase().samples(-1)
