"""One stage: what the network is shown, what the loss counts, how often it is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from speechkit.core.rng import generator
from speechkit.diffusion.config import FRAME_STAGES, StageSampling
from speechkit.diffusion.denoiser import MASK, NULL_CODE, DenoiserInputs
from speechkit.diffusion.masking import draw_mask
from speechkit.diffusion.stage import (
    SEPARATOR,
    Segment,
    Stage,
    StageBatch,
    StageItem,
    collate,
    draw_stages,
    stage_loss,
    visible_codes,
    without_phones,
)
from tests.diffusion.builders import SMALL, live_denoiser
from tests.facodec.builders import BOOKS
from tests.tiny import CODEBOOK_SIZE, TINY_CODEC

NET = live_denoiser()
PATCH = NET.config.patch
Drop = Literal["prompt", "phones", "both"]
DROPS: tuple[Drop, ...] = ("prompt", "phones", "both")
PLAIN = StageSampling(steps=3, top_k=CODEBOOK_SIZE)
STAGES = [
    Stage(number, NET, SMALL.codebooks_of(name), told_timbre=name == "detail")
    for number, name in enumerate(FRAME_STAGES)
]


def segment_of(frames: int, seed: int) -> Segment:
    rng = generator(seed)
    return Segment(
        phones_N=torch.randint(80, (frames,), generator=rng),
        position_N2=torch.rand(frames, 2, generator=rng),
        codes_KN=torch.randint(CODEBOOK_SIZE, (BOOKS, frames), generator=rng),
    )


def timbre_of(seed: int) -> Tensor:
    return torch.randn(TINY_CODEC.timbre_channels, generator=generator(seed))


PAIRS: list[tuple[Segment | None, Segment]] = [
    (segment_of(6, 1), segment_of(9, 2)),
    (None, segment_of(5, 3)),
    (segment_of(11, 4), segment_of(14, 5)),
]
"""Odd and even prompts and targets, one without a prompt."""
TIMBRES = [timbre_of(n) for n in range(len(PAIRS))]


def item(row: int, seed: int = 0) -> StageItem:
    prompt, target = PAIRS[row]
    return StageItem(target=target, prompt=prompt, rng=generator(seed + row), timbre_D=TIMBRES[row])


def open_item(stage: Stage, row: int, seed: int = 0) -> StageItem:
    """The item with nothing known of the codes that the stage fills."""
    one = item(row, seed)
    return replace(one, target=one.target.without(stage.codebooks))


def stage_batch() -> StageBatch:
    return collate(PAIRS, PATCH, TIMBRES)


def visible_by_loop(codes: Tensor, stages: list[int], masked: Tensor) -> Tensor:
    """What `visible_codes` gives for `STAGES`, code by code."""
    seen = codes.clone()
    for b, number in enumerate(stages):
        own = STAGES[number].codebooks
        for k in range(codes.shape[1]):
            for n in range(codes.shape[2]):
                if k >= own.stop:
                    seen[b, k, n] = NULL_CODE
                elif k >= own.start and masked[b, n]:
                    seen[b, k, n] = MASK
    return seen


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.lists(st.integers(0, 2), min_size=1, max_size=4))
def test_visible_codes_against_a_loop(seed: int, stages: list[int]) -> None:
    rng = generator(seed)
    codes = torch.randint(9, (len(stages), BOOKS, 5), generator=rng)
    masked = torch.rand(len(stages), 5, generator=rng) < 0.5
    seen = visible_codes(codes, STAGES, torch.tensor(stages), masked)
    assert torch.equal(seen, visible_by_loop(codes, stages, masked))


frames = st.integers(1, 12)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.none() | frames, frames), min_size=1, max_size=4), st.integers(1, 4))
def test_collate_against_a_loop(sizes: list[tuple[int | None, int]], patch: int) -> None:
    pairs = [
        (None if p is None else segment_of(p, 2 * n), segment_of(t, 2 * n + 1))
        for n, (p, t) in enumerate(sizes)
    ]
    batch = collate(pairs, patch)
    length = batch.keep_BL.shape[1]
    begin = length - max(t for _, t in sizes)
    room = max((p for p, _ in sizes if p is not None), default=0)
    assert begin % patch == 0
    assert begin == 0 if room == 0 else room + SEPARATOR <= begin < room + SEPARATOR + patch
    assert batch.prompt_BL.tolist() == [[n < begin for n in range(length)]] * len(sizes)
    for row, (prompt, target) in enumerate(pairs):
        spots = {begin + n: (target, n) for n in range(target.frames)}
        if prompt is not None:
            first = begin - SEPARATOR - prompt.frames
            spots |= {first + n: (prompt, n) for n in range(prompt.frames)}
        for at in range(length):
            assert bool(batch.keep_BL[row, at]) == (at in spots)
            if at in spots:
                part, n = spots[at]
                assert int(batch.phones_BL[row, at]) == int(part.phones_N[n])
                assert torch.equal(batch.position_BL2[row, at], part.position_N2[n])
                assert torch.equal(batch.codes_BKL[row, :, at], part.codes_KN[:, n])
            else:
                assert bool((batch.codes_BKL[row, :, at] == NULL_CODE).all())


class Watched:
    """Notes what the network is given."""

    def __init__(self, network: nn.Module) -> None:
        self.asked: list[DenoiserInputs] = []
        self.handle = network.register_forward_hook(
            lambda module, args, out: self.asked.append(args[0])
        )

    def __enter__(self) -> list[DenoiserInputs]:
        return self.asked

    def __exit__(self, *error: object) -> None:
        self.handle.remove()


@pytest.mark.parametrize("number", [0, 1, 2])
@torch.no_grad()
def test_training_and_sampling_show_the_same(number: int) -> None:
    """The hidden states of a training pass are those of a sampler that is as far."""
    batch, stage_B = stage_batch(), torch.full((len(PAIRS),), number)
    with Watched(NET) as asked:
        stage_loss(STAGES, batch, draw_stages(3, batch, stage_B, generator(0)))
    trained = NET(asked[0])
    for row, (_, target) in enumerate(PAIRS):
        span = slice(batch.prompt_BL[row].sum(), batch.prompt_BL[row].sum() + target.frames)
        own = STAGES[number].codebooks
        seen_KN = asked[0].codes_BKL[row, :, span].clone()
        # The sampler gets what it knows, with whatever may stand in the codebooks after it.
        seen_KN[own.stop :] = target.codes_KN[own.stop :]
        (sampled_NE,) = STAGES[number]._hidden([item(row)], [seen_KN], float(asked[0].time_B[row]))
        torch.testing.assert_close(trained[row, span], sampled_NE, atol=1e-4, rtol=0)


@torch.no_grad()
def test_loss_is_the_mean_over_masked_codes_of_the_target() -> None:
    batch, stages = stage_batch(), [1, 2, 1]
    loss = stage_loss(STAGES, batch, draw_stages(3, batch, torch.tensor(stages), generator(5)))
    rng = generator(5)
    time_B = torch.rand(3, generator=rng)
    masked_BL = draw_mask(time_B, batch.keep_BL & ~batch.prompt_BL, rng)
    assert batch.timbre_BD is not None
    told_BD = batch.timbre_BD.clone()
    told_BD[[0, 2]] = 0
    hidden = NET(
        DenoiserInputs(
            phones_BL=batch.phones_BL, position_BL2=batch.position_BL2,
            codes_BKL=visible_by_loop(batch.codes_BKL, stages, masked_BL),
            stage_B=torch.tensor(stages), time_B=time_B, prompt_BL=batch.prompt_BL,
            keep_BL=batch.keep_BL, timbre_BD=told_BD,
        )
    )  # fmt: skip
    losses: list[list[float]] = [[] for _ in range(BOOKS)]
    right: list[list[float]] = [[] for _ in range(BOOKS)]
    for b, n in masked_BL.nonzero().tolist():
        own = STAGES[stages[b]].codebooks
        for k in own:
            true = batch.codes_BKL[b, :, n : n + 1]
            logits = NET.logits(hidden[b, n : n + 1], true, k, own.start)[0]
            losses[k].append(float(nn.functional.cross_entropy(logits, true[k, 0])))
            right[k].append(float(logits.argmax() == true[k, 0]))
    every = [value for of_codebook in losses for value in of_codebook]
    assert float(loss.nll) == pytest.approx(sum(every) / len(every), rel=1e-5)
    for k in range(BOOKS):
        mean = sum(losses[k]) / max(1, len(losses[k]))
        assert float(loss.nll_K[k]) == pytest.approx(mean, rel=1e-5)
        assert float(loss.accuracy_K[k]) == pytest.approx(sum(right[k]) / max(1, len(right[k])))
    assert not losses[0]


def test_the_network_is_not_shown_the_answers() -> None:
    batch, stage_B = stage_batch(), torch.tensor([0, 1, 2])
    with Watched(NET) as asked:
        stage_loss(STAGES, batch, draw_stages(3, batch, stage_B, generator(0)))
        hidden_BKL = (asked[0].codes_BKL < 0) & (batch.codes_BKL >= 0)
        other_BKL = torch.where(hidden_BKL, (batch.codes_BKL + 1) % CODEBOOK_SIZE, batch.codes_BKL)
        draws = draw_stages(3, batch, stage_B, generator(0))
        stage_loss(STAGES, replace(batch, codes_BKL=other_BKL), draws)
    assert torch.equal(asked[0].codes_BKL, asked[1].codes_BKL)
    for row, number in enumerate(stage_B.tolist()):
        own, (prompt, target) = STAGES[number].codebooks, PAIRS[row]
        begin = int(batch.prompt_BL[row].sum())
        answers_KN = hidden_BKL[row, :, begin : begin + target.frames]
        # A frame is masked whole; some frame is; and nothing of later stages is there.
        assert bool((answers_KN[own.start : own.stop] == answers_KN[own.start]).all())
        assert bool(answers_KN[own.start].any())
        assert not bool(answers_KN[: own.start].any())
        assert bool(answers_KN[own.stop :].all())
        if prompt is not None:
            assert not bool(hidden_BKL[row, : own.stop, :begin].any())


def test_timbre_reaches_only_the_stages_that_are_told() -> None:
    batch, other = stage_batch(), collate(PAIRS, PATCH, [-t for t in TIMBRES])
    for number, stage in enumerate(STAGES):
        stage_B = torch.full((len(PAIRS),), number)
        draws = draw_stages(3, batch, stage_B, generator(0))
        one, two = (stage_loss(STAGES, b, draws).nll for b in (batch, other))
        assert torch.equal(one, two) is not stage.told_timbre
        with Watched(NET) as asked:
            stage.sample([open_item(stage, 0)], PLAIN)
        assert {inputs.timbre_BD is None for inputs in asked} == {not stage.told_timbre}


class Counting(nn.Module):
    """A stand-in network that notes its inputs and guesses by phone and by the codes before."""

    def __init__(self) -> None:
        super().__init__()
        self.config, self.asked = NET.config, list[DenoiserInputs]()

    def forward(self, inputs: DenoiserInputs) -> Tensor:
        self.asked.append(inputs)
        return inputs.phones_BL[..., None].float()

    def logits(self, hidden_ME: Tensor, codes_KM: Tensor, codebook: int, first: int) -> Tensor:
        guess_M = hidden_ME[:, 0].long() + codebook + codes_KM[first:codebook].sum(0)
        return nn.functional.one_hot(guess_M % CODEBOOK_SIZE, CODEBOOK_SIZE).float()


def counted(
    settings_: StageSampling, codebooks: range, prompt: Segment | None
) -> tuple[list[DenoiserInputs], Tensor]:
    net, target = Counting(), segment_of(9, 2).without(codebooks)
    before = target.codes_KN.clone()
    stage = Stage(1, net, codebooks)  # type: ignore[arg-type]
    one = StageItem(target=target, prompt=prompt, rng=generator(0))
    (codes_KN,) = stage.sample([one], settings_)
    assert torch.equal(target.codes_KN, before)
    return net.asked, codes_KN


@pytest.mark.parametrize("drop", DROPS)
def test_guidance_doubles_each_pass(drop: Drop) -> None:
    settings_ = StageSampling(steps=3, top_k=1)
    plain, _ = counted(settings_, range(1, 3), segment_of(6, 1))
    guided, _ = counted(replace(settings_, guidance=1.0, drop=drop), range(1, 3), segment_of(6, 1))
    assert [len(inputs.time_B) for inputs in (*plain, *guided)] == [1] * 3 + [2] * 3
    for time, inputs in zip((1, 2 / 3, 1 / 3), guided, strict=True):
        assert inputs.time_B.tolist() == pytest.approx([time] * 2)
        heard_BL = inputs.prompt_BL & inputs.keep_BL
        assert heard_BL.any(dim=1).tolist() == [True, drop == "phones"]
        whole_L, without_L = inputs.phones_BL
        if drop == "prompt":
            assert torch.equal(without_L[-9:], whole_L[-9:])
        else:
            assert not bool(without_L[-9:].any())
            assert not bool(inputs.position_BL2[1, -9:].any())
        if drop == "phones":
            assert torch.equal(without_L[:-9], whole_L[:-9])
        # What is known of the codes is the same on both sides.
        assert torch.equal(*inputs.codes_BKL[..., -9:])


@pytest.mark.parametrize("drop", DROPS)
def test_guidance_by_what_an_item_has(drop: Drop) -> None:
    settings_ = replace(PLAIN, temperature=0.0)
    guided = replace(settings_, guidance=3.0, drop=drop)
    one, other = (
        STAGES[0].sample([open_item(STAGES[0], row) for row in range(2)], s)
        for s in (settings_, guided)
    )
    assert not torch.equal(one[0], other[0])
    # An item without a prompt is not guided by one.
    assert torch.equal(one[1], other[1]) is (drop == "prompt")


def test_without_phones_nothing_is_said() -> None:
    segment = segment_of(9, 2)
    silent = without_phones(segment)
    assert not bool(silent.phones_N.any())
    assert not bool(silent.position_N2.any())
    assert torch.equal(silent.codes_KN, segment.codes_KN)
    assert bool(segment.phones_N.any())


def test_codebooks_are_filled_in_turn_from_what_is_known() -> None:
    settings_ = StageSampling(steps=2, top_k=1)
    asked, codes_KN = counted(settings_, range(1, 3), segment_of(6, 1))
    target = segment_of(9, 2)
    first_N = (target.phones_N + 1) % CODEBOOK_SIZE
    expected = torch.stack([first_N, (target.phones_N + 2 + first_N) % CODEBOOK_SIZE])
    assert torch.equal(codes_KN, expected)
    last_KN = asked[-1].codes_BKL[0, :, -9:]
    assert torch.equal(last_KN[0], target.codes_KN[0])
    shown_N = last_KN[1] >= 0
    assert 0 < int(shown_N.sum()) < 9
    assert torch.equal(last_KN[1:3, shown_N], expected[:, shown_N])
    assert bool((last_KN[1:3, ~shown_N] == MASK).all())
    assert bool((last_KN[3:] == NULL_CODE).all())


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("corrector", [0.0, 0.3])
def test_an_item_does_not_depend_on_its_neighbours(number: int, corrector: float) -> None:
    settings_ = replace(PLAIN, guidance=1.0, corrector=corrector, drop=DROPS[number])
    stage = STAGES[number]
    together = stage.sample([open_item(stage, row) for row in range(3)], settings_)
    swapped = stage.sample([open_item(stage, row) for row in (2, 0)], settings_)
    for row, codes_KN in enumerate(together):
        (alone_KN,) = stage.sample([open_item(stage, row)], settings_)
        assert codes_KN.shape == (len(stage.codebooks), PAIRS[row][1].frames)
        assert torch.equal(codes_KN, alone_KN)
    assert torch.equal(swapped[0], together[2])
    assert torch.equal(swapped[1], together[0])


def test_codes_of_later_stages_are_not_looked_at() -> None:
    stage = STAGES[0]
    one = open_item(stage, 0)
    codes_KN = one.target.codes_KN.clone()
    codes_KN[1:] = NULL_CODE
    bare = replace(open_item(stage, 0), target=replace(one.target, codes_KN=codes_KN))
    assert torch.equal(stage.sample([one], PLAIN)[0], stage.sample([bare], PLAIN)[0])


@pytest.mark.parametrize("corrector", [0.0, 0.5])
def test_frames_that_have_codes_keep_them(corrector: float) -> None:
    stage = STAGES[1]
    one = open_item(stage, 2)
    own = slice(stage.codebooks.start, stage.codebooks.stop)
    known_KN = item(2).target.codes_KN[own, :5]
    one.target.codes_KN[own, :5] = known_KN
    settings_ = replace(PLAIN, steps=4, corrector=corrector)
    with Watched(NET) as asked:
        (codes_KN,) = stage.sample([one], settings_)
    assert torch.equal(codes_KN[:, :5], known_KN)
    assert int(codes_KN.min()) >= 0
    begin = asked[0].codes_BKL.shape[-1] - one.target.frames
    for inputs in asked:
        assert torch.equal(inputs.codes_BKL[0, own, begin : begin + 5], known_KN)


def test_sampling_follows_the_seed() -> None:
    stage = STAGES[2]
    one, same, other = (stage.sample([open_item(stage, 2, seed)], PLAIN)[0] for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
