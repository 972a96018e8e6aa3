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
from speechkit.diffusion.config import STAGES
from speechkit.diffusion.generator import Generator
from speechkit.diffusion.sequences import Sequences
from speechkit.diffusion.stage import StageBatch


@dataclass(frozen=True, kw_only=True)
class GeneratorTaskConfig:
    """What a step trains on."""

    batch_size: int = 12
    """Frame sequences a step."""

    target_frames: int = 400
    """Longest target of the frame stages, in frames (20 ms)."""

    duration_batch_size: int = 16
    """Phone sequences a step; 0 leaves the duration stage as it is."""

    target_phones: int = 120
    """Longest target of the duration stage, in phones."""

    prompt_drop: float = 0.15
    """Share of items without a prompt, for classifier-free guidance (NS3 App. A.2)."""

    book_share: tuple[float, ...] = (0.25, 0.25, 0.2, 0.12, 0.1, 0.08)
    """How often each code book is the one to fill."""

    frame: float = 1.0
    """Weight of the frame stages' loss."""

    duration: float = 1.0
    """Weight of the duration stage's loss."""


class GeneratorTask:
    """Trains all stages at once."""

    def __init__(
        self,
        model: Generator,
        train: Sequences,
        held_out: Sequences,
        config: GeneratorTaskConfig,
    ) -> None:
        self.model: Generator = model
        self.train, self.held_out, self.config = train, held_out, config
        self.weights: Mapping[str, float] = {"frame/nll": config.frame}
        if config.duration_batch_size:
            self.weights = {**self.weights, "duration/nll": config.duration}

    def batch(self, rng: torch.Generator) -> dict[str, StageBatch]:
        """One batch for each network."""
        drawn = {"frame": self.train.frames(self.config.batch_size, rng)}
        if self.config.duration_batch_size:
            drawn["duration"] = self.train.durations(
                self.config.duration_batch_size, rng, self.config.target_phones
            )
        return drawn

    def losses(
        self, batch: dict[str, StageBatch], rng: torch.Generator, step: int
    ) -> dict[str, Tensor]:
        """Cross-entropy of masked codes, frame stages and durations."""
        share = torch.tensor(self.config.book_share, device=rng.device)
        items = len(batch["frame"].phones_BL)
        book_B = torch.multinomial(share, items, replacement=True, generator=rng)
        losses = {}
        losses["frame/nll"], losses["frame/accuracy"] = self.model.every_book().loss(
            batch["frame"], book_B, rng
        )
        if "duration" in batch:
            zeros_B = torch.zeros(len(batch["duration"].phones_BL), dtype=torch.long)
            losses["duration/nll"], losses["duration/accuracy"] = self.model.stages[
                "duration"
            ].loss(batch["duration"], zeros_B.to(rng.device), rng)
        return losses

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Held-out loss and accuracy of each book and of durations, at fixed draws."""
        rng = generator(0)
        figures: dict[str, float] = {}
        total = 0.0
        for name in STAGES[1:]:
            for book in self.model.config.books_of(name):
                batch = self.held_out.frames(12, rng)
                book_B = torch.full((12,), book)
                loss, accuracy = self.model.stages[name].loss(batch, book_B, rng)
                figures[f"nll/{name}_{book}"] = float(loss)
                figures[f"accuracy/{name}_{book}"] = float(accuracy)
                total += float(loss) * self.config.book_share[book]
        batch = self.held_out.durations(32, rng, self.config.target_phones)
        zeros_B = torch.zeros(32, dtype=torch.long)
        loss, accuracy = self.model.stages["duration"].loss(batch, zeros_B, rng)
        figures["nll/duration"], figures["accuracy/duration"] = float(loss), float(accuracy)
        figures["score"] = -total - 0.2 * float(loss)
        return figures

    def export(self, folder: Path, model: torch.nn.Module) -> None:
        """The generator's weights and configuration."""
        assert isinstance(model, Generator)
        save_checkpoint(folder, model.state_dict(), {"generator": to_dict(model.config)})
