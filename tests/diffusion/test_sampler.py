"""The reverse process of a stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.rng import generator
from speechkit.diffusion.config import StageSampling
from speechkit.diffusion.sampler import (
    DrawFunction,
    Drawn,
    draw_codes,
    guide,
    gumbel,
    iterative_decode,
)
from speechkit.diffusion.schedule import masked_counts

CODEBOOK_SIZE, CODEBOOKS = 12, 2
GREEDY = StageSampling(temperature=0.0, choice_temperature=0.0, top_k=5)

Guess = Callable[[Tensor, float], Tensor]
"""Logits `[N, V]` of an item from its codes `[K, N]` and the time."""


def noise_guess(frames: int, seed: int) -> Guess:
    """Random logits that also depend on what is revealed, and on the time."""
    base_NV = torch.randn(frames, CODEBOOK_SIZE, generator=generator(seed))
    pulls_VV = torch.randn(CODEBOOK_SIZE + 1, CODEBOOK_SIZE, generator=generator(seed + 1))

    def guess(codes_KN: Tensor, time: float) -> Tensor:
        return base_NV + pulls_VV[codes_KN].mean((0, 1)) + time

    return guess


def drawing(
    guesses: list[Guess], rngs: list[torch.Generator], top_k: int, seen: list[list[Tensor]]
) -> DrawFunction:
    """Draws of all items; the second codebook repeats the first. Notes what it is asked."""

    def draw(codes: list[Tensor], time: float, temperature: float) -> list[Drawn]:
        seen.append([codes_KN.clone() for codes_KN in codes])
        found = []
        for guess, codes_KN, rng in zip(guesses, codes, rngs, strict=True):
            logits_MV = guess(codes_KN, time)[codes_KN[0] < 0]
            codes_M, confidence_M = draw_codes(logits_MV, temperature, top_k, rng)
            found.append(Drawn(codes_KM=codes_M.expand(CODEBOOKS, -1), confidence_M=confidence_M))
        return found

    return draw


def hidden(frames: int, codebooks: int = CODEBOOKS) -> Tensor:
    """Codes of which none is known."""
    return torch.full((codebooks, frames), -1)


def decode(
    lengths: list[int], settings_: StageSampling, seed: int, seeds: list[int]
) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Codes of all items, and what was asked at each step."""
    rngs = [generator(s) for s in seeds]
    seen: list[list[Tensor]] = []
    guesses = [noise_guess(n, seed + s) for n, s in zip(lengths, seeds, strict=True)]
    draw = drawing(guesses, rngs, settings_.top_k, seen)
    return iterative_decode(draw, [hidden(n) for n in lengths], settings_, rngs), seen


orders = st.sampled_from(["confidence", "random"])


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 1000), st.floats(0, 3), orders)
def test_decoding_reveals_whole_frames_and_never_changes_its_mind(
    frames: int, steps: int, seed: int, temperature: float, order: str
) -> None:
    settings_ = StageSampling(
        steps=steps, temperature=temperature, choice_temperature=temperature, top_k=4,
        order="random" if order == "random" else "confidence",
    )  # fmt: skip
    (codes_KN,), seen = decode([frames], settings_, seed, [0])
    assert codes_KN.shape == (CODEBOOKS, frames)
    assert 0 <= int(codes_KN.min()) <= int(codes_KN.max()) < CODEBOOK_SIZE
    assert len(seen) == steps
    track = [*(codes for (codes,) in seen), codes_KN]
    for early, late in zip(track, track[1:], strict=False):
        revealed_KN = early >= 0
        assert torch.equal(revealed_KN[0], revealed_KN[1])
        assert torch.equal(early[revealed_KN], late[revealed_KN])
    hidden = [int((codes[0] < 0).sum()) for codes in track[1:]]
    assert tuple(hidden) == masked_counts(frames, steps)


@settings(deadline=None, max_examples=25)
@given(st.integers(20, 60), st.integers(3, 10), st.floats(0.1, 0.9), st.integers(0, 1000))
def test_a_corrector_masks_again_and_ends_with_everything_filled(
    frames: int, steps: int, share: float, seed: int
) -> None:
    settings_ = StageSampling(steps=steps, corrector=share, top_k=4)
    (codes_KN,), seen = decode([frames], settings_, seed, [0])
    assert int(codes_KN.min()) >= 0
    track = [codes[0] for (codes,) in seen] + [codes_KN[0]]
    # The schedule is kept, whatever was masked again.
    assert tuple(int((codes < 0).sum()) for codes in track[1:]) == masked_counts(frames, steps)
    hidden = [
        int(((early >= 0) & (late < 0)).sum())
        for early, late in zip(track[:-1], track[1:], strict=True)
    ]
    counts = masked_counts(frames, steps)
    # Of the frames that were masked again some were revealed only in that very pass.
    for again, remaining in zip(hidden, counts, strict=True):
        assert again <= min(round(share * (frames - remaining)), remaining)
    assert hidden[-1] == 0


