"""Pre-training of wav2vec 2.0, HuBERT or BEST-RQ as a task of the training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from speechkit.ssl.batch import PretrainBatch
from speechkit.ssl.checkpoints import Pretrainer, save_model
from speechkit.ssl.crops import CropDataset
from speechkit.ssl.guard import CollapseGuard
from speechkit.ssl.heard import write_heard
from speechkit.train.prefetch import to_device


class PretrainTask:
    """Trains an encoder on numbered batches of crops.

    Losses are means over a batch's masked frames: batches weigh the same, however many they have.
    """

    weights: Mapping[str, float] = {"loss": 1.0}

    def __init__(self, model: Pretrainer, crops: CropDataset, guard: CollapseGuard) -> None:
        self.model: nn.Module = model
        self._crops, self._guard = crops, guard
        self.blocks: Sequence[nn.Module] = tuple(model.encoder.encoder.layers)

    def batch(self, rng: torch.Generator, number: int) -> PretrainBatch:
        """Return the batch of that number: each clip comes once an epoch, whoever draws."""
        return self._crops.draw(number)

    def losses(self, batch: PretrainBatch, rng: torch.Generator, step: int) -> dict[str, Tensor]:
        """The weighted loss, its parts, and figures that show a collapse."""
        return means_of(self.model(replace(batch, update=step)))

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The same over the held-out speakers' clips; the score is minus the loss."""
        device = next(self.model.parameters()).device
        sums: dict[str, float] = {}
        targets = 0.0
        for batch in self._crops.validation():
            result = self.model(to_device(batch, device))
            count = float(result["targets"])
            for name, value in means_of(result).items():
                sums[name] = sums.get(name, 0.0) + count * float(value)
            targets += count
        if not targets:
            return {}
        figures = {name: value / targets for name, value in sums.items()}
        return {**figures, "score": -figures["loss"]}

    def watch(self, step: int, steps: int, means: Mapping[str, float]) -> None:
        """End a run that has collapsed. Raises CollapseError."""
        self._guard.watch(step, steps, means)

    def export(self, folder: Path, model: nn.Module) -> None:
        """The model, and which clips it was trained on."""
        assert isinstance(model, Pretrainer)
        save_model(folder, model, trained=True)
        corpus = self._crops.corpus
        write_heard(folder, [corpus.clips[clip]["id"] for clip in self._crops.clips])


def means_of(result: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a model's sums as means over its targets, and its figures as they are."""
    targets = result["targets"].clamp(min=1)
    losses = {name: result[name].detach() / targets for name in result if name.startswith("loss/")}
    figures = {name: result[name] for name in result if name.startswith("figure/")}
    return {"loss": result["total"] / targets, **losses, **figures}
