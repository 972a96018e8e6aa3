"""Training task of the generator: one frame batch and one duration batch a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.config import to_dict
from speechkit.core.rng import generator
from speechkit.diffusion.config import FRAME_STAGES
from speechkit.diffusion.dataset import GeneratorDataset
from speechkit.diffusion.denoiser import SelfAttention
from speechkit.diffusion.generator import Generator
from speechkit.diffusion.stage import (
    StageBatch,
    StageDraws,
    StageLoss,
    draw_stages,
    stage_loss,
)
from speechkit.facodec.convnext import ConvNeXtBlock
from speechkit.train.blocks import blocks_of
from speechkit.train.prefetch import to_device

HELD_OUT_BATCHES = 4
"""Batches that each stage is validated on."""


@dataclass(frozen=True, kw_only=True)
class GeneratorTaskConfig:
    """What a step trains on."""

    frames: int = 4000
    """Frames of prompts and targets a step (20 ms)."""

    target_frames: tuple[int, ...] = (160, 240, 320, 400, 500)
    """Longest targets of the frame stages, in frames; one is drawn for each batch."""

    duration_batch_size: int = 16
    """Phone sequences a step; 0 leaves the duration stage as it is."""

    target_phones: int = 120
    """Longest target of the duration stage, in phones."""

    prompt_drop: float = 0.15
    """Share of items without a prompt, for classifier-free guidance (NS3 App. A.2)."""

    stage_share: tuple[float, ...] = (0.3, 0.45, 0.25)
    """How often an item trains the prosody, the content and the detail stage."""

    frame: float = 1.0
    """Weight of the frame stages' loss."""

    duration: float = 0.5
    """Weight of the duration stage's loss."""


@dataclass(frozen=True, kw_only=True)
class DrawnBatch:
    """A batch of a network."""

    batch: StageBatch
    """The sequences."""
    draws: StageDraws
    """What is hidden of them."""


class GeneratorTask:
    """Trains all stages at once."""

    def __init__(
        self,
        model: Generator,
        train: GeneratorDataset,
        held_out: GeneratorDataset,
        config: GeneratorTaskConfig,
    ) -> None:
        self.model: Generator = model
        self.blocks = blocks_of(model, ConvNeXtBlock, SelfAttention)
        self.train, self.held_out, self.config = train, held_out, config
        self.weights: Mapping[str, float] = {"frame/nll": config.frame}
        if config.duration_batch_size:
            self.weights = {**self.weights, "duration/nll": config.duration}

    def batch(self, rng: torch.Generator, number: int = 0) -> dict[str, DrawnBatch]:
        """One batch for each network, and what is hidden of it."""
        config = self.config
        frames = self.train.frames(config.frames, config.target_frames, rng)
        drawn = {"frame": self._drawn(frames, self._stages(len(frames.phones_BL), rng), rng)}
        if config.duration_batch_size:
            durations = self.train.durations(config.duration_batch_size, config.target_phones, rng)
            drawn["duration"] = self._drawn_phones(durations, rng)
        return drawn

    def _stages(self, items: int, rng: torch.Generator) -> Tensor:
        """Stages as even as they can be: every batch trains all that its size allows."""
        share = torch.tensor(self.config.stage_share)
        spread_B = (torch.arange(items) + torch.rand((), generator=rng)) / items
        stage_B = torch.searchsorted(torch.cumsum(share / share.sum(), 0)[:-1], spread_B)
        return stage_B[torch.randperm(items, generator=rng)]

    def _drawn(self, batch: StageBatch, stage_B: Tensor, rng: torch.Generator) -> DrawnBatch:
        stages = len(self.model.frame_stages)
        return DrawnBatch(batch=batch, draws=draw_stages(stages, batch, stage_B, rng))

    def losses(
        self, batch: dict[str, DrawnBatch], rng: torch.Generator, step: int
    ) -> dict[str, Tensor]:
        """Cross-entropy of masked codes, frame stages and durations."""
        frame = stage_loss(self.model.frame_stages, batch["frame"].batch, batch["frame"].draws)
        losses = {"frame/nll": frame.nll}
        if "duration" in batch:
            duration = self._duration_loss(batch["duration"])
            losses |= {"duration/nll": duration.nll, "duration/accuracy": duration.accuracy_K[-1]}
        return losses

    def _duration_loss(self, drawn: DrawnBatch) -> StageLoss:
        return stage_loss(self.model.duration_stages, drawn.batch, drawn.draws)

    def _drawn_phones(self, batch: StageBatch, rng: torch.Generator) -> DrawnBatch:
        """What is hidden of phones; an item trains either stage, where there are two."""
        count, items = len(self.model.duration_stages), len(batch.phones_BL)
        if count == 1:
            stage_B = torch.zeros(items, dtype=torch.long)
        else:
            stage_B = torch.randint(count, (items,), generator=rng)
        return DrawnBatch(batch=batch, draws=draw_stages(count, batch, stage_B, rng))

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Held-out loss and accuracy of each codebook and of durations, at fixed draws."""
        device = next(self.model.parameters()).device
        draws = generator(0)
        figures: dict[str, float] = {}
        score = 0.0
        for number, name in enumerate(FRAME_STAGES):
            codebooks = self.model.config.codebooks_of(name)
            sums = {k: [0.0, 0.0] for k in codebooks}
            for _ in range(HELD_OUT_BATCHES):
                batch = self.held_out.frames(self.config.frames, (300,), draws)
                stage_B = torch.full((len(batch.phones_BL),), number)
                drawn = to_device(self._drawn(batch, stage_B, draws), device)
                loss = stage_loss(self.model.frame_stages, drawn.batch, drawn.draws)
                for k in codebooks:
                    sums[k][0] += float(loss.nll_K[k]) / HELD_OUT_BATCHES
                    sums[k][1] += float(loss.accuracy_K[k]) / HELD_OUT_BATCHES
            for k, (nll, accuracy) in sums.items():
                figures[f"nll/{name}_{k}"], figures[f"accuracy/{name}_{k}"] = nll, accuracy
                score -= nll * self.config.stage_share[number] / len(codebooks)
        durations = self.held_out.durations(64, self.config.target_phones, draws)
        loss = self._duration_loss(to_device(self._drawn_phones(durations, draws), device))
        for k in range(len(loss.nll_K) - 1):
            figures[f"nll/phone_prosody_{k}"] = float(loss.nll_K[k])
        figures["nll/duration"] = float(loss.nll_K[-1])
        figures["accuracy/duration"] = float(loss.accuracy_K[-1])
        figures["score"] = score - 0.2 * float(loss.nll)
        return figures

    def export(self, folder: Path, model: torch.nn.Module) -> None:
        """The generator's weights and configuration."""
        assert isinstance(model, Generator)
        config = {"generator": to_dict(model.config), "training": {"program": __name__}}
        save_checkpoint(folder, model.state_dict(), config)
