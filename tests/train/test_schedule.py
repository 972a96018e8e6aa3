"""Properties of the learning-rate schedule and the budget."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.train.schedule import lr_multiplier, progress_of

Decay = Literal["constant", "cosine", "trapezoid"]
decays = st.sampled_from(["constant", "cosine", "trapezoid"])
shares = st.floats(0.0, 1.0)


@given(st.integers(0, 10**7), st.floats(0.0, 3.0), st.integers(0, 10**4), decays, shares, shares)
def test_stays_between_zero_and_one(
    step: int, progress: float, warmup: int, decay: Decay, decay_share: float, final: float
) -> None:
    value = lr_multiplier(
        step,
        progress,
        warmup_steps=warmup,
        decay=decay,
        decay_share=decay_share,
        final_lr_share=final,
    )
    assert 0.0 <= value <= 1.0 + 1e-12


@given(shares, shares, decays, shares, shares)
def test_never_rises_after_warmup(
    one: float, other: float, decay: Decay, decay_share: float, final: float
) -> None:
    early, late = sorted((one, other))
    values = [
        lr_multiplier(
            9,
            progress,
            warmup_steps=0,
            decay=decay,
            decay_share=decay_share,
            final_lr_share=final,
        )
        for progress in (early, late)
    ]
    assert values[0] >= values[1] - 1e-12


@given(st.integers(1, 10**4), st.integers(0, 10**4))
def test_warmup_is_linear_and_reaches_one(warmup: int, step: int) -> None:
    value = lr_multiplier(
        step, 0.0, warmup_steps=warmup, decay="cosine", decay_share=0.3, final_lr_share=0.0
    )
    assert value == pytest.approx(min(1.0, (step + 1) / warmup))


@given(st.sampled_from(["cosine", "trapezoid"]), st.floats(0.01, 1.0), shares)
def test_ends_at_the_final_share(decay: Decay, decay_share: float, final: float) -> None:
    value = lr_multiplier(
        0, 1.0, warmup_steps=0, decay=decay, decay_share=decay_share, final_lr_share=final
    )
    assert value == pytest.approx(final, abs=1e-12)


def test_trapezoid_is_flat_then_linear() -> None:
    values = [
        lr_multiplier(
            0,
            progress,
            warmup_steps=0,
            decay="trapezoid",
            decay_share=0.4,
            final_lr_share=0.0,
        )
        for progress in (0.0, 0.6, 0.8, 1.0)
    ]
    assert values == pytest.approx([1.0, 1.0, 0.5, 0.0])


@given(st.integers(0, 1000), st.floats(0.0, 1e5), st.integers(1, 1000), st.floats(0.1, 1e3))
def test_the_tighter_budget_counts(step: int, seconds: float, steps: int, minutes: float) -> None:
    both = progress_of(step, seconds, steps=steps, minutes=minutes)
    assert both == max(
        progress_of(step, seconds, steps=steps, minutes=None),
        progress_of(step, seconds, steps=None, minutes=minutes),
    )
