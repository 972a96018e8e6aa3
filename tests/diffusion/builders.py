"""Networks with no dead path, and made-up voices.

A fresh network ignores its conditions: modulations start at zero. Tests of what depends on what
need weights that are all alive.

Shapes: F frames, K codebooks, P phones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from speechkit.core.results import DurationPrompt, PromptCodes, Voice
from speechkit.core.rng import generator
from speechkit.diffusion.config import GeneratorConfig
from speechkit.diffusion.denoiser import Denoiser
from speechkit.diffusion.generator import Generator, build_generator
from tests.facodec.builders import BOOKS, random_track
from tests.tiny import CODEBOOK_SIZE, TINY_CODEC, TINY_GENERATOR

SMALL = replace(TINY_GENERATOR, prompt_frames=60, prompt_phones=20)
"""Prompts short enough for the clips of the tiny corpus."""

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@torch.no_grad()
def stir(module: ModuleT, seed: int = 0, size: float = 0.3) -> ModuleT:
    """The module in evaluation mode, with noise on every weight."""
    rng = generator(seed)
    for parameter in module.parameters():
        parameter.add_(size * torch.randn(parameter.shape, generator=rng))
    return module.eval()


def live_generator(config: GeneratorConfig = SMALL, seed: int = 0) -> Generator:
    """A generator whose every part matters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return stir(build_generator(config), seed)


def live_denoiser(seed: int = 0) -> Denoiser:
    """The network of the frame stages."""
    return live_generator(seed=seed).frame


def random_voice(seed: int, frames: int = 80) -> Voice:
    """A voice with another prompt's worth of random material for each attribute."""
    rng, draws = np.random.default_rng(seed), generator(seed)
    track = random_track(frames, rng)

    def attribute() -> PromptCodes:
        part = random_track(frames, rng)
        return PromptCodes(
            codes_KF=torch.randint(CODEBOOK_SIZE, (BOOKS, frames), generator=draws),
            phone_F=torch.repeat_interleave(part.ids_P, part.frames_P),
        )

    timbre_D = torch.randn(TINY_CODEC.timbre_channels, generator=draws)
    return Voice(
        timbre_D=timbre_D,
        duration=DurationPrompt(phones_P=track.ids_P, frames_P=track.frames_P),
        prosody=attribute(),
        content=attribute(),
        detail=attribute(),
    )
