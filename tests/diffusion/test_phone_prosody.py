"""Prosody codes of phones.

Shapes: F frames, P phones, K codebooks, V entries, C channels.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.results import Voice
from speechkit.core.rng import generator
from speechkit.diffusion.config import GeneratorConfig, SamplerConfig
from speechkit.diffusion.denoiser import NULL_CODE
from speechkit.diffusion.generator import Draws, Generator
from speechkit.diffusion.phone_prosody import phone_codes, pool_codes
from tests.diffusion.builders import SMALL, live_generator, random_voice

CONFIG = replace(
    SMALL,
    phone_prosody=True,
    code_channels=4,
    duration=replace(SMALL.duration, codebooks=2, stages=2, codebook_size=16),
)


@pytest.fixture(scope="module")
def model() -> Generator:
    """A generator that draws the prosody of phones, with entries in its tables."""
    made = live_generator(CONFIG)
    assert made.prosody_KVC is not None
    made.prosody_KVC.copy_(torch.randn(1, 16, 4, generator=generator(7)))
    return made


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.integers(0, 99))
def test_a_phone_of_one_code_has_that_code(frames: list[int], seed: int) -> None:
    entries_1VC = torch.randn(1, 16, 4, generator=generator(seed))
    said_P = torch.randint(16, (len(frames),), generator=generator(seed + 1))
    frames_P = torch.tensor(frames)
    codes_1F = torch.repeat_interleave(said_P, frames_P)[None]
    if not codes_1F.shape[1]:
        return
    pooled_1P = pool_codes(codes_1F, frames_P, entries_1VC)
    assert torch.equal(pooled_1P[0][frames_P > 0], said_P[frames_P > 0])
    assert 0 <= int(pooled_1P.min()) <= int(pooled_1P.max()) < 16


def test_the_code_of_a_phone_is_nearest_to_its_mean() -> None:
    entries_1VC = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.7, 0.7]]])
    codes_1F = torch.tensor([[0, 1, 0, 0, 1]])
    assert pool_codes(codes_1F, torch.tensor([2, 3]), entries_1VC).tolist() == [[2, 2]]
    assert pool_codes(codes_1F, torch.tensor([1, 4]), entries_1VC)[0, 0] == 0


def test_durations_stand_after_the_codes_and_alone_without_them() -> None:
    frames_P = torch.tensor([3, 99])
    assert phone_codes(frames_P, SMALL).tolist() == [[3, 7]]
    assert phone_codes(frames_P, CONFIG).tolist() == [[-2, -2], [3, 15]]


def test_durations_follow_the_prosody_of_phones(model: Generator) -> None:
    phones = [torch.randint(11, 70, (20,), generator=generator(0))]
    voice, other = random_voice(0), random_voice(1)
    seen: list[str] = []

    def drawn(seed: int, said_by: Voice = voice) -> list[int]:
        draws = Draws(sampler=SamplerConfig(), seeds=(seed,), begin=seen.append)
        (frames_P,) = model.draw_durations(phones, [said_by], draws)
        frames: list[int] = frames_P.tolist()
        return frames

    first = drawn(0)
    assert seen == ["phone_prosody", "duration"]
    assert min(first) >= 1
    assert first == drawn(0)
    # Another voice's prosody moves the durations, though their own prompt is the same.
    assert first != drawn(0, replace(voice, prosody=other.prosody))
    # Durations that are known stay where the prosody of phones is drawn, too.
    known_P = torch.where(torch.arange(20) < 12, 5, NULL_CODE)
    draws = Draws(sampler=SamplerConfig(), seeds=(0,))
    (frames_P,) = model.draw_durations(phones, [voice], draws, [known_P])
    assert frames_P[:12].tolist() == [5] * 12
    assert int(frames_P[12:].min()) >= 1


def test_a_network_that_cannot_hold_both_is_refused() -> None:
    with pytest.raises(ValueError, match=r"duration\.codebooks 2"):
        replace(CONFIG, duration=SMALL.duration)
    with pytest.raises(ValueError, match="codebook_size"):
        replace(CONFIG, duration=replace(CONFIG.duration, codebook_size=8))
    assert GeneratorConfig().stages == ("duration", "prosody", "content", "detail")
