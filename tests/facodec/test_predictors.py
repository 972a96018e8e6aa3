"""Gradient reversal turns, scales and bounds; the speaker classifier has a margin."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.rng import generator
from speechkit.facodec.predictors import SpeakerAdversary, SpeakerClassifier, reverse_gradient


def gradient(x: Tensor, pull: Tensor, strength: float, bound: float) -> Tensor:
    leaf = x.clone().requires_grad_()
    out = reverse_gradient(leaf, strength, bound)
    assert torch.equal(out, leaf)
    (out * pull).sum().backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    return leaf.grad


@settings(deadline=None)
@given(st.floats(0, 5), st.floats(0.01, 10), st.floats(0.001, 100), st.integers(0, 50))
def test_reversal_turns_scales_and_bounds(
    strength: float, bound: float, size: float, seed: int
) -> None:
    x, pull = torch.randn(2, 3, 4, 5, generator=generator(seed))
    pull = pull * size
    norm = float(pull.norm())
    got = gradient(x, pull, strength, bound)
    expected = -strength * min(1.0, bound / norm) * pull
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)
    # In double precision: squares of the smallest strengths are none of float32.
    assert float(got.double().norm()) <= strength * bound * (1 + 1e-4)


def test_reversal_without_bound_and_of_nothing() -> None:
    pull = 1e6 * torch.ones(3)
    assert torch.equal(gradient(torch.zeros(3), pull, 1.0, math.inf), -pull)
    assert not gradient(torch.zeros(3), torch.zeros(3), 1.0, 1.0).any()


def test_margin_makes_the_right_speaker_harder() -> None:
    torch_rng = generator(0)
    timbre_BD = torch.randn(6, 8, generator=torch_rng)
    speaker_B = torch.tensor([0, 1, 2, 0, 1, 2])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        predictor, plain = SpeakerClassifier(8, 3), SpeakerClassifier(8, 3, margin=0.0)
    plain.load_state_dict(predictor.state_dict())
    with torch.no_grad():
        harder, easier = predictor(timbre_BD, speaker_B), plain(timbre_BD, speaker_B)
    assert float(harder) > float(easier)
    cosine = torch.nn.functional.cosine_similarity(
        timbre_BD[:, None], predictor.weight_SD[None], dim=-1
    )
    expected = torch.nn.functional.cross_entropy(20.0 * cosine, speaker_B)
    assert float(easier) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_gradient_is_finite_where_timbre_is_a_speaker_direction() -> None:
    predictor = SpeakerClassifier(4, 2)
    timbre_BD = predictor.weight_SD.detach().clone().requires_grad_()
    predictor(timbre_BD, torch.tensor([0, 1])).backward()
    assert timbre_BD.grad is not None
    assert bool(torch.isfinite(timbre_BD.grad).all())


def test_speaker_adversary_ignores_the_order_of_frames() -> None:
    predictor = SpeakerAdversary(8, 3, channels=16)
    z_BFD = torch.randn(2, 7, 8, generator=generator(1))
    torch.testing.assert_close(predictor(z_BFD), predictor(z_BFD.flip(1)), atol=1e-5, rtol=0)
