"""The factorised generator: phones and a voice in, codes out (NS3 §3.3).

Everything takes lists, an item for each utterance; an item is drawn alike alone and in a batch.

Shapes: P phones, F frames, K codebooks, N frames of a segment, D timbre channels.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
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
from speechkit.diffusion.config import (
    FRAME_STAGES,
    PHONE_PROSODY,
    GeneratorConfig,
    SamplerConfig,
)
from speechkit.diffusion.denoiser import NULL_CODE, Denoiser
from speechkit.diffusion.duration import merge_repeats, phone_positions, regulate_length
from speechkit.diffusion.phone_prosody import phone_codes, phone_segment
from speechkit.diffusion.stage import Segment, Stage, StageItem
from speechkit.text.frames import classes_of
from speechkit.text.vocab import PAD, is_boundary

Progress = Callable[[str], None]
"""Called with the name of each stage as it begins."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """What the stages of a batch of utterances are drawn with."""

    sampler: SamplerConfig
    """Settings of all stages."""

    seeds: tuple[int, ...]
    """One for each utterance; each stage has a stream of its own that follows from it, so another
    prompt or step count for one stage leaves the draws of the others as they were."""

    begin: Progress = lambda stage: None
    """Told which stage begins."""

    prompt_frames: int = sys.maxsize
    """Longest prompt of the frame stages, where that is less than the configuration's."""


