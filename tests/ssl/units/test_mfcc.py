"""MFCCs against the definition: torchaudio's cepstra and slopes written out here."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.rng import generator
from speechkit.ssl.units.features import MFCC_CHANNELS, mfcc, whole_frames


def noise(samples: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(samples, generator=generator(seed))


def slope(values_FD: Tensor) -> Tensor:
    """Regression over two frames to each side, the ends repeated: sum n (c[+n] - c[-n]) / 10."""
    padded = torch.cat([values_FD[:1]] * 2 + [values_FD] + [values_FD[-1:]] * 2)
    count = len(values_FD)
    steps = [n * (padded[2 + n :][:count] - padded[2 - n :][:count]) for n in (1, 2)]
    return (steps[0] + steps[1]) / 10.0


def test_static_part_is_kaldis_and_the_rest_are_its_slopes() -> None:
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi")
    wave_T = noise(16_000)
    found_FD = mfcc(wave_T)
    static_FD = kaldi.mfcc(wave_T[None], sample_frequency=16_000, use_energy=False)
    torch.testing.assert_close(found_FD[:, :13], static_FD, rtol=0, atol=1e-4)
    torch.testing.assert_close(found_FD[:, 13:26], slope(static_FD), rtol=0, atol=1e-4)
    torch.testing.assert_close(found_FD[:, 26:], slope(slope(static_FD)), rtol=0, atol=1e-4)


@settings(deadline=None, max_examples=15)
@given(samples=st.integers(400, 3000))
def test_one_frame_for_each_whole_window(samples: int) -> None:
    assert mfcc(noise(samples)).shape == (whole_frames(samples, 160), MFCC_CHANNELS)


def test_the_same_wave_has_the_same_features_and_silence_is_finite() -> None:
    torch.testing.assert_close(mfcc(noise(4000)), mfcc(noise(4000)), rtol=0, atol=0)
    assert torch.isfinite(mfcc(torch.zeros(4000))).all()


@pytest.mark.parametrize("shape", [(399,), (0,), (1, 4000)])
def test_less_than_a_window_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="at least 400"):
        mfcc(torch.zeros(shape))
