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
from speechkit.diffusion.stage import StageBatch, StageLoss
from speechkit.train.prefetch import to_device


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

    book_share: tuple[float, ...] = (0.27, 0.33, 0.2, 0.1, 0.06, 0.04)
    """How often each code book is the one to fill."""

    books_ahead: int = 2
    """Later books that are guessed from the same pass."""

    frame: float = 1.0
    """Weight of the frame stages' loss."""

    ahead: float = 0.25
    """Weight of the loss of the books ahead."""

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
        self.weights: Mapping[str, float] = {
            "frame/nll": config.frame,
            "frame/ahead": config.ahead,
        }
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
        frame = self.model.every_book().loss(
            batch["frame"], book_B, rng, ahead=self.config.books_ahead
        )
        losses = {
            "frame/nll": frame.nll,
            "frame/ahead": frame.ahead,
            "frame/accuracy": frame.accuracy,
        }
        if "duration" in batch:
            duration = self._duration_loss(batch["duration"], rng)
            losses |= {"duration/nll": duration.nll, "duration/accuracy": duration.accuracy}
        return losses

    def _duration_loss(self, batch: StageBatch, rng: torch.Generator) -> StageLoss:
        zeros_B = torch.zeros(len(batch.phones_BL), dtype=torch.long, device=rng.device)
        return self.model.stages["duration"].loss(batch, zeros_B, rng)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Held-out loss and accuracy of each book and of durations, at fixed draws."""
        device = next(self.model.parameters()).device
        draws, rng = generator(0), generator(0, device)
        figures: dict[str, float] = {}
        total = 0.0
        for name in STAGES[1:]:
            for book in self.model.config.books_of(name):
                batch = to_device(self.held_out.frames(12, draws), device)
                book_B = torch.full((12,), book, device=device)
                loss = self.model.stages[name].loss(batch, book_B, rng)
                figures[f"nll/{name}_{book}"] = float(loss.nll)
                figures[f"accuracy/{name}_{book}"] = float(loss.accuracy)
                total += float(loss.nll) * self.config.book_share[book]
        durations = self.held_out.durations(32, draws, self.config.target_phones)
        loss = self._duration_loss(to_device(durations, device), rng)
        figures["nll/duration"] = float(loss.nll)
        figures["accuracy/duration"] = float(loss.accuracy)
        figures["score"] = -total - 0.2 * float(loss.nll)
        return figures

    def export(self, folder: Path, model: torch.nn.Module) -> None:
        """The generator's weights and configuration."""
        assert isinstance(model, Generator)
        config = {"generator": to_dict(model.config), "training": {"program": __name__}}
        save_checkpoint(folder, model.state_dict(), config)
