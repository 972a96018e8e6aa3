"""Frame grids: frames just cover the samples, and lengths in seconds come out whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.core.timebase import frame_count, nearest_frames

hops = st.integers(1, 5000)
counts = st.integers(0, 10**9)


@given(counts, hops)
def test_frames_just_cover_the_samples(samples: int, hop: int) -> None:
    frames = frame_count(samples, hop)
    assert frames * hop >= samples
    assert frames == 0 or (frames - 1) * hop < samples
    assert frame_count(frames * hop, hop) == frames


@given(st.integers(0, 10**6), st.sampled_from([8_000, 16_000, 24_000, 44_100]), hops)
def test_whole_frames_survive_seconds(frames: int, rate_hz: int, hop: int) -> None:
    assert nearest_frames(frames * hop / rate_hz, rate_hz, hop) == frames


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (320, 1), (321, 2)])
def test_the_grid_of_the_small_codec(samples: int, frames: int) -> None:
    assert frame_count(samples, 320) == frames
    assert nearest_frames(0.06, 16_000, 320) == 3
