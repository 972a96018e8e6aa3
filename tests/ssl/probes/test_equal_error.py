from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from speechkit.core.errors import DataError
from speechkit.ssl.probes.speakers import equal_error

SCORES = st.lists(st.integers(-20, 20).map(lambda value: value / 8), min_size=1, max_size=25)


def by_force(same: list[float], other: list[float]) -> float:
    """Try every threshold; of equally good ones the lowest counts."""
    best = (2.0, 0.0)
    for threshold in sorted({*same, *other, float("inf")}):
        rejected = sum(score < threshold for score in same) / len(same)
        accepted = sum(score >= threshold for score in other) / len(other)
        if abs(rejected - accepted) < best[0] - 1e-12:
            best = (abs(rejected - accepted), (rejected + accepted) / 2)
    return best[1]


@settings(max_examples=150, deadline=None)
@given(SCORES, SCORES)
@example([0.0] * 5 + [0.125] * 2 + [0.25] * 3, [0.0] * 2 + [0.25] * 3)
def test_equal_error_is_that_of_all_thresholds(same: list[float], other: list[float]) -> None:
    found = equal_error(torch.tensor(same), torch.tensor(other))
    assert found == pytest.approx(by_force(same, other), abs=1e-6)
    squeezed = equal_error(torch.tensor(same).tanh(), torch.tensor(other).tanh())
    assert squeezed == pytest.approx(found, abs=1e-6)


def test_ends_of_the_scale() -> None:
    low, high = torch.linspace(-1, 0, 50), torch.linspace(0.1, 1, 70)
    assert equal_error(high, low) == 0
    assert equal_error(low, high) == pytest.approx(1)
    assert equal_error(low, low) == pytest.approx(0.5, abs=0.02)


def test_without_trials() -> None:
    with pytest.raises(DataError, match="trials"):
        equal_error(torch.zeros(0), torch.zeros(3))
