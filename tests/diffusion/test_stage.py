"""One stage: what the network is shown, what the loss counts, how often it is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from speechkit.core.rng import generator
from speechkit.diffusion.config import StageSampling
from speechkit.diffusion.denoiser import MASK, NULL_CODE, DenoiserInputs
from speechkit.diffusion.masking import draw_mask
from speechkit.diffusion.sequences import collate
from speechkit.diffusion.stage import (
    SEPARATOR,
    Stage,
    StageBatch,
    Stretch,
    join,
    visible_codes,
)
from tests.diffusion.builders import live_denoiser
from tests.facodec.builders import BOOKS
from tests.tiny import CODEBOOK_SIZE

NET = live_denoiser()
PLAIN = StageSampling(guidance=0.0)


def stretch_of(frames: int, seed: int) -> Stretch:
    rng = generator(seed)
    return Stretch(
        phones_N=torch.randint(80, (frames,), generator=rng),
        place_N2=torch.rand(frames, 2, generator=rng),
        codes_KN=torch.randint(CODEBOOK_SIZE, (BOOKS, frames), generator=rng),
    )


def as_item(stretch: Stretch) -> tuple[Tensor, Tensor, Tensor]:
    return stretch.phones_N, stretch.place_N2, stretch.codes_KN


def stage_batch() -> StageBatch:
    """Two items: a prompt of 6 and a target of 9; no prompt and a target of 5."""
    long = (as_item(stretch_of(6, 1)), as_item(stretch_of(9, 2)))
    short = (None, as_item(stretch_of(5, 3)))
    return collate([long, short], prompt_room=8, target_room=12)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_visible_codes_against_a_loop(seed: int, books: list[int]) -> None:
    rng = generator(seed)
    codes = torch.randint(9, (len(books), 4, 5), generator=rng)
    masked = torch.rand(len(books), 5, generator=rng) < 0.5
    seen = visible_codes(codes, torch.tensor(books), masked)
    for b, book in enumerate(books):
        for k in range(4):
            for n in range(5):
                value = int(codes[b, k, n])
                if k > book:
                    value = NULL_CODE
                elif k == book and masked[b, n]:
                    value = MASK
                assert int(seen[b, k, n]) == value


@pytest.mark.parametrize("book", [0, 3, 5])
def test_join_lays_prompt_gap_and_target_side_by_side(book: int) -> None:
    prompt, target = stretch_of(6, 1), stretch_of(9, 2)
    joined = join(target.phones_N, target.place_N2, target.codes_KN, prompt, book, 0.25)
    assert joined.phones_BL.shape == (1, 6 + SEPARATOR + 9)
    assert joined.prompt_BL[0].tolist() == [True] * 6 + [False] * (SEPARATOR + 9)
    assert joined.keep_BL[0].tolist() == [True] * 6 + [False] * SEPARATOR + [True] * 9
    assert torch.equal(joined.phones_BL[0, :6], prompt.phones_N)
    assert torch.equal(joined.phones_BL[0, -9:], target.phones_N)
    assert torch.equal(joined.place_BL2[0, -9:], target.place_N2)
    assert torch.equal(joined.codes_BKL[0, : book + 1, :6], prompt.codes_KN[: book + 1])
    assert bool((joined.codes_BKL[0, book + 1 :, :6] == NULL_CODE).all())
    assert torch.equal(joined.codes_BKL[0, :, -9:], target.codes_KN)
    assert (joined.book_B.tolist(), joined.time_B.tolist()) == ([book], [0.25])
    assert bool((prompt.codes_KN >= 0).all())


def test_join_without_prompt_is_the_target() -> None:
    target = stretch_of(9, 2)
    joined = join(target.phones_N, target.place_N2, target.codes_KN, None, 0, 1.0)
    assert joined.keep_BL.shape == (1, 9)
    assert bool(joined.keep_BL.all())
    assert not bool(joined.prompt_BL.any())


@pytest.mark.parametrize("row", [0, 1])
@torch.no_grad()
def test_training_and_sampling_show_the_same(row: int) -> None:
    batch, book = stage_batch(), 1
    masked_BL = draw_mask(torch.tensor([0.7, 0.7]), batch.keep_BL & ~batch.prompt_BL, generator(0))
    seen = visible_codes(batch.codes_BKL, torch.full((2,), book), masked_BL)
    trained = NET(
        DenoiserInputs(
            phones_BL=batch.phones_BL, place_BL2=batch.place_BL2, codes_BKL=seen,
            book_B=torch.full((2,), book), time_B=torch.full((2,), 0.7),
            prompt_BL=batch.prompt_BL, keep_BL=batch.keep_BL,
        )
    )  # fmt: skip
    prompt, target = (stretch_of(6, 1), stretch_of(9, 2)) if row == 0 else (None, stretch_of(5, 3))
    span = slice(8 + SEPARATOR, 8 + SEPARATOR + len(target.phones_N))
    inputs = join(target.phones_N, target.place_N2, seen[row, :, span], prompt, book, 0.7)
    sampled = NET(inputs)[0, -len(target.phones_N) :]
    torch.testing.assert_close(trained[row, span], sampled, atol=1e-4, rtol=0)


@torch.no_grad()
def test_loss_is_the_mean_over_masked_target_positions() -> None:
    batch, book_B = stage_batch(), torch.tensor([1, 4])
    loss = Stage("frame", NET, range(6)).loss(batch, book_B, generator(5), ahead=2)
    rng = generator(5)
    time_B = torch.rand(2, generator=rng)
    target_BL = batch.keep_BL & ~batch.prompt_BL
    masked_BL = draw_mask(time_B, target_BL, rng)
    hidden = NET(
        DenoiserInputs(
            phones_BL=batch.phones_BL, place_BL2=batch.place_BL2,
            codes_BKL=visible_codes(batch.codes_BKL, book_B, masked_BL), book_B=book_B,
            time_B=time_B, prompt_BL=batch.prompt_BL, keep_BL=batch.keep_BL,
        )
    )  # fmt: skip
    losses: list[list[float]] = [[], [], []]
    right = []
    for b, n in masked_BL.nonzero().tolist():
        for offset, book in enumerate(range(int(book_B[b]), min(6, int(book_B[b]) + 3))):
            logits, true = NET.logits(hidden[b, n], book), batch.codes_BKL[b, book, n]
            losses[offset].append(float(nn.functional.cross_entropy(logits, true)))
            if offset == 0:
                right.append(float(logits.argmax() == true))
    assert float(loss.nll) == pytest.approx(sum(losses[0]) / len(right), rel=1e-5)
    assert float(loss.accuracy) == pytest.approx(sum(right) / len(right))
    ahead = (sum(losses[1]) + sum(losses[2])) / 2 / len(right)
    assert float(loss.ahead) == pytest.approx(ahead, rel=1e-5)


def test_the_network_is_not_shown_the_answers() -> None:
    batch, stage = stage_batch(), Stage("frame", NET, range(6))
    asked: list[DenoiserInputs] = []
    handle = NET.register_forward_hook(lambda module, args, out: asked.append(args[0]))
    try:
        stage.loss(batch, torch.tensor([2, 2]), generator(0))
        hidden_BKL = (asked[0].codes_BKL < 0) & (batch.codes_BKL >= 0)
        other_BKL = torch.where(hidden_BKL, (batch.codes_BKL + 1) % CODEBOOK_SIZE, batch.codes_BKL)
        stage.loss(replace(batch, codes_BKL=other_BKL), torch.tensor([2, 2]), generator(0))
    finally:
        handle.remove()
    assert torch.equal(asked[0].codes_BKL, asked[1].codes_BKL)


class Counting(nn.Module):
    """A stand-in network that notes its inputs and guesses by phone."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[DenoiserInputs] = []

    def forward(self, inputs: DenoiserInputs) -> Tensor:
        self.asked.append(inputs)
        return inputs.phones_BL[..., None].float()

    def logits(self, hidden_LD: Tensor, book: int) -> Tensor:
        return nn.functional.one_hot(
            (hidden_LD[:, 0].long() + book) % CODEBOOK_SIZE, CODEBOOK_SIZE
        ).float()