class Generator(nn.Module):
    """Two networks, four stages."""

    def __init__(
        self, config: GeneratorConfig, networks: tuple[Denoiser, Denoiser] | None = None
    ) -> None:
        """`networks`, of durations and of frames, are made afresh where they are not given."""
        super().__init__()
        self.config = config
        phones = len(config.phone_symbols)
        self.duration, self.frame = networks or (
            Denoiser(config.duration, phones),
            Denoiser(config.frame, phones),
        )
        self.frame_stages = [
            Stage(
                number,
                self.frame,
                config.codebooks_of(name),
                told_timbre=name in config.timbre_stages and config.frame.timbre_channels > 0,
            )
            for number, name in enumerate(FRAME_STAGES)
        ]
        self.duration_stages = [
            Stage(number, self.duration, config.codebooks_of(name))
            for number, name in enumerate(config.stages[: -len(FRAME_STAGES)])
        ]
        self.stages = dict(
            zip(config.stages, [*self.duration_stages, *self.frame_stages], strict=True)
        )
        if config.phone_prosody:
            size = (config.prosody_codebooks, config.frame.codebook_size, config.code_channels)
            self.register_buffer("prosody_KVC", torch.zeros(size))
        self.prosody_KVC: Tensor | None = getattr(self, "prosody_KVC", None)
        """Entries of the codec's prosody codebooks, where the prosody of phones is drawn."""
        pauses = [s == PAD or is_boundary(s) for s in config.phone_symbols]
        self.register_buffer(
            "_pauses", torch.tensor(pauses, dtype=torch.bool, device="cpu"), persistent=False
        )
        self._pauses: Tensor
        classes = torch.tensor(classes_of(config.phone_symbols), device="cpu")
        self.register_buffer("_frame_classes", classes, persistent=False)
        self._frame_classes: Tensor

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self._pauses.device

    def pauses(self, phones_P: Tensor) -> Tensor:
        """True for boundaries, which may last no frame, and for padding."""
        return self._pauses[phones_P.to(self.device)]

    @torch.no_grad()
    def draw_durations(
        self,
        phones: Sequence[Tensor],
        voices: Sequence[Voice],
        draws: Draws,
        known: Sequence[Tensor] | None = None,
    ) -> list[Tensor]:
        """Duration stage, and before it that of the prosody of phones where there is one:
        `frames_P` of each `phones_P`, at the pace of its voice.

        Phones of words last at least one frame. Where `known` gives frames they stay, and the
        durations of the other phones, `NULL_CODE` there, are drawn to fit.
        """
        if known is None:
            known = [torch.full((len(ids),), NULL_CODE) for ids in phones]
        known = [frames_P.to(self.device) for frames_P in known]
        targets = []
        for ids, frames_P in zip(phones, known, strict=True):
            codes_KP = torch.full((self.config.duration.codebooks, len(ids)), NULL_CODE)
            codes_KP[-1] = frames_P.clamp_max(self.config.duration.codebook_size - 1)
            targets.append(phone_segment(ids, codes_KP).to(self.device))
        for name in self.config.stages[: -len(FRAME_STAGES)]:
            stage = self.stages[name]
            draws.begin(name)
            streams = self._streams(draws, name)
            items = [
                StageItem(target=target, prompt=self._phone_prompt(voice, name), rng=rng)
                for target, voice, rng in zip(targets, voices, streams, strict=True)
            ]
            drawn = stage.sample(items, draws.sampler.of(name))
            for target, codes_KP in zip(targets, drawn, strict=True):
                target.codes_KN[stage.codebooks.start : stage.codebooks.stop] = codes_KP
        drawn = []
        for target, frames_P in zip(targets, known, strict=True):
            least_P = torch.where(self._pauses[target.phones_N], 0, 1)
            new_P = target.codes_KN[-1].maximum(least_P)
            drawn.append(torch.where(frames_P == NULL_CODE, new_P, frames_P))
        return drawn

    def _phone_prompt(self, voice: Voice, name: str) -> Segment:
        """The prompt of a stage that fills phones: prosody with the phones it was spoken on, or
        durations, with the prosody of their phones where that is of the same recording."""
        rhythm, phone_F = voice.duration, voice.prosody.phone_F
        whole = torch.equal(regulate_length(rhythm.phones_P, rhythm.frames_P), phone_F)
        if name == PHONE_PROSODY and not whole:
            phones_P, frames_P = merge_repeats(phone_F)
            rhythm = DurationPrompt(phones_P=phones_P, frames_P=frames_P)
            whole = True
        codes_KP = phone_codes(
            rhythm.frames_P,
            self.config,
            voice.prosody.codes_KF if whole else None,
            self.prosody_KVC,
        )
        limit = self.config.prompt_phones
        return phone_segment(rhythm.phones_P[-limit:], codes_KP[:, -limit:]).to(self.device)

    def regulate(self, phones_P: Tensor, frames_P: Tensor) -> Segment:
        """Length regulator: each phone at all the frames it lasts, with no code known yet."""
        phones_P, frames_P = phones_P.to(self.device), frames_P.to(self.device)
        frames = int(frames_P.sum())
        return Segment(
            phones_N=regulate_length(phones_P, frames_P),
            position_N2=phone_positions(frames_P),
            codes_KN=torch.full(
                (self.config.frame.codebooks, frames), NULL_CODE, device=self.device
            ),
        )

    @torch.no_grad()
    def draw(
        self,
        name: str,
        targets: Sequence[Segment],
        prompts: Sequence[PromptCodes],
        timbres: Sequence[Tensor],
        draws: Draws,
    ) -> list[Segment]:
        """A frame stage: the targets with its codes, drawn given those of the stages before it.

        Frames that have codes of the stage keep them, and the others are drawn to fit; codes of
        later stages are not looked at, and stay. `timbres` are the `timbre_D` that the utterances
        will be decoded in.
        """
        draws.begin(name)
        stage = self.stages[name]
        items = [
            StageItem(
                target=target,
                prompt=self._prompt(prompt, draws.prompt_frames),
                rng=rng,
                timbre_D=timbre_D.to(self.device) if stage.told_timbre else None,
            )
            for target, prompt, timbre_D, rng in zip(
                targets, prompts, timbres, self._streams(draws, name), strict=True
            )
        ]
        filled = []
        for target, codes_KN in zip(
            targets, stage.sample(items, draws.sampler.of(name)), strict=True
        ):
            whole_KN = target.codes_KN.clone()
            whole_KN[stage.codebooks.start : stage.codebooks.stop] = codes_KN
            filled.append(replace(target, codes_KN=whole_KN))
        return filled

    def fill(
        self,
        phones_P: Tensor,
        frames_P: Tensor,
        codes_KF: Tensor,
        prompts: Mapping[str, PromptCodes],
        timbre_D: Tensor,
        draws: Draws,
    ) -> Codes:
        """Codes of one utterance: stages that have a prompt are drawn anew, the others stay."""
        target = replace(self.regulate(phones_P, frames_P), codes_KN=codes_KF.to(self.device))
        for name in FRAME_STAGES:
            if name in prompts:
                target = target.without(self.stages[name].codebooks)
                (target,) = self.draw(name, [target], [prompts[name]], [timbre_D], draws)
        return self.codes_of(target)

    def codes_of(self, target: Segment) -> Codes:
        """The code streams of a target that went through all stages, and the phones they are of."""
        parts = {}
        for name in FRAME_STAGES:
            codebooks = self.config.codebooks_of(name)
            parts[f"{name}_KF"] = target.codes_KN[codebooks.start : codebooks.stop]
        return Codes(**parts, phone_F=self._frame_classes[target.phones_N])

    def _prompt(self, attribute: PromptCodes, longest: int) -> Segment:
        limit = min(self.config.prompt_frames, longest)
        phones_F = attribute.phone_F.to(self.device)
        _, frames_P = torch.unique_consecutive(phones_F, return_counts=True)
        return Segment(
            phones_N=phones_F[-limit:],
            position_N2=phone_positions(frames_P)[-limit:],
            codes_KN=attribute.codes_KF[:, -limit:].to(self.device),
        )

    def _streams(self, draws: Draws, name: str) -> list[torch.Generator]:
        return [generator(derive(seed, name), self.device) for seed in draws.seeds]


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
