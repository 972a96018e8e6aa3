"""The factorised generator: phones and a voice in, codes out (NS3 §3.3).

Shapes: P phones, F frames, K code books, N positions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechkit.core.checkpoint import Checkpoint, build_and_load, load_checkpoint
from speechkit.core.config import from_dict
from speechkit.core.errors import CheckpointError
from speechkit.core.results import Codes, DurationPrompt, PromptCodes, Voice
from speechkit.core.rng import derive, generator
from speechkit.diffusion.config import STAGES, GeneratorConfig, SamplerConfig
from speechkit.diffusion.denoiser import NULL_CODE, Denoiser
from speechkit.diffusion.duration import regulate_length, time_scale, within_phone_positions
from speechkit.diffusion.stage import Stage, Stretch
from speechkit.text.vocab import PAD, is_boundary

Progress = Callable[[str], None]
"""Called with the name of each stage as it begins."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """What the stages of one utterance are drawn with."""

    sampler: SamplerConfig
    """Settings of all stages."""

    seed: int
    """Each stage has a stream of its own that follows from it."""

    begin: Progress = lambda stage: None
    """Told which stage begins."""


@dataclass(frozen=True, kw_only=True)
class Generated:
    """What the stages made of a phone sequence."""

    codes: Codes
    """Code streams of the whole utterance."""

    frames_P: Tensor
    """Frames each phone lasts."""


class Generator(nn.Module):
    """Two networks, four stages."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        phones = len(config.phone_symbols)
        self.duration = Denoiser(config.duration, phones)
        self.frame = Denoiser(config.frame, phones)
        self.stages = {
            name: Stage(
                name,
                self.duration if name == "duration" else self.frame,
                config.books_of(name),
            )
            for name in STAGES
        }
        self._every_book = Stage("frame", self.frame, range(config.frame.codebooks))
        self._pauses = torch.tensor(
            [s == PAD or is_boundary(s) for s in config.phone_symbols],
            dtype=torch.bool,
            device="cpu",
        )

    def every_book(self) -> Stage:
        """The frame stages as one, for training on all their books in one pass."""
        return self._every_book

    @torch.no_grad()
    def draw_durations(self, phones_P: Tensor, prompt: DurationPrompt, draws: Draws) -> Tensor:
        """Duration stage: `frames_P`, how long each phone lasts, at the pace of the prompt."""
        draws.begin("duration")
        return self.durations(phones_P, prompt, draws.sampler, draws.seed)

    def regulate(self, phones_P: Tensor, frames_P: Tensor) -> Stretch:
        """Length regulator: each phone at all the frames it lasts, with no code known yet."""
        return Stretch(
            phones_N=regulate_length(phones_P, frames_P),
            place_N2=within_phone_positions(frames_P),
            codes_KN=self._absent(int(frames_P.sum())),
        )

    @torch.no_grad()
    def draw(self, name: str, target: Stretch, prompt: PromptCodes, draws: Draws) -> Stretch:
        """A frame stage: the target with its codes, drawn given those of the stages before it.

        Codes that the target has of later stages are not looked at, and stay.
        """
        draws.begin(name)
        books = self.config.books_of(name)
        known_KN, codes_KN = target.codes_KN.clone(), target.codes_KN.clone()
        # The network never saw the books of later stages while it learnt this one.
        known_KN[books.start :] = NULL_CODE
        codes_KN[books.start : books.stop] = self.stages[name].sample(
            replace(target, codes_KN=known_KN),
            self._prompt(prompt),
            draws.sampler.of(name),
            _draws(draws.seed, name),
        )
        return replace(target, codes_KN=codes_KN)

    def codes_of(self, target: Stretch) -> Codes:
        """The code streams of a target that went through all stages."""
        parts = {}
        for name in STAGES[1:]:
            books = self.config.books_of(name)
            parts[f"{name}_KF"] = target.codes_KN[books.start : books.stop]
        return Codes(**parts)

    @torch.no_grad()
    def generate(
        self,
        phones_P: Tensor,
        voice: Voice,
        *,
        sampler: SamplerConfig,
        seed: int,
        speed: float = 1.0,
        progress: Progress = lambda stage: None,
    ) -> Generated:
        """Durations, then the codes of prosody, content and detail, each from its own prompt.

        Every stage draws from a stream of its own, so another prompt or step count for one stage
        leaves the draws of the others as they were.
        """
        progress("duration")
        frames_P = time_scale(self.durations(phones_P, voice.duration, sampler, seed), speed)
        codes = self.fill(
            phones_P,
            frames_P,
            self._absent(int(frames_P.sum())),
            {name: getattr(voice, name) for name in STAGES[1:]},
            sampler=sampler,
            seed=seed,
            progress=progress,
        )
        return Generated(codes=codes, frames_P=frames_P)

    @torch.no_grad()
    def fill(
        self,
        phones_P: Tensor,
        frames_P: Tensor,
        codes_KF: Tensor,
        prompts: Mapping[str, PromptCodes],
        *,
        sampler: SamplerConfig,
        seed: int,
        progress: Progress = lambda stage: None,
    ) -> Codes:
        """Codes in which the stages that have a prompt are drawn anew; the others stay."""
        draws = Draws(sampler=sampler, seed=seed, begin=progress)
        target = replace(self.regulate(phones_P, frames_P), codes_KN=codes_KF)
        for name in STAGES[1:]:
            if name in prompts:
                target = self.draw(name, target, prompts[name], draws)
        return self.codes_of(target)

    def durations(
        self, phones_P: Tensor, rhythm: DurationPrompt, sampler: SamplerConfig, seed: int
    ) -> Tensor:
        """`frames_P`: how long each phone lasts; phones of words last at least one frame."""
        limit = self.config.prompt_phones
        prompt_P = rhythm.phones_P[-limit:]
        frames_1P = rhythm.frames_P[-limit:][None].clamp_max(self.config.duration.codebook_size - 1)
        prompt = Stretch(
            phones_N=prompt_P, place_N2=torch.zeros(len(prompt_P), 2), codes_KN=frames_1P
        )
        target = Stretch(
            phones_N=phones_P,
            place_N2=torch.zeros(len(phones_P), 2),
            codes_KN=torch.full((1, len(phones_P)), NULL_CODE),
        )
        stage = self.stages["duration"]
        drawn_P = stage.sample(target, prompt, sampler.duration, _draws(seed, "duration"))[0]
        return torch.where(self._pauses[phones_P], drawn_P, drawn_P.clamp_min(1))

    def _prompt(self, attribute: PromptCodes) -> Stretch:
        limit = self.config.prompt_frames
        phones_F = attribute.phone_F
        _, frames_P = torch.unique_consecutive(phones_F, return_counts=True)
        return Stretch(
            phones_N=phones_F[-limit:],
            place_N2=within_phone_positions(frames_P)[-limit:],
            codes_KN=attribute.codes_KF[:, -limit:],
        )

    def _absent(self, frames: int) -> Tensor:
        return torch.full((self.config.frame.codebooks, frames), NULL_CODE)


def _draws(seed: int, name: str) -> torch.Generator:
    return generator(derive(seed, name))


def build_generator(config: GeneratorConfig) -> Generator:
    """A generator with fresh weights."""
    return Generator(config)


def generator_config(mapping: dict[str, Any]) -> GeneratorConfig:
    """The generator's configuration from a checkpoint's config.json."""
    if not isinstance(mapping.get("generator"), dict):
        raise CheckpointError(
            "This config.json is not a generator's: it has no part named generator."
        )
    return from_dict(GeneratorConfig, mapping["generator"])


def load_generator(folder: str | Path) -> Generator:
    """The generator of a folder with model.safetensors and config.json, ready for inference.

    Raises CheckpointError or ConfigError for a folder that does not hold one.
    """
    return generator_of(load_checkpoint(folder))


def generator_of(checkpoint: Checkpoint) -> Generator:
    """The generator of a checkpoint that was read; errors as `load_generator` has."""
    config = generator_config(checkpoint.config)
    return build_and_load(lambda: build_generator(config), checkpoint.state).eval()
