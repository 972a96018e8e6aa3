"""The reverse process of one code book."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.rng import generator
from speechkit.diffusion.config import StageSampling
from speechkit.diffusion.sampler import Guess, draw_codes, guide, gumbel, unmask
from speechkit.diffusion.schedule import masked_counts

CODEBOOK_SIZE = 12
GREEDY = StageSampling(temperature=0.0, choice_temperature=0.0, top_k=5)


def noise_guess(positions: int, seed: int, seen: list[Tensor] | None = None) -> Guess:
    """Random logits that also depend on what is revealed; notes what it was asked."""
    base_NV = torch.randn(positions, CODEBOOK_SIZE, generator=generator(seed))
    pulls_VV = torch.randn(CODEBOOK_SIZE + 1, CODEBOOK_SIZE, generator=generator(seed + 1))

    def guess(codes_N: Tensor, time: float) -> Tensor:
        if seen is not None:
            seen.append(codes_N.clone())
        return base_NV + pulls_VV[codes_N].mean(0) + time

    return guess


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 1000), st.floats(0, 3))
def test_unmasking_reveals_all_and_never_changes_its_mind(
    positions: int, steps: int, seed: int, temperature: float
) -> None:
    settings_ = StageSampling(temperature=temperature, choice_temperature=temperature, top_k=4)
    seen: list[Tensor] = []
    codes_N = unmask(noise_guess(positions, seed, seen), positions, steps, settings_, generator(0))
    assert codes_N.shape == (positions,)
    assert 0 <= int(codes_N.min()) <= int(codes_N.max()) < CODEBOOK_SIZE
    assert len(seen) == steps
    for early, late in zip(seen, [*seen[1:], codes_N], strict=True):
        revealed = early >= 0
        assert torch.equal(early[revealed], late[revealed])
    hidden = [int((codes < 0).sum()) for codes in [*seen[1:], codes_N]]
    assert tuple(hidden) == masked_counts(positions, steps)


def test_same_seed_same_codes() -> None:
    settings_ = StageSampling(temperature=2.0)
    one, same, other = (
        unmask(noise_guess(30, 1), 30, 4, settings_, generator(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def reference(guess: Guess, positions: int, steps: int, top_k: int) -> list[int]:
    """Greedy unmasking, position by position, in plain Python."""
    codes = [-1] * positions
    for step, remaining in enumerate(masked_counts(positions, steps)):
        rows = guess(torch.tensor(codes), 1 - step / steps).double()
        best: dict[int, tuple[float, int]] = {}
        for n in range(positions):
            if codes[n] < 0:
                ranked = rows[n].sort(descending=True)
                share = torch.softmax(ranked.values[:top_k], 0)[0]
                best[n] = (float(share), int(ranked.indices[0]))
        surest = sorted(best, key=lambda n: -best[n][0])
        for n in surest[: len(surest) - remaining]:
            codes[n] = best[n][1]
    return codes


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 25), st.integers(1, 8), st.integers(0, 1000))
def test_greedy_unmasking_against_a_plain_one(positions: int, steps: int, seed: int) -> None:
    guess = noise_guess(positions, seed)
    got = unmask(guess, positions, steps, GREEDY, generator(0)).tolist()
    assert got == reference(guess, positions, steps, GREEDY.top_k)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 15), st.integers(0, 1000), st.floats(0, 5))
def test_draws_stay_among_the_likeliest(top_k: int, seed: int, temperature: float) -> None:
    logits_NV = torch.randn(20, CODEBOOK_SIZE, generator=generator(seed))
    codes_N, confidence_N = draw_codes(logits_NV, temperature, top_k, generator(seed))
    ranks = (logits_NV > logits_NV.gather(1, codes_N[:, None])).sum(-1)
    assert bool((ranks < top_k).all())
    assert bool((confidence_N <= 0).all())


def test_no_temperature_takes_the_best() -> None:
    logits_NV = torch.randn(20, CODEBOOK_SIZE, generator=generator(0))
    codes_N, confidence_N = draw_codes(logits_NV, 0.0, CODEBOOK_SIZE, generator(0))
    assert torch.equal(codes_N, logits_NV.argmax(-1))
    torch.testing.assert_close(confidence_N, torch.log_softmax(logits_NV, -1).amax(-1))


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_draws_have_the_tempered_frequencies(temperature: float) -> None:
    logits_V = torch.tensor([2.0, 1.0, 0.0, -1.0])
    codes_N, _ = draw_codes(logits_V.expand(20_000, 4), temperature, 3, generator(0))
    share = torch.bincount(codes_N, minlength=4) / 20_000
    expected = torch.cat([torch.softmax(logits_V[:3] / temperature, 0), torch.zeros(1)])
    torch.testing.assert_close(share, expected, atol=0.015, rtol=0)


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(0, 1))
def test_guidance_of_no_weight_changes_nothing(seed: int, rescale: float) -> None:
    plain, other = torch.randn(2, 6, CODEBOOK_SIZE, generator=generator(seed))
    torch.testing.assert_close(guide(plain, other, 0.0, rescale), plain)


def test_guidance_pushes_away_and_rescaling_keeps_the_spread() -> None:
    plain, other = torch.randn(2, 6, CODEBOOK_SIZE, generator=generator(0))
    torch.testing.assert_close(guide(plain, other, 2.0, 0.0), 3 * plain - 2 * other)
    torch.testing.assert_close(guide(plain, other, 2.0, 1.0).std(), plain.std())
    assert torch.equal(guide(plain, other, 2.0, 1.0).argmax(-1), (3 * plain - 2 * other).argmax(-1))


def test_gumbel_noise_is_finite_and_has_its_mean() -> None:
    noise = gumbel(torch.Size([200_000]), generator(0))
    assert bool(torch.isfinite(noise).all())
    assert float(noise.mean()) == pytest.approx(0.5772, abs=0.01)


def test_more_top_k_than_entries_is_all_of_them() -> None:
    logits_NV = torch.randn(3, CODEBOOK_SIZE, generator=generator(0))
    wide, exact = (draw_codes(logits_NV, 1.0, k, generator(0))[0] for k in (99, CODEBOOK_SIZE))
    assert torch.equal(wide, exact)
    settings_ = replace(GREEDY, top_k=99)
    assert int(unmask(noise_guess(5, 0), 5, 2, settings_, generator(0)).min()) >= 0
