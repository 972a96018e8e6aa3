"""The product quantiser: entries chosen, figures, gradients.

Shapes: N vectors, C input width, G groups, V entries of a group, D width of one group's part.
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.rng import generator
from speechkit.ssl.config import Wav2Vec2Config
from speechkit.ssl.quantizer import GumbelQuantizer, perplexity

CONFIG = Wav2Vec2Config(codebooks=2, codebook_size=6, code_dim=8)


def quantizer(seed: int = 0) -> GumbelQuantizer:
    """A small one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GumbelQuantizer(5, CONFIG)


def test_vectors_are_the_likeliest_entries_in_evaluation() -> None:
    model = quantizer().eval()
    x_NC = torch.randn(7, 5, generator=generator(1))
    found = model(x_NC, 2.0)
    logits_NGV = model.entry_proj(x_NC).view(7, 2, 6)
    assert torch.equal(found.codes_NG, logits_NGV.argmax(dim=-1))
    entries_GVD = model.entries[0].view(2, 6, 4)
    for vector_C, codes_G in zip(found.vectors_NC, found.codes_NG, strict=True):
        whole = torch.cat([entries_GVD[group, code] for group, code in enumerate(codes_G)])
        assert torch.equal(vector_C, whole)


def test_training_draws_single_entries_too() -> None:
    model = quantizer().train()
    x_NC = torch.randn(50, 5, generator=generator(1))
    torch.manual_seed(0)
    found = model(x_NC, 2.0)
    entries_GVD = model.entries[0].view(2, 6, 4)
    whole_NC = torch.cat([entries_GVD[group][found.codes_NG[:, group]] for group in (0, 1)], dim=1)
    assert torch.allclose(found.vectors_NC, whole_NC, atol=1e-6)
    again = model(x_NC, 2.0)
    assert not torch.equal(found.codes_NG, again.codes_NG)


def test_cold_draws_follow_the_logits() -> None:
    model = quantizer().train()
    x_NC = torch.zeros(20_000, 5)
    with torch.no_grad():
        model.entry_proj.bias.copy_(torch.tensor([0.0, 1, 2, 0, 0, 0] * 2))
    torch.manual_seed(0)
    # The entry drawn does not depend on the temperature: argmax of logits plus Gumbel noise.
    found = model(x_NC, 0.5)
    shares_V = torch.bincount(found.codes_NG[:, 0], minlength=6) / len(x_NC)
    expected_V = model.entry_proj.bias[:6].detach().softmax(dim=0)
    assert float((shares_V - expected_V).abs().max()) < 0.015


def test_all_parts_learn() -> None:
    model = quantizer().train()
    torch.manual_seed(0)
    found = model(torch.randn(9, 5, generator=generator(2)), 2.0)
    (found.vectors_NC.square().sum() + found.soft_perplexity).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0, name


def test_diversity_raises_the_entries_in_use() -> None:
    model = quantizer().eval()
    x_NC = torch.randn(40, 5, generator=generator(3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    first = float(model(x_NC, 2.0).soft_perplexity.detach())
    for _ in range(40):
        optimizer.zero_grad()
        (-model(x_NC, 2.0).soft_perplexity).backward()
        optimizer.step()
    assert first + 0.3 < float(model(x_NC, 2.0).soft_perplexity.detach()) <= 12.0


def test_a_collapse_shows_in_both_figures() -> None:
    model = quantizer().eval()
    with torch.no_grad():
        model.entry_proj.weight.zero_()
        model.entry_proj.bias.copy_(torch.tensor([50.0, 0, 0, 0, 0, 0] * 2))
    found = model(torch.randn(30, 5, generator=generator(4)), 2.0)
    assert float(found.soft_perplexity.detach()) == pytest.approx(2.0, abs=1e-4)
    assert float(found.hard_perplexity.detach()) == pytest.approx(2.0, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=12))
def test_perplexity_counts(weights: list[float]) -> None:
    shares_V = torch.tensor(weights, dtype=torch.float64)
    shares_V = shares_V / shares_V.sum()
    value = float(perplexity(shares_V[None])[0])
    entropy = -sum(share * math.log(share) for share in shares_V.tolist())
    assert value == pytest.approx(math.exp(entropy), rel=1e-4)
    assert 1.0 - 1e-4 <= value <= len(weights) + 1e-4


def test_even_shares_count_fully() -> None:
    assert perplexity(torch.full((2, 8), 1 / 8)).tolist() == pytest.approx([8.0, 8.0], rel=1e-4)
