"""The denoiser: what may reach what, and its attention against a plain one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from speechkit.core.rng import generator
from speechkit.diffusion.denoiser import (
    MASK,
    NULL_CODE,
    CodePredictor,
    DenoiserInputs,
    SelfAttention,
    rotate,
)
from tests.diffusion.builders import live_denoiser, stir
from tests.tiny import CODEBOOK_SIZE, TINY_CODEC

PROMPT, GAP, TARGET, TAIL = 7, 5, 9, 3
LENGTH = PROMPT + GAP + TARGET + TAIL
INSIDE = slice(PROMPT + GAP, PROMPT + GAP + TARGET)
NET = live_denoiser()


def inputs(seed: int = 0, batch: int = 2) -> DenoiserInputs:
    """Prompt, gap, target and a padded tail; codebooks 1 and 2 are being filled, in some frames.

    The prompt ends, and the target ends, in the middle of a patch of two frames.
    """
    rng = generator(seed)
    codes = torch.randint(CODEBOOK_SIZE, (batch, 6, LENGTH), generator=rng)
    masked = torch.rand(batch, 1, TARGET, generator=rng) < 0.5
    codes[:, 1:3, INSIDE] = torch.where(masked, MASK, codes[:, 1:3, INSIDE])
    codes[:, 3:] = NULL_CODE
    keep = torch.zeros(batch, LENGTH, dtype=torch.bool)
    keep[:, :PROMPT] = keep[:, INSIDE] = True
    return DenoiserInputs(
        phones_BL=torch.randint(80, (batch, LENGTH), generator=rng),
        position_BL2=torch.rand(batch, LENGTH, 2, generator=rng),
        codes_BKL=codes,
        stage_B=torch.full((batch,), 1),
        time_B=torch.rand(batch, generator=rng),
        prompt_BL=(torch.arange(LENGTH) < PROMPT).expand(batch, -1),
        keep_BL=keep,
        timbre_BD=torch.randn(batch, TINY_CODEC.timbre_channels, generator=rng),
    )


@torch.no_grad()
def hidden(given: DenoiserInputs) -> Tensor:
    out: Tensor = NET(given)
    return out


def differs(one: DenoiserInputs, other: DenoiserInputs) -> bool:
    return not torch.allclose(hidden(one)[:, INSIDE], hidden(other)[:, INSIDE], atol=1e-3)


def test_positions_not_kept_have_no_influence() -> None:
    one, noise = inputs(), inputs(1)
    keep = one.keep_BL
    other = replace(
        one,
        phones_BL=torch.where(keep, one.phones_BL, noise.phones_BL),
        position_BL2=torch.where(keep[..., None], one.position_BL2, noise.position_BL2),
        codes_BKL=torch.where(keep[:, None], one.codes_BKL, noise.codes_BKL),
    )
    torch.testing.assert_close(hidden(one)[keep], hidden(other)[keep], atol=1e-4, rtol=0)


def test_a_prompt_that_is_dropped_is_as_none() -> None:
    one = inputs()
    keep = one.keep_BL.clone()
    keep[:, :PROMPT] = False
    dropped = replace(one, keep_BL=keep)
    short = DenoiserInputs(
        phones_BL=one.phones_BL[:, INSIDE],
        position_BL2=one.position_BL2[:, INSIDE],
        codes_BKL=one.codes_BKL[..., INSIDE],
        stage_B=one.stage_B,
        time_B=one.time_B,
        prompt_BL=one.prompt_BL[:, INSIDE],
        keep_BL=one.keep_BL[:, INSIDE],
        timbre_BD=one.timbre_BD,
    )
    torch.testing.assert_close(hidden(dropped)[:, INSIDE], hidden(short), atol=1e-4, rtol=0)
    assert differs(one, dropped)


def test_an_item_of_a_batch_equals_the_item_alone() -> None:
    one = inputs(batch=3)
    alone = DenoiserInputs(**{key: value[1:2] for key, value in vars(one).items()})
    torch.testing.assert_close(hidden(one)[1:2], hidden(alone), atol=1e-4, rtol=0)


@pytest.mark.parametrize("field", ["phones_BL", "position_BL2", "codes_BKL"])
def test_the_prompt_reaches_the_target(field: str) -> None:
    one, noise = inputs(), inputs(1)
    changed = getattr(one, field).clone()
    at = (..., slice(0, PROMPT)) if field == "codes_BKL" else (slice(None), slice(0, PROMPT))
    changed[at] = getattr(noise, field)[at]
    assert differs(one, replace(one, **{field: changed}))


def test_time_stage_and_earlier_codes_matter() -> None:
    one = inputs()
    fewer = one.codes_BKL.clone()
    fewer[:, 0] = NULL_CODE
    assert differs(one, replace(one, time_B=one.time_B + 0.3))
    assert differs(one, replace(one, stage_B=torch.zeros_like(one.stage_B)))
    assert differs(one, replace(one, codes_BKL=fewer))
    masked = torch.where(one.codes_BKL == MASK, NULL_CODE, one.codes_BKL)
    assert differs(one, replace(one, codes_BKL=masked))


def test_a_timbre_of_zeros_is_as_none() -> None:
    one = inputs()
    assert one.timbre_BD is not None
    zeros, none = (replace(one, timbre_BD=t) for t in (torch.zeros_like(one.timbre_BD), None))
    torch.testing.assert_close(hidden(zeros), hidden(none))
    assert differs(one, none)
    # In one batch, an item that is told its timbre beside one that is not.
    told = torch.tensor([True, False])[:, None]
    mixed = hidden(replace(one, timbre_BD=one.timbre_BD * told))
    torch.testing.assert_close(mixed, torch.where(told[..., None], hidden(one), hidden(none)))


@torch.no_grad()
def test_hidden_states_of_frames_are_those_of_any_position() -> None:
    """An item moved by whole patches, as another prompt in its batch moves it, is the same."""
    one = inputs()

    def moved(x: Tensor, dim: int, fill: float) -> Tensor:
        shape = list(x.shape)
        shape[dim] = 2
        return torch.cat([torch.full(shape, fill, dtype=x.dtype), x], dim)

    other = replace(
        one,
        phones_BL=moved(one.phones_BL, 1, 0),
        position_BL2=moved(one.position_BL2, 1, 0),
        codes_BKL=moved(one.codes_BKL, 2, NULL_CODE),
        prompt_BL=moved(one.prompt_BL, 1, True),
        keep_BL=moved(one.keep_BL, 1, False),
    )
    keep = one.keep_BL
    torch.testing.assert_close(hidden(one)[keep], hidden(other)[:, 2:][keep], atol=1e-4, rtol=0)


def plain_logits(
    predictor: CodePredictor, h_E: Tensor, tables: Sequence[Tensor], earlier: list[int]
) -> Tensor:
    """Logits of one frame from its hidden state and its earlier codes, one by one."""
    for table, code in zip(tables, earlier, strict=True):
        h_E = h_E + table[code]
    x = nn.functional.layer_norm(h_E, h_E.shape, predictor.norm.weight, predictor.norm.bias)
    x = nn.functional.gelu(predictor.up.weight @ x + predictor.up.bias)
    h_E = h_E + predictor.down.weight @ x + predictor.down.bias
    return predictor.out.weight @ h_E + predictor.out.bias


@pytest.mark.parametrize(("first", "codebook"), [(0, 0), (1, 1), (1, 2), (3, 5)])
@torch.no_grad()
def test_logits_read_the_earlier_codes_of_the_stage_and_no_others(
    first: int, codebook: int
) -> None:
    rng = generator(4)
    hidden_ME = torch.randn(7, NET.config.frame_channels, generator=rng)
    codes_KM = torch.randint(CODEBOOK_SIZE, (6, 7), generator=rng)
    got = NET.logits(hidden_ME, codes_KM, codebook, first)
    tables = [NET.code.get_parameter(f"{k}.weight") for k in range(first, codebook)]
    predictor = NET.predictors[codebook]
    assert isinstance(predictor, CodePredictor)
    for m in range(7):
        earlier = codes_KM[first:codebook, m].tolist()
        expected = plain_logits(predictor, hidden_ME[m], tables, earlier)
        torch.testing.assert_close(got[m], expected, atol=1e-5, rtol=1e-5)


def test_rotation_is_that_of_complex_numbers() -> None:
    x = torch.randn(2, 3, 11, 8, generator=generator(0))
    rates = torch.tensor([10_000 ** (-2 * n / 8) for n in range(4)])
    turns = torch.polar(torch.ones(11, 4), torch.arange(11.0)[:, None] * rates)
    turned = torch.complex(x[..., :4], x[..., 4:]) * turns
    torch.testing.assert_close(rotate(x), torch.cat([turned.real, turned.imag], -1))


def test_rotated_products_depend_on_distance_alone() -> None:
    q, k = torch.randn(2, 8, generator=generator(1))
    turned_q, turned_k = (rotate(v.expand(1, 1, 20, 8))[0, 0] for v in (q, k))
    products = turned_q @ turned_k.T
    torch.testing.assert_close(products[:-3, :-3], products[3:, 3:], atol=1e-4, rtol=0)


def plain_attention(
    layer: SelfAttention, x_LD: Tensor, condition_C: Tensor, keep_L: Tensor
) -> Tensor:
    """The same layer for one item, head by head and position by position."""
    scale, shift, gate = layer.modulation(condition_C[None])
    h = nn.functional.layer_norm(x_LD, x_LD.shape[-1:], layer.norm.weight, layer.norm.bias)
    h = (h * scale[0] + shift[0]) @ layer.qkv.weight.T + layer.qkv.bias
    width = x_LD.shape[-1]
    each = width // layer.heads
    mixed = torch.zeros_like(x_LD)
    for head in range(layer.heads):
        q, k, v = (h[:, p * width + head * each : p * width + (head + 1) * each] for p in range(3))
        q, k = (rotate(part[None, None])[0, 0] for part in (q, k))
        for n in range(len(x_LD)):
            scores = (k @ q[n]) / each**0.5
            share = torch.softmax(scores[keep_L], 0)
            mixed[n, head * each : (head + 1) * each] = share @ v[keep_L]
    out = mixed @ layer.out.weight.T + layer.out.bias
    result: Tensor = x_LD + out * layer.layer_scale * gate[0]
    return result


@pytest.mark.parametrize("learning", [True, False])
def test_attention_against_a_plain_one(learning: bool) -> None:
    """Written out where gradients are wanted, one kernel where they are not."""
    layer, rng = stir(SelfAttention(12, 3, 5)), generator(2)
    x_BLD, condition_BC = torch.randn(2, 9, 12, generator=rng), torch.randn(2, 5, generator=rng)
    keep_BL = torch.rand(2, 9, generator=rng) < 0.6
    keep_BL[:, 0] = True
    with torch.set_grad_enabled(learning):
        got = layer(x_BLD, condition_BC, keep_BL)
    for b in range(2):
        expected = plain_attention(layer, x_BLD[b], condition_BC[b], keep_BL[b])
        torch.testing.assert_close(got[b], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_it_can_be_compiled_for_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Captured as `speechkit bench --compile` does, and run as captured: without g++'s minutes."""
    monkeypatch.delenv("TORCHDYNAMO_DISABLE", raising=False)
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        graphs.append(graph)
        return graph.forward

    compiled, whole = torch.compile(NET, backend=backend, dynamic=True), inputs()
    shorter = replace(
        whole,
        **{name: getattr(whole, name)[:, :-1] for name in ("phones_BL", "prompt_BL", "keep_BL")},
        position_BL2=whole.position_BL2[:, :-1],
        codes_BKL=whole.codes_BKL[..., :-1],
    )
    for given in (whole, shorter):
        with torch.no_grad():
            torch.testing.assert_close(compiled(given), NET(given))
    assert graphs


def test_adopted_codebooks_make_like_codes_alike() -> None:
    net = live_denoiser(1)
    codebooks_KVC = torch.randn(6, CODEBOOK_SIZE, 4, generator=generator(3))
    codebooks_KVC[:, 1] = 5 * codebooks_KVC[:, 0]
    tables = [net.code.get_parameter(f"{k}.weight") for k in range(6)]
    outs = [net.predictors.get_parameter(f"{k}.out.weight") for k in range(6)]
    masks = [table[-1].clone() for table in tables]
    net.adopt_codebooks(list(codebooks_KVC), generator(0))
    for table, out, mask in zip(tables, outs, masks, strict=True):
        torch.testing.assert_close(table[0], table[1])
        torch.testing.assert_close(out[0], out[1])
        assert not torch.allclose(table[0], table[2], atol=0.1)
        assert torch.equal(table[-1], mask)
