"""Training of the generator that speaks from units: `speechkit train unit-generator …`.

Needs packed corpora, codes beside their shards (`encode --all`) and units (`ssl units`): no text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from speechkit.core.checkpoint import load_checkpoint, save_checkpoint
from speechkit.core.config import require_range, to_dict
from speechkit.core.errors import ConfigError
from speechkit.core.rng import generator
from speechkit.data.codes import CorpusCodes
from speechkit.data.packed import Data, PackedCorpus
from speechkit.diffusion.config import FRAME_STAGES, DenoiserConfig, GeneratorConfig
from speechkit.diffusion.denoiser import SelfAttention
from speechkit.diffusion.generator import Generator
from speechkit.diffusion.stage import StageBatch, draw_stages, stage_loss
from speechkit.diffusion.task import DrawnBatch
from speechkit.diffusion.train import start_generator
from speechkit.diffusion.units import (
    FrameUnits,
    UnitDataset,
    check_unit_generator,
    unit_symbols,
)
from speechkit.facodec.convnext import ConvNeXtBlock
from speechkit.facodec.small.codec import codec_of
from speechkit.train import TrainConfig, TrainReport, train
from speechkit.train.blocks import blocks_of
from speechkit.train.prefetch import to_device

HELD_OUT_BATCHES = 4
"""Batches that each stage is validated on."""


@dataclass(frozen=True, kw_only=True)
class UnitTaskConfig:
    """What a step trains on."""

    frames: int = 4000
    """Frames a step (20 ms)."""

    target_frames: tuple[int, ...] = (160, 240, 320, 480, 600)
    """Longest crops, in frames; one is drawn for each batch."""

    masked_items: float = 0.5
    """Share of items that lose a span of their units. DiffS4L trains two models, one that loses
    none and one that always does; one that does both costs half."""

    masked_share: float = 0.8
    """Length of the span, as a share of the item (DiffS4L)."""

    stage_share: tuple[float, ...] = (0.3, 0.45, 0.25)
    """How often an item trains the prosody, the content and the detail stage."""

    def __post_init__(self) -> None:
        require_range(self, frames=(1, 10**7), masked_items=(0, 1), masked_share=(0, 0.99))
        if not self.target_frames or min(self.target_frames) < 2:
            raise ConfigError("task.target_frames must hold lengths of at least 2 frames.")
        if len(self.stage_share) != len(FRAME_STAGES) or min(self.stage_share) < 0:
            raise ConfigError(f"task.stage_share must hold a share for each of {FRAME_STAGES}.")


def _networks() -> GeneratorConfig:
    """Every frame stage is told the voice; the duration network, never run, is a stub of a size."""
    nothing = DenoiserConfig(
        channels=2, blocks=0, heads=1, patch=1, frame_channels=2,
        codebooks=1, codebook_size=2, stages=1,
    )  # fmt: skip
    return GeneratorConfig(timbre_stages=FRAME_STAGES, duration=nothing)


@dataclass(frozen=True, kw_only=True)
class UnitGeneratorTraining:
    """A whole recipe of the generator that speaks from units."""

    generator: GeneratorConfig = field(default_factory=_networks)
    """The networks; every frame stage must be told the timbre."""

    task: UnitTaskConfig = field(default_factory=UnitTaskConfig)
    """What a step trains on."""

    train: TrainConfig = field(default_factory=lambda: TrainConfig(amp="auto"))
    """Optimiser, budget and log."""

    def __post_init__(self) -> None:
        if set(self.generator.timbre_stages) != set(FRAME_STAGES):
            raise ConfigError(
                f"generator.timbre_stages must be {list(FRAME_STAGES)}: without a prompt nothing "
                "else tells a stage whose voice it is."
            )


class UnitGeneratorTask:
    """Trains the frame stages; the loss is over all frames, those with hidden units too."""

    def __init__(
        self,
        model: Generator,
        train: UnitDataset,
        held_out: UnitDataset,
        config: UnitTaskConfig,
        kmeans_sha256: str,
    ) -> None:
        self.model: Generator = model
        self.blocks = blocks_of(model.frame, ConvNeXtBlock, SelfAttention)
        self.train, self.held_out, self.config = train, held_out, config
        self.kmeans_sha256 = kmeans_sha256
        self.weights: Mapping[str, float] = {"frame/nll": 1.0}

    def batch(self, rng: torch.Generator, number: int = 0) -> DrawnBatch:
        """Crops with the codes of the codec, and what is hidden of them."""
        batch = self.train.frames(self.config.frames, self.config.target_frames, rng)
        share_S = torch.tensor(self.config.stage_share)
        size = len(batch.phones_BL)
        stage_B = torch.multinomial(share_S, size, replacement=True, generator=rng)
        return self._drawn(batch, stage_B, rng)

    def _drawn(self, batch: StageBatch, stage_B: Tensor, rng: torch.Generator) -> DrawnBatch:
        stages = len(self.model.frame_stages)
        return DrawnBatch(batch=batch, draws=draw_stages(stages, batch, stage_B, rng))

    def losses(self, batch: DrawnBatch, rng: torch.Generator, step: int) -> dict[str, Tensor]:
        """Cross-entropy of the masked codes, and of each codebook."""
        loss = stage_loss(self.model.frame_stages, batch.batch, batch.draws)
        books = {f"nll/{k}": value for k, value in enumerate(loss.nll_K)}
        return {"frame/nll": loss.nll, **books}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Held-out loss and accuracy of each codebook, at fixed draws."""
        device = self.model.device
        draws = generator(0)
        lengths = (max(self.config.target_frames),)
        figures: dict[str, float] = {"score": 0.0}
        for number, name in enumerate(FRAME_STAGES):
            for _ in range(HELD_OUT_BATCHES):
                batch = self.held_out.frames(self.config.frames, lengths, draws)
                stage_B = torch.full((len(batch.phones_BL),), number)
                drawn = to_device(self._drawn(batch, stage_B, draws), device)
                loss = stage_loss(self.model.frame_stages, drawn.batch, drawn.draws)
                for k in self.model.config.codebooks_of(name):
                    for what, value in (("nll", loss.nll_K[k]), ("accuracy", loss.accuracy_K[k])):
                        key = f"{what}/{name}_{k}"
                        figures[key] = figures.get(key, 0.0) + float(value) / HELD_OUT_BATCHES
                figures["score"] -= (
                    self.config.stage_share[number] * float(loss.nll) / HELD_OUT_BATCHES
                )
        return figures

    def export(self, folder: Path, model: torch.nn.Module) -> None:
        """The generator's weights and configuration, and which units it speaks from."""
        assert isinstance(model, Generator)
        config = {
            "generator": to_dict(model.config),
            "units": {"kmeans_sha256": self.kmeans_sha256},
            "training": {"program": __name__},
        }
        save_checkpoint(folder, model.state_dict(), config)


