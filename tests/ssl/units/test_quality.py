"""Quality of units: exact cases, bounds and symmetries."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.errors import DataError
from speechkit.core.rng import generator
from speechkit.ssl.units.quality import count_joint, phone_classes, phones_at, quality, usage

TABLES = st.integers(1, 6).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(0, 20), min_size=width, max_size=width), min_size=1, max_size=6
    ).filter(lambda rows: any(map(any, rows)))
)


@settings(deadline=None, max_examples=20)
@given(rows=TABLES, seed=st.integers(0, 99))
def test_bounds_and_names_do_not_matter(rows: list[list[int]], seed: int) -> None:
    joint_YK = torch.tensor(rows)
    found = quality(joint_YK)
    frames = int(joint_YK.sum())
    phone_share = float(joint_YK.sum(1).max()) / frames
    unit_share = float(joint_YK.sum(0).max()) / frames
    assert 0.0 <= found.pnmi <= 1.0
    # Guessing the commonest without looking is never better; and no table is.
    assert phone_share - 1e-9 <= found.phone_purity <= 1.0
    assert unit_share - 1e-9 <= found.cluster_purity <= 1.0
    assert found.frames == frames
    rng = generator(seed)
    order_Y = torch.randperm(joint_YK.shape[0], generator=rng)
    order_K = torch.randperm(joint_YK.shape[1], generator=rng)
    other = quality(joint_YK[order_Y][:, order_K])
    assert other.pnmi == pytest.approx(found.pnmi, abs=1e-9)
    assert other.phone_purity == found.phone_purity
    assert other.cluster_purity == found.cluster_purity


@settings(deadline=None, max_examples=20)
@given(rows=TABLES)
def test_splitting_units_never_loses_and_merging_never_gains(rows: list[list[int]]) -> None:
    joint_YK = torch.tensor(rows)
    fine = quality(joint_YK)
    coarse = quality(torch.cat([joint_YK[:, :2].sum(1, keepdim=True), joint_YK[:, 2:]], 1))
    assert coarse.pnmi <= fine.pnmi + 1e-9
    assert coarse.phone_purity <= fine.phone_purity + 1e-9
    assert coarse.cluster_purity >= fine.cluster_purity - 1e-9


def test_the_phones_themselves_are_perfect_units_under_any_names() -> None:
    phones = torch.randint(7, (500,), generator=generator(0))
    found = quality(count_joint(phones, 6 - phones, 7, 7))
    assert found.pnmi == pytest.approx(1.0)
    assert (found.phone_purity, found.cluster_purity) == (1.0, 1.0)
    assert found.phones == 7


def test_independent_units_tell_nothing() -> None:
    rng = generator(0)
    phones, units = (torch.randint(k, (50_000,), generator=rng) for k in (5, 8))
    found = quality(count_joint(phones, units, 5, 8))
    assert found.pnmi < 0.002
    assert found.phone_purity == pytest.approx(0.2, abs=0.02)


def test_a_table_worked_out_by_hand() -> None:
    found = quality(torch.tensor([[2, 0], [1, 1]]))
    # H(phone) = ln 2; H(unit) = H(3/4); H(joint) = 1.5 ln 2.
    unit = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert found.pnmi == pytest.approx((unit - 0.5 * math.log(2)) / math.log(2))
    assert (found.phone_purity, found.cluster_purity) == (0.75, 0.75)


def test_nothing_to_compare_and_nothing_to_know() -> None:
    with pytest.raises(DataError, match="no frame"):
        quality(torch.zeros(2, 3, dtype=torch.int64))
    assert quality(torch.tensor([[3, 4]])).pnmi == 0.0


def test_stress_goes_and_all_pauses_are_one() -> None:
    classes, class_of = phone_classes(["<pad>", "^", " ", ",", "AA0", "AA1", "B", "AA2"])
    assert classes == ("SIL", "AA", "B")
    assert class_of.tolist() == [0, 0, 0, 0, 1, 1, 2, 1]


def test_phones_are_read_at_the_centre_of_each_window() -> None:
    ids_P, frames_P = torch.tensor([7, 9, 8]), torch.tensor([1, 0, 2])
    # Phone 7 lasts to sample 320, 8 to 960; centres lie at 200, 360, 520, 680, 840, 1000.
    assert phones_at(ids_P, frames_P, 6, 100).tolist() == [7, 8, 8, 8, 8]
    # At 50 Hz unit and alignment frames are the same: centres 200, 520, 840.
    assert phones_at(ids_P, frames_P, 3, 50).tolist() == [7, 8, 8]


@settings(deadline=None, max_examples=30)
@given(clips=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=9), min_size=1, max_size=4))
def test_usage_counts_and_perplexity_lies_between_one_and_what_is_used(
    clips: list[list[int]],
) -> None:
    found = usage([torch.tensor(clip) for clip in clips], 6)
    assert found.used == len({unit for clip in clips for unit in clip})
    assert 1.0 - 1e-9 <= found.perplexity <= found.used + 1e-9
    assert 0.0 <= found.repeats <= 1.0


def test_even_use_has_perplexity_k_and_repeats_stay_inside_clips() -> None:
    found = usage([torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2])], 3)
    assert found.perplexity == pytest.approx(3.0)
    assert found.repeats == 0.5
    with pytest.raises(DataError):
        usage([], 3)