def test_a_corrector_takes_back_what_earlier_passes_revealed() -> None:
    settings_ = StageSampling(steps=6, corrector=0.5, top_k=4)
    _, seen = decode([60], settings_, 0, [0])
    track = [codes[0] for (codes,) in seen]
    back = [bool(((a >= 0) & (b < 0)).any()) for a, b in zip(track, track[1:], strict=False)]
    assert back[0] is False
    assert all(back[2:])


def test_the_temperature_falls_or_stays_and_time_runs_down() -> None:
    for anneal in (True, False):
        asked: list[tuple[float, float]] = []

        def draw(
            codes: list[Tensor],
            time: float,
            temperature: float,
            asked: list[tuple[float, float]] = asked,
        ) -> list[Drawn]:
            asked.append((time, temperature))
            masked = int((codes[0][0] < 0).sum())
            zeros = torch.zeros(1, masked, dtype=torch.long)
            return [Drawn(codes_KM=zeros, confidence_M=torch.zeros(masked))]

        settings_ = StageSampling(steps=4, temperature=2.0, anneal=anneal)
        iterative_decode(draw, [hidden(9, 1)], settings_, [generator(0)])
        falling = [2.0, 1.5, 1.0, 0.5] if anneal else [2.0] * 4
        assert asked == list(zip([1.0, 0.75, 0.5, 0.25], falling, strict=True))


@pytest.mark.parametrize("order", ["confidence", "random"])
@pytest.mark.parametrize("corrector", [0.0, 0.4])
def test_items_of_a_batch_are_drawn_as_alone(order: str, corrector: float) -> None:
    settings_ = StageSampling(
        steps=5, top_k=6, corrector=corrector,
        order="random" if order == "random" else "confidence",
    )  # fmt: skip
    lengths, seeds = [3, 30, 1, 17], [5, 6, 7, 8]
    together, _ = decode(lengths, settings_, 0, seeds)
    for codes_KN, length, seed in zip(together, lengths, seeds, strict=True):
        (alone_KN,), _ = decode([length], settings_, 0, [seed])
        assert torch.equal(codes_KN, alone_KN)


def test_random_order_does_not_heed_confidence() -> None:
    """Frames the network is sure of come first by confidence; at random, no sooner than others."""
    sure_N = torch.arange(200) < 100

    def draw(codes: list[Tensor], time: float, temperature: float) -> list[Drawn]:
        masked_N = codes[0][0] < 0
        confidence_M = torch.where(sure_N[masked_N], -0.1, -50.0)
        zeros = torch.zeros(1, len(confidence_M), dtype=torch.long)
        revealed.append(~masked_N)
        return [Drawn(codes_KM=zeros, confidence_M=confidence_M)]

    shares = {}
    for order in ("confidence", "random"):
        revealed: list[Tensor] = []
        settings_ = replace(StageSampling(steps=4), order=order)
        iterative_decode(draw, [hidden(200, 1)], settings_, [generator(0)])
        # After three of four passes 124 of 200 frames are revealed.
        shares[order] = float(sure_N[revealed[-1]].float().mean())
    assert shares["confidence"] == pytest.approx(100 / 124, abs=1e-6)
    assert shares["random"] == pytest.approx(0.5, abs=0.1)


def test_same_seed_same_codes() -> None:
    settings_ = StageSampling(steps=4, temperature=2.0)
    rngs = {}
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        rng = [generator(seed)]
        draw = drawing([noise_guess(30, 1)], rng, settings_.top_k, [])
        (rngs[name],) = iterative_decode(draw, [hidden(30)], settings_, rng)
    assert torch.equal(rngs["one"], rngs["same"])
    assert not torch.equal(rngs["one"], rngs["other"])


def reference(guess: Guess, frames: int, steps: int, top_k: int) -> list[int]:
    """Greedy decoding, frame by frame, in plain Python."""
    codes = [-1] * frames
    for step, remaining in enumerate(masked_counts(frames, steps)):
        rows = guess(torch.tensor([codes, codes]), 1 - step / steps).double()
        best: dict[int, tuple[float, int]] = {}
        for n in range(frames):
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
def test_greedy_decoding_against_a_plain_one(frames: int, steps: int, seed: int) -> None:
    guess = noise_guess(frames, seed)
    settings_, rngs = replace(GREEDY, steps=steps), [generator(0)]
    draw = drawing([guess], rngs, GREEDY.top_k, [])
    (codes_KN,) = iterative_decode(draw, [hidden(frames)], settings_, rngs)
    expected = reference(guess, frames, steps, GREEDY.top_k)
    assert codes_KN.tolist() == [expected, expected]


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


@pytest.mark.filterwarnings("error")
def test_guidance_of_nothing_is_nothing() -> None:
    assert guide(torch.zeros(0, 5), torch.zeros(0, 5), 2.0, 1.0).shape == (0, 5)


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


def test_more_top_k_than_there_are_entries_is_all_of_them() -> None:
    logits_NV = torch.randn(3, CODEBOOK_SIZE, generator=generator(0))
    wide, exact = (draw_codes(logits_NV, 1.0, k, generator(0))[0] for k in (99, CODEBOOK_SIZE))
    assert torch.equal(wide, exact)
