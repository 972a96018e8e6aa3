from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.rng import generator
from speechkit.ssl.baselines import MixingConfig
from speechkit.ssl.baselines.augment import mix_utterances, mixing_gain

ALWAYS = MixingConfig(share=1.0)


def waves(rows: int, samples: int, seed: int) -> torch.Tensor:
    """Noise whose level differs from row to row."""
    level_B1 = torch.logspace(-3, 0, rows)[:, None]
    return level_B1 * torch.randn(rows, samples, generator=generator(seed))


@given(st.floats(1e-8, 1e3), st.floats(1e-8, 1e3), st.floats(-60, 60))
def test_what_is_added_lies_so_many_db_below(power: float, other: float, level_db: float) -> None:
    added = mixing_gain(power, other, level_db) ** 2 * other
    assert added / power == pytest.approx(10 ** (-level_db / 10), rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.floats(-20, 20))
def test_power_of_a_piece_in_a_batch(seed: int, level_db: float) -> None:
    # Of constant level, so that every piece has the power of its whole crop.
    sign_BT = torch.randint(2, (4, 2000), generator=generator(seed)).double() * 2 - 1
    wave_BT = sign_BT * torch.tensor([1e-3, 0.1, 1.0, 7.0], dtype=torch.float64)[:, None]
    config = MixingConfig(share=1.0, level_db=(level_db, level_db))
    added_BT = mix_utterances(wave_BT, config, generator(seed)) - wave_BT
    for wave_T, added_T in zip(wave_BT, added_BT, strict=True):
        piece = added_T[added_T != 0]
        assert len(piece) <= 1000
        if len(piece):
            ratio = float(piece.square().mean() / wave_T.square().mean())
            assert ratio == pytest.approx(10 ** (-level_db / 10), rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 400), st.integers(0, 2**32))
def test_one_piece_of_at_most_half_the_crop(rows: int, samples: int, seed: int) -> None:
    wave_BT = waves(rows, samples, seed)
    before = wave_BT.clone()
    mixed_BT = mix_utterances(wave_BT, ALWAYS, generator(seed))
    assert torch.equal(wave_BT, before)
    assert mixed_BT.shape == wave_BT.shape
    assert bool(mixed_BT.isfinite().all())
    for changed_T in mixed_BT != wave_BT:
        at = changed_T.nonzero()[:, 0]
        assert len(at) == 0 or int(at[-1] - at[0]) < samples // 2


def test_pieces_come_from_the_batch_as_given() -> None:
    wave_BT = waves(3, 1000, 1)
    added_BT = mix_utterances(wave_BT, ALWAYS, generator(5)) - wave_BT
    for added_T in added_BT:
        at = added_T.abs().gt(1e-9).nonzero()[:, 0]
        piece = added_T[at[0] : at[-1] + 1]
        matches = [
            float(torch.cosine_similarity(piece, window, dim=0))
            for source_T in wave_BT
            for window in source_T.unfold(0, len(piece), 1)
        ]
        assert max(matches) > 1 - 1e-4


def test_share_of_mixed_rows() -> None:
    wave_BT = waves(2000, 64, 2)
    mixed_BT = mix_utterances(wave_BT, MixingConfig(), generator(0))
    share = float((mixed_BT != wave_BT).any(dim=1).float().mean())
    # 33 lengths are possible, and one of them is 0.
    assert share == pytest.approx(0.2 * 32 / 33, abs=4 * math.sqrt(0.16 / 2000))


def test_same_generator_same_result_and_no_chance_is_identity() -> None:
    wave_BT = waves(8, 500, 3)
    first, second = (mix_utterances(wave_BT, ALWAYS, generator(9)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, mix_utterances(wave_BT, ALWAYS, generator(10)))
    assert torch.equal(mix_utterances(wave_BT, MixingConfig(share=0), generator(9)), wave_BT)


def test_silence_stays_silence_and_adds_nothing() -> None:
    wave_BT = waves(2, 800, 4)
    wave_BT[0] = 0
    for seed in range(20):
        mixed_BT = mix_utterances(wave_BT, ALWAYS, generator(seed))
        assert bool(mixed_BT.isfinite().all())
        assert float(mixed_BT[0].abs().max()) == 0
