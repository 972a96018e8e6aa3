"""Durations: whatever is drawn, what comes out is as long as speech can be."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from speechkit.diffusion.limits import DEFAULT_LIMITS, bound_durations

FRAME_SECONDS = 0.02

rows = st.lists(st.tuples(st.integers(0, 400), st.booleans()), min_size=1, max_size=60)


def bounded(frames_P: Tensor, pause_P: Tensor, seconds: float = FRAME_SECONDS) -> Tensor:
    return bound_durations(frames_P, pause_P, seconds)


def split(row: list[tuple[int, bool]]) -> tuple[Tensor, Tensor]:
    return torch.tensor([frames for frames, _ in row]), torch.tensor([pause for _, pause in row])


def test_six_words_on_a_held_tone_last_no_seventeen_seconds() -> None:
    """The cat sat on the mat: 17 phones between 7 boundaries, each as long as the prompt's."""
    pause_P = torch.tensor([True, *([False] * 3 + [True]) * 5, False, False, True])
    frames_P = torch.full((len(pause_P),), 36)
    assert float(frames_P.sum()) * FRAME_SECONDS > 17
    out_P = bounded(frames_P, pause_P)
    words = float(out_P[~pause_P].sum()) * FRAME_SECONDS
    assert words <= 17 * 0.25 + 0.5
    assert int(out_P.max()) <= 75


def test_speech_comes_back_as_it_is() -> None:
    pause_P = torch.tensor([True, False, False, True, False, False, False, True])
    frames_P = torch.tensor([5, 4, 9, 0, 3, 6, 17, 30])
    assert torch.equal(bounded(frames_P, pause_P), frames_P)


def test_gabble_is_slowed_to_what_can_be_heard() -> None:
    pause_P = torch.zeros(100, dtype=torch.bool)
    out_P = bounded(torch.ones(100, dtype=torch.long), pause_P)
    assert int(out_P.sum()) == 200
    assert set(out_P.tolist()) == {2}


def test_only_pauses_and_padding_are_left_alone() -> None:
    pause_P = torch.ones(4, dtype=torch.bool)
    assert bounded(torch.tensor([0, 10, 0, 200]), pause_P).tolist() == [0, 10, 0, 75]


@given(rows, st.sampled_from([0.02, 0.0125]))
def test_every_row_ends_within_the_limits(row: list[tuple[int, bool]], seconds: float) -> None:
    frames_P, pause_P = split(row)
    out_P = bounded(frames_P, pause_P, seconds)
    words_P = out_P[~pause_P]
    assert out_P.dtype == torch.int64
    assert bool((out_P[pause_P] * seconds <= DEFAULT_LIMITS.max_pause).all())
    assert bool((words_P >= 1).all())
    assert bool((words_P * seconds <= DEFAULT_LIMITS.max_phone).all())
    if len(words_P):
        total = float(words_P.sum()) * seconds
        assert total <= 0.25 * len(words_P) + 0.5 + 1e-6
        assert total >= 0.04 * len(words_P) - 1e-6
    assert torch.equal(bounded(out_P, pause_P, seconds), out_P)


@given(st.lists(rows, min_size=1, max_size=4))
def test_a_row_of_a_batch_is_bounded_as_alone(batch: list[list[tuple[int, bool]]]) -> None:
    width = max(map(len, batch))
    padded = [row + [(0, True)] * (width - len(row)) for row in batch]
    frames_BP = torch.stack([split(row)[0] for row in padded])
    pause_BP = torch.stack([split(row)[1] for row in padded])
    out_BP = bounded(frames_BP, pause_BP)
    for row, out_P in zip(batch, out_BP, strict=True):
        assert torch.equal(out_P[: len(row)], bounded(*split(row)))
        assert not out_P[len(row) :].any()


@pytest.mark.parametrize("speed", [0.25, 1.0, 4.0])
def test_it_works_together_with_the_time_scale(speed: float) -> None:
    from speechkit.diffusion.duration import time_scale

    pause_P = torch.tensor([True, False, False, False, True])
    out_P = time_scale(bounded(torch.tensor([90, 90, 90, 90, 90]), pause_P), speed)
    assert bool((out_P > 0).all())