def unit_generator_task(
    recipe: UnitGeneratorTraining,
    corpus: PackedCorpus,
    units: FrameUnits,
    codec: Path,
    init: Path | None = None,
) -> UnitGeneratorTask:
    """What there is to train on a corpus with codes and units: see `train_unit_generator`."""
    codes, checkpoint = CorpusCodes(corpus), load_checkpoint(codec)
    if codes.codec_sha256 != checkpoint.sha256:
        raise ConfigError(
            f"The codes beside {corpus} are not of the codec in {codec}: run encode --all with it."
        )
    speaker = codec_of(checkpoint)
    model = start_generator(
        recipe.generator, speaker, init, recipe.train.seed, unit_symbols(units.clusters)
    )
    check_unit_generator(model, units, speaker.timbre_channels)

    def dataset(validation: bool) -> UnitDataset:
        return UnitDataset(
            corpus,
            units,
            codes,
            patch=model.config.frame.patch,
            hop_samples=speaker.hop_samples,
            masked_items=recipe.task.masked_items,
            masked_share=recipe.task.masked_share,
            validation=validation,
        )

    return UnitGeneratorTask(model, dataset(False), dataset(True), recipe.task, units.kmeans_sha256)


def train_unit_generator(
    recipe: UnitGeneratorTraining,
    data: Data,
    units: Callable[[PackedCorpus], FrameUnits],
    codec: Path,
    out: Path,
    *,
    init: Path | None = None,
) -> TrainReport:
    """Train on the packed corpora `data` and their units; a run in `out` is resumed.

    `units` opens the units of a corpus. Codes must lie beside its shards; `codec` is the folder of
    the codec that made them, `init` the export of an earlier run to go on from. Raises ConfigError
    for a run in `out` that began with another recipe, start or corpus, and for codes of another
    codec.
    """
    corpus = PackedCorpus(data)
    found = units(corpus)
    task = unit_generator_task(recipe, corpus, found, codec, init)
    settings = {name: part for name, part in to_dict(recipe).items() if name != "train"}
    identity = {
        **settings,
        "init": None if init is None else load_checkpoint(init).sha256,
        "data": corpus.sha256,
        "units": found.kmeans_sha256,
        "codes": load_checkpoint(codec).sha256,
    }
    return train(task, recipe.train, out, identity=identity)
