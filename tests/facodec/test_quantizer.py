"""Codebooks: the nearest entry, gradients, restarts, residual levels and their statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from speechkit.core.rng import generator
from speechkit.facodec.quantizer import (
    ResidualVectorQuantizer,
    VectorQuantizer,
    code_usage,
)

CODEBOOK_SIZE = 32


def seeded(seed: int = 0, codebooks: int = 1) -> ResidualVectorQuantizer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResidualVectorQuantizer(16, 16, codebooks, CODEBOOK_SIZE, 4)


def one_codebook(seed: int = 0) -> VectorQuantizer:
    codebook = seeded(seed).levels[0]
    assert isinstance(codebook, VectorQuantizer)
    return codebook


def inputs(seed: int = 1, batch: int = 2, frames: int = 9) -> Tensor:
    return torch.randn(batch, frames, 16, generator=generator(seed))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 100), st.integers(1, 3), st.integers(1, 12))
def test_codes_are_the_nearest_by_cosine(seed: int, batch: int, frames: int) -> None:
    codebook, x_BFI = one_codebook(seed).eval(), inputs(seed, batch, frames)
    codes_BF = codebook(x_BFI).codes_BKF[:, 0]
    assert codes_BF.shape == (batch, frames)
    narrow, codebook_size = (
        codebook.down(x_BFI).detach().flatten(0, 1),
        codebook.codebook_VC.detach(),
    )
    for narrow_C, code in zip(narrow, codes_BF.flatten(), strict=True):
        cosines = [nn.functional.cosine_similarity(narrow_C, e, dim=0) for e in codebook_size]
        assert float(cosines[int(code)]) >= float(max(cosines)) - 1e-6


def test_gradient_passes_straight_through() -> None:
    codebook = one_codebook()
    x = inputs().requires_grad_()
    straight = inputs().requires_grad_()
    pull = torch.randn(2, 9, 16, generator=generator(3))
    (codebook(x).z_BFD * pull).sum().backward()
    assert codebook.codebook_VC.grad is None or not codebook.codebook_VC.grad.any()
    (codebook.up(nn.functional.normalize(codebook.down(straight), dim=-1)) * pull).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, straight.grad)


def test_each_loss_pulls_one_side() -> None:
    codebook = one_codebook()
    x = inputs().requires_grad_()
    codebook(x).codebook.backward()
    assert x.grad is None
    assert codebook.codebook_VC.grad is not None
    assert bool(codebook.codebook_VC.grad.any())
    codebook.zero_grad()
    codebook(x).commitment.backward()
    assert codebook.codebook_VC.grad is None or not codebook.codebook_VC.grad.any()
    assert x.grad is not None
    assert bool(x.grad.any())


def test_the_codebook_loss_brings_entries_nearer() -> None:
    codebook, x = one_codebook(), inputs(frames=60)
    before = float(codebook(x).codebook.detach())
    optimizer = torch.optim.Adam([codebook.codebook_VC], lr=0.05)
    for _ in range(10):
        optimizer.zero_grad()
        codebook(x).codebook.backward()
        optimizer.step()
    assert float(codebook(x).codebook.detach()) < 0.7 * before


def test_restart_reseeds_dead_entries_only() -> None:
    codebook, x = one_codebook().train(), inputs(frames=100)
    found = codebook(x)
    counts = np.bincount(found.codes_BKF.flatten().numpy(), minlength=CODEBOOK_SIZE)
    assert codebook.counts_V.tolist() == counts.tolist()
    dead = counts < 0.1 * counts.sum() / CODEBOOK_SIZE
    assert 0 < dead.sum() < CODEBOOK_SIZE
    before = codebook.codebook_VC.detach().clone()
    assert codebook.restart_unused(generator(0)) == dead.sum()
    assert torch.equal(codebook.codebook_VC[~dead], before[~dead])
    narrow = nn.functional.normalize(codebook.down(x).detach(), dim=-1).flatten(0, 1)
    for entry in codebook.codebook_VC.detach()[torch.from_numpy(dead)]:
        assert float((narrow @ entry).max()) == pytest.approx(1, abs=1e-5)
    assert not codebook.counts_V.any()


def test_restart_does_nothing_before_training() -> None:
    codebook = one_codebook()
    before = codebook.codebook_VC.detach().clone()
    assert codebook.restart_unused(generator(0)) == 0
    codebook.eval()(inputs())
    assert codebook.restart_unused(generator(0)) == 0
    assert torch.equal(codebook.codebook_VC, before)


@pytest.mark.parametrize("codebooks", [1, 2, 3])
def test_embedding_the_codes_gives_the_same_sum(codebooks: int) -> None:
    quantizer = seeded(codebooks=codebooks).eval()
    found = quantizer(inputs())
    assert quantizer.codebooks == codebooks
    assert found.codes_BKF.shape == (2, codebooks, 9)
    torch.testing.assert_close(quantizer.embed(found.codes_BKF), found.z_BFD, atol=1e-5, rtol=0)


def test_each_level_codes_what_the_ones_before_left() -> None:
    quantizer, x = seeded(codebooks=3).eval(), inputs()
    codes_BKF, residual = quantizer(x).codes_BKF, x
    for k, level in enumerate(quantizer.levels):
        part = level(residual)
        assert torch.equal(codes_BKF[:, k], part.codes_BKF[:, 0])
        residual = residual - part.z_BFD


def test_residual_levels_need_equal_widths() -> None:
    with pytest.raises(ValueError, match="equal widths"):
        ResidualVectorQuantizer(8, 16, 2, CODEBOOK_SIZE, 4)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=50))
def test_usage_numbers_against_numpy(codes: list[int]) -> None:
    (report,) = code_usage(torch.tensor([codes]), 8)
    share = np.bincount(codes, minlength=8) / len(codes)
    bits = -sum(p * np.log2(p) for p in share if p)
    assert report["used"] == pytest.approx(np.count_nonzero(share) / 8)
    assert report["bits"] == pytest.approx(bits, abs=1e-6)
    assert report["perplexity"] == pytest.approx(2**bits)
