"""How much is hidden, against fairseq's rule written anew in numpy.

Shapes: B batch, F frames.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from speechkit.core.rng import generator
from speechkit.ssl.config import MaskConfig
from speechkit.ssl.masking import span_mask


def fairseq_mask(
    rows: int, frames: int, share: float, rng: np.random.Generator, span: int = 10, fewest: int = 2
) -> npt.NDArray[np.bool_]:
    """Hidden frames by fairseq's `compute_mask_indices` with static lengths, from its description.

    The count of spans is rounded at random, once for all rows as nothing is padded; starts are
    drawn without replacement; then every row is thinned to the smallest.
    """
    hidden = []
    count = max(fewest, int(share * frames / span + rng.random()))
    for _ in range(rows):
        starts = rng.choice(frames - span, count, replace=False)
        hidden.append(np.unique((starts[:, None] + np.arange(span)).ravel()))
    smallest = min(len(places) for places in hidden)
    masked_BF = np.zeros((rows, frames), dtype=bool)
    for row, places in enumerate(hidden):
        masked_BF[row, rng.choice(places, smallest, replace=False)] = True
    return masked_BF


# Means of fairseq's rule over 5,000 rows: alone, and thinned to the smallest of eight.
@pytest.mark.parametrize(
    ("share", "frames", "alone", "of_eight"),
    [
        (0.65, 99, 0.498, 0.403),
        (0.65, 499, 0.491, 0.450),
        (0.65, 780, 0.491, 0.457),
        (0.8, 99, 0.574, 0.473),
        (0.8, 499, 0.567, 0.522),
        (0.8, 780, 0.566, 0.530),
    ],
)
def test_as_much_is_hidden(share: float, frames: int, alone: float, of_eight: float) -> None:
    config = MaskConfig(share=share)
    rng, reference = generator(0), np.random.default_rng(0)
    # Means of long rows scatter less.
    rows, batches = 100_000 // frames, 20_000 // frames
    ours = torch.stack([span_mask(1, frames, config, rng) for _ in range(rows)])
    mean = float(ours.float().mean())
    assert mean == pytest.approx(alone, abs=0.01)
    theirs = np.mean([fairseq_mask(1, frames, share, reference) for _ in range(rows)])
    assert mean == pytest.approx(theirs, abs=0.01)

    eight = [span_mask(8, frames, config, rng) for _ in range(batches)]
    mean = float(torch.stack(eight).float().mean())
    assert mean == pytest.approx(of_eight, abs=0.01)
    theirs = np.mean([fairseq_mask(8, frames, share, reference) for _ in range(batches)])
    assert mean == pytest.approx(theirs, abs=0.01)


def test_ends_are_hidden_as_often() -> None:
    config = MaskConfig()
    rng, reference = generator(1), np.random.default_rng(1)
    ours = torch.stack([span_mask(1, 60, config, rng)[0] for _ in range(800)]).float().mean(dim=0)
    theirs = np.mean([fairseq_mask(1, 60, 0.65, reference)[0] for _ in range(800)], axis=0)
    assert float((ours - torch.from_numpy(theirs)).abs().max()) < 0.08
    # A span never begins on the last ten frames, so the very last one is always seen.
    assert ours[-1] == 0.0
    assert theirs[-1] == 0.0
    assert ours[-2] > 0.0
    assert theirs[-2] > 0.0
