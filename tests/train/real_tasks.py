"""The tasks that people train, on tiny corpora and with tiny networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from speechkit.data.packed import PackedCorpus
from speechkit.facodec.small.config import VocoderConfig
from speechkit.ssl.checkpoints import build_pretrainer
from speechkit.ssl.crops import CropDataset
from speechkit.ssl.ctc.characters import Characters
from speechkit.ssl.ctc.clips import ClipsConfig, select_clips
from speechkit.ssl.ctc.finetune import FinetuneConfig, training_batches, validation_batches
from speechkit.ssl.ctc.model import CtcConfig, build_ctc
from speechkit.ssl.ctc.task import CtcTask
from speechkit.ssl.guard import CollapseGuard, GuardConfig
from speechkit.ssl.task import PretrainTask
from speechkit.ssl.units.file import Units
from speechkit.train import Task
from tests.diffusion.test_generator_task import task_on
from tests.facodec.builders import TinyData, tiny_data
from tests.facodec.training.test_adversarial_task import task_for as adversarial_task
from tests.facodec.training.test_decoder_task import task_of as decoder_task
from tests.facodec.training.test_paper_task import task_for as paper_task
from tests.facodec.training.test_tasks import acoustic, vocoder
from tests.ssl.tiny import DATA, ENCODER, HUBERT, WAV2VEC2, tiny_corpus, tiny_units


class RealTasks:
    """Builds each task anew, always alike."""

    def __init__(self, folder: Path) -> None:
        self.codec: TinyData = tiny_data(folder)
        self.tones = PackedCorpus(tiny_corpus(folder / "tones.safetensors", texts=True))
        self.units = Units(tiny_units(folder / "units"), self.tones)

    def build(self, name: str, *, validates: bool = False) -> Task:
        """Return a task; without ``validates`` the held-out figures, which take longer than the
        steps, are none.
        """
        builders: Mapping[str, Callable[[], Task]] = {
            "acoustic": lambda: acoustic(self.codec, restart_every_steps=2, reversal_ramp=(0, 2)),
            "decoder": lambda: decoder_task(self.codec),
            "vocoder": lambda: vocoder(self.codec, VocoderConfig(channels=16, blocks=1), True),
            "paper": lambda: paper_task(self.codec, restart_every_steps=2),
            "generator": lambda: task_on(self.codec),
            "adversarial": lambda: adversarial_task(self.codec),
            "wav2vec2": lambda: self._pretrain(WAV2VEC2, None),
            "hubert": lambda: self._pretrain(HUBERT, self.units),
            "ctc": self._ctc,
        }
        task = builders[name]()
        if not validates:
            task.validate = dict  # type: ignore[method-assign]
        return task

    def _pretrain(self, config: object, units: Units | None) -> PretrainTask:
        assert isinstance(config, type(WAV2VEC2) | type(HUBERT))
        encoder = replace(config.encoder, dropout=0.1, layer_drop=0.3)
        model = build_pretrainer(replace(config, encoder=encoder), 3)
        crops = CropDataset(self.tones, DATA, config, 3, units)
        return PretrainTask(model.train(), crops, CollapseGuard(config=GuardConfig()))

    def _ctc(self) -> CtcTask:
        characters = Characters.english()
        config = FinetuneConfig(batch_seconds=3.0, held_out_clips=2)
        split = select_clips(
            self.tones, characters, ENCODER.frames, ClipsConfig(), held_out=2, seed=0
        )
        model = build_ctc(CtcConfig(encoder=config.noise.of(ENCODER)), characters, 3)
        model.free_convolutions()
        with torch.no_grad():
            draw = training_batches(split.train, config, ENCODER)
        return CtcTask(
            model.train(), draw, lambda: validation_batches(split.held_out, config), frozen_steps=1
        )