def sample(
    settings_: StageSampling, books: range, prompt: Stretch | None
) -> tuple[Counting, Tensor]:
    net, target = Counting(), stretch_of(9, 2)
    target.codes_KN[books.start :] = NULL_CODE
    before = target.codes_KN.clone()
    stage = Stage("content", net, books)  # type: ignore[arg-type]
    codes_KN = stage.sample(target, prompt, settings_, generator(0))
    assert torch.equal(target.codes_KN, before)
    return net, codes_KN


@pytest.mark.parametrize(
    ("guidance", "prompted", "passes"), [(0.0, True, 1), (1.0, True, 2), (1.0, False, 1)]
)
def test_guidance_doubles_the_passes(guidance: float, prompted: bool, passes: int) -> None:
    prompt = stretch_of(6, 1) if prompted else None
    net, _ = sample(StageSampling(steps=(3, 2), guidance=guidance), range(1, 4), prompt)
    # The last number of steps stands for all further books.
    budget = [1, 1, 1, 2, 2, 3, 3]
    asked = [int(inputs.book_B) for inputs in net.asked]
    assert asked == [book for book in budget for _ in range(passes)]


def test_books_are_filled_in_turn_from_what_is_known() -> None:
    net, codes_KN = sample(replace(PLAIN, steps=(2,), top_k=1), range(1, 3), stretch_of(6, 1))
    target = stretch_of(9, 2)
    expected = torch.stack([(target.phones_N + book) % CODEBOOK_SIZE for book in (1, 2)])
    assert torch.equal(codes_KN, expected)
    last = net.asked[-1].codes_BKL[0, :, -9:]
    assert torch.equal(last[0], target.codes_KN[0])
    assert torch.equal(last[1], expected[0])
    assert bool((last[3:] == NULL_CODE).all())


def test_sampling_follows_the_seed() -> None:
    stage, target, prompt = Stage("prosody", NET, range(1)), stretch_of(30, 2), stretch_of(6, 1)
    one, same, other = (
        stage.sample(target, prompt, StageSampling(), generator(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
