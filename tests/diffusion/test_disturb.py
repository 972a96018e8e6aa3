"""Disturbed training: what is shown wrong, what is left out, and that validation knows nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.rng import generator
from speechkit.diffusion.disturb import Disturbance, draw_mistakes, draw_paths
from speechkit.diffusion.stage import draw_stages, shown_codes, stage_loss
from tests.diffusion.test_denoiser import inputs
from tests.diffusion.test_generator_task import CONFIG, task_on
from tests.diffusion.test_stage import NET, PAIRS, STAGES, Watched, stage_batch
from tests.facodec.builders import TinyData


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 1), st.integers(0, 1000))
def test_mistakes_are_frames_of_the_batch_in_targets_alone(share: float, seed: int) -> None:
    batch = stage_batch()
    shown_BL = draw_mistakes(batch, share, generator(seed))
    own_BL = torch.arange(shown_BL.numel()).reshape(shown_BL.shape)
    target_BL = batch.keep_BL & ~batch.prompt_BL
    assert torch.equal(shown_BL[~target_BL], own_BL[~target_BL])
    assert bool(batch.keep_BL.flatten()[shown_BL[target_BL]].all())
    if share == 0:
        assert torch.equal(shown_BL, own_BL)
    codes_BKL = shown_codes(batch.codes_BKL, shown_BL)
    size, _, length = codes_BKL.shape
    for b in range(size):
        for n in range(length):
            row, place = divmod(int(shown_BL[b, n]), length)
            assert torch.equal(codes_BKL[b, :, n], batch.codes_BKL[row, :, place])


def test_as_many_mistakes_as_were_asked_for() -> None:
    batch = stage_batch()
    target_BL = batch.keep_BL & ~batch.prompt_BL
    own_BL = torch.arange(target_BL.numel()).reshape(target_BL.shape)
    changed = [
        (draw_mistakes(batch, 0.3, generator(seed)) != own_BL)[target_BL].float().mean()
        for seed in range(200)
    ]
    # One frame in so many shows itself by chance.
    assert float(torch.stack(changed).mean()) == pytest.approx(0.3, abs=0.03)


def test_paths_weigh_one_on_average() -> None:
    paths_BN = draw_paths(2000, 12, 0.25, generator(0))
    assert paths_BN.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert float(paths_BN.mean()) == pytest.approx(1.0, abs=0.02)


@torch.no_grad()
def test_a_branch_that_is_left_out_adds_nothing() -> None:
    given_ = inputs()
    whole = NET(given_)
    ones = torch.ones(2, NET.paths)
    torch.testing.assert_close(NET(replace(given_, paths_BN=ones)), whole, atol=1e-4, rtol=0)
    for number in range(NET.paths):
        paths_BN = ones.clone()
        paths_BN[1, number] = 0
        out = NET(replace(given_, paths_BN=paths_BN))
        torch.testing.assert_close(out[0], whole[0], atol=1e-4, rtol=0)
        assert not torch.allclose(out[1], whole[1], atol=1e-3)
    # With no branch left, no frame hears of another but through the prompt's summary.
    alone = replace(given_, paths_BN=torch.zeros(2, NET.paths))
    other = given_.phones_BL.clone()
    other[:, -5] += 1
    patch = NET.config.patch
    place = given_.phones_BL.shape[1] - 5
    far = [n for n in range(place + 5) if n // patch != place // patch]
    changed = NET(replace(alone, phones_BL=other))
    torch.testing.assert_close(changed[:, far], NET(alone)[:, far], atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_loss_asks_for_true_codes_and_shows_wrong_ones() -> None:
    batch = stage_batch()
    stage_B = torch.tensor([1, 2, 2])
    draws = draw_stages(3, batch, stage_B, generator(0))
    disturb = Disturbance(mistaken=0.5, left_out=0.5)
    changed = disturb.of(draws, batch, NET.paths, generator(1))
    assert torch.equal(changed.masked_BL, draws.masked_BL)
    with Watched(NET) as asked:
        stage_loss(STAGES, batch, draws)
        stage_loss(STAGES, batch, changed)
    plain, wrong = asked
    assert plain.paths_BN is None
    assert wrong.paths_BN is not None
    assert wrong.paths_BN.shape == (len(PAIRS), NET.paths)
    prompt_BKL = (batch.prompt_BL & batch.keep_BL)[:, None].expand_as(batch.codes_BKL)
    assert torch.equal(plain.codes_BKL[prompt_BKL], wrong.codes_BKL[prompt_BKL])
    assert not torch.equal(plain.codes_BKL, wrong.codes_BKL)
    assert disturb.of(draws, batch, NET.paths, generator(1)) is not draws
    assert Disturbance().of(draws, batch, NET.paths, generator(1)) is draws


def test_training_is_disturbed_and_validation_is_not(data: TinyData) -> None:
    plain = task_on(data)
    task = task_on(data, replace(CONFIG, disturb=Disturbance(left_out=0.2, mistaken=0.2)))
    draws = task.batch(generator(0))["frame"].draws
    assert draws.paths_BN is not None
    assert draws.shown_BL is not None
    before = plain.batch(generator(0))["frame"].draws
    assert before.paths_BN is None
    assert before.shown_BL is None
    for one in (plain, task):
        one.model.eval()
    assert plain.validate() == task.validate()
