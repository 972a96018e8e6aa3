"""Fine-tuning of a recogniser as a task of the training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from speechkit.ssl.ctc.batches import CtcBatch
from speechkit.ssl.ctc.model import CtcModel, character_errors, ctc_loss_sum, save_ctc
from speechkit.ssl.task import means_of
from speechkit.train.prefetch import to_device


class CtcTask:
    """Trains a recogniser on numbered batches; losses are means over a batch's sentences."""

    weights: Mapping[str, float] = {"loss": 1.0}

    def __init__(
        self,
        model: CtcModel,
        draw: Callable[[int], CtcBatch],
        held_out: Callable[[], Sequence[CtcBatch]],
        frozen_steps: int,
        encoder_lr_scale: float = 1.0,
    ) -> None:
        """``frozen_steps`` are those at the start in which only the classifier learns;
        ``encoder_lr_scale`` is a factor on the encoder's learning rate."""
        self.model: CtcModel = model
        self._draw, self._held_out, self._frozen = draw, held_out, frozen_steps
        self._encoder_lr_scale = encoder_lr_scale
        self.blocks: Sequence[nn.Module] = tuple(model.encoder.encoder.layers)

    def batch(self, rng: torch.Generator, number: int) -> CtcBatch:
        """Return the batch of that number: each clip comes once an epoch, whoever draws."""
        return self._draw(number)

    def lr_scale(self, name: str) -> float:
        """Return the factor on the learning rate of a parameter: 1 for the classifier."""
        return self._encoder_lr_scale if name.startswith("encoder.") else 1.0

    def losses(self, batch: CtcBatch, rng: torch.Generator, step: int) -> dict[str, Tensor]:
        """CTC's loss of a sentence and of a character."""
        self.model.encoder_is_frozen = step < self._frozen
        return means_of(self.model(batch))

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Loss and character errors of the held-out clips; the score is minus the errors."""
        device = next(self.model.parameters()).device
        loss, wrong, characters, sentences = 0.0, 0, 0, 0
        for batch in self._held_out():
            there = to_device(batch, device)
            heard = self.model.hear(there)
            loss += float(ctc_loss_sum(heard, there.labels_BL, there.label_lengths_B))
            wrong += character_errors(heard, there.labels_BL, there.label_lengths_B)
            characters += sum(there.label_lengths_B)
            sentences += len(there.lengths_B)
        if not sentences:
            return {}
        rate = wrong / max(characters, 1)
        return {"loss": loss / sentences, "character_errors": rate, "score": -rate}

    def export(self, folder: Path, model: nn.Module) -> None:
        """The recogniser."""
        assert isinstance(model, CtcModel)
        save_ctc(folder, model)
