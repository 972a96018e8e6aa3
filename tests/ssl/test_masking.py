"""Spans and distractors: what holds for every draw.

Shapes: B batch, F frames, M masked frames of a row, K distractors.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.errors import ConfigError
from speechkit.core.rng import generator
from speechkit.ssl.config import MaskConfig
from speechkit.ssl.masking import fewest_frames, sample_distractors, span_mask


def runs(masked_F: Tensor) -> list[int]:
    """The lengths of the runs of hidden frames."""
    lengths, current = [], 0
    for hidden in [*masked_F.tolist(), False]:
        if hidden:
            current += 1
        elif current:
            lengths.append(current)
            current = 0
    return lengths


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 5),
    extra=st.integers(0, 120),
    share=st.floats(0.05, 1.0),
    span=st.integers(1, 12),
    fewest=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)
def test_rows_are_hidden_equally(
    rows: int, extra: int, share: float, span: int, fewest: int, seed: int
) -> None:
    config = MaskConfig(share=share, span_frames=span, min_spans=fewest)
    frames = fewest_frames(config) + extra
    masked_BF = span_mask(rows, frames, config, generator(seed))
    assert masked_BF.shape == (rows, frames)
    assert masked_BF.dtype == torch.bool
    counts = set(masked_BF.sum(dim=1).tolist())
    assert len(counts) == 1
    assert span <= counts.pop() < frames
    assert torch.equal(masked_BF, span_mask(rows, frames, config, generator(seed)))


@settings(max_examples=30, deadline=None)
@given(frames=st.integers(30, 200), seed=st.integers(0, 2**32))
def test_a_row_alone_has_whole_spans(frames: int, seed: int) -> None:
    config = MaskConfig()
    lengths = runs(span_mask(1, frames, config, generator(seed))[0])
    assert min(lengths) >= config.span_frames
    # Spans of a row may overlap; two of them never start at the same frame.
    assert sum(lengths) >= config.span_frames + config.min_spans - 1


def test_counts_of_spans_are_rounded_at_random() -> None:
    config = MaskConfig(share=0.25, span_frames=1, min_spans=1)
    rng = generator(0)
    counts = [int(span_mask(1, 10, config, rng).sum()) for _ in range(400)]
    assert set(counts) == {2, 3}
    assert sum(counts) / len(counts) == pytest.approx(2.5, abs=0.1)


def test_rows_share_their_count_of_spans() -> None:
    config = MaskConfig(share=0.25, span_frames=1, min_spans=1)
    rng = generator(0)
    counts = [int(span_mask(8, 10, config, rng)[0].sum()) for _ in range(200)]
    # Drawn for each row, the smallest of eight would almost always be 2.
    assert sum(counts) / len(counts) == pytest.approx(2.5, abs=0.1)


def test_short_rows_are_refused() -> None:
    config = MaskConfig()
    assert fewest_frames(config) == 12
    assert span_mask(2, 12, config, generator(0)).sum() >= 20
    with pytest.raises(ConfigError, match="11 frames are too few"):
        span_mask(2, 11, config, generator(0))


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 4),
    masked=st.integers(2, 40),
    count=st.integers(1, 30),
    seed=st.integers(0, 2**32),
)
def test_distractors_are_others(rows: int, masked: int, count: int, seed: int) -> None:
    others_BMK = sample_distractors(rows, masked, count, generator(seed))
    assert others_BMK.shape == (rows, masked, count)
    assert int(others_BMK.min()) >= 0
    assert int(others_BMK.max()) < masked
    assert not (others_BMK == torch.arange(masked)[:, None]).any()
    assert torch.equal(others_BMK, sample_distractors(rows, masked, count, generator(seed)))


def test_all_others_are_equally_likely() -> None:
    others_BMK = sample_distractors(1, 5, 8000, generator(0))
    for own, row_K in enumerate(others_BMK[0]):
        shares = torch.bincount(row_K, minlength=5) / 8000
        for other, share in enumerate(shares.tolist()):
            assert share == (0.0 if other == own else pytest.approx(0.25, abs=0.025))


def test_one_masked_frame_has_no_distractors() -> None:
    with pytest.raises(ConfigError, match="at least two masked frames"):
        sample_distractors(3, 1, 10, generator(0))
