"""The adversarial phase: what it trains and what it must leave alone, and that it resumes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from speechkit.core.rng import generator
from speechkit.facodec.small.codec import load_codec
from speechkit.facodec.training.adversarial import AdversarialSchedule
from speechkit.facodec.training.adversarial_task import AdversarialConfig, AdversarialTask
from speechkit.facodec.training.discriminators import DiscriminatorConfig
from speechkit.facodec.training.segments import SegmentSampler
from speechkit.facodec.training.vocoder_task import VocoderTask
from speechkit.text import DEFAULT_VOCABULARY
from speechkit.text.frames import FrameClasses
from speechkit.train import TrainConfig, train
from tests.facodec.builders import TinyData
from tests.facodec.small.test_codec import fresh
from tests.tiny import TINY_CODEC

CONFIG = AdversarialConfig(
    batch_size=3,
    crop_frames=20,
    window_frames=14,
    discriminator=DiscriminatorConfig(
        periods=(3,), period_channels=(4, 6), windows=(256,), band_channels=2
    ),
    schedule=AdversarialSchedule(),
)


@pytest.fixture(autouse=True)
def _no_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if TensorBoard were not installed: its import takes seconds."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def task_for(data: TinyData, **changes: Any) -> AdversarialTask:
    codec = fresh(replace(TINY_CODEC, speakers=len(data.corpus.speakers))).train()
    train_set, held_out = (
        SegmentSampler(
            data.corpus,
            FrameClasses(DEFAULT_VOCABULARY),
            data.alignment,
            crop_frames=CONFIG.crop_frames,
            reference_frames=30,
            level_rms=TINY_CODEC.level_rms,
            held_out=0.25,
            validation=validation,
        )
        for validation in (False, True)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return AdversarialTask(codec, train_set, held_out, replace(CONFIG, **changes))


def test_every_loss_has_its_weight(data: TinyData) -> None:
    task = task_for(data)
    losses = task.losses(task.batch(generator(0)), generator(0), 0)
    assert set(losses) == set(task.weights)
    assert set(VocoderTask.weights) < set(losses)
    assert all(bool(torch.isfinite(value)) and value.ndim == 0 for value in losses.values())


def test_training_changes_the_vocoder_and_nothing_else(data: TinyData, tmp_path: Path) -> None:
    task = task_for(data)
    before = {name: value.clone() for name, value in task.model.codec.state_dict().items()}
    discriminators = {
        n: p.detach().clone() for n, p in task.model.named_parameters() if "discriminator" in n
    }
    codes, timbre_D = fresh().encode(data.corpus.wave(0), data.corpus.f0(0))
    train(task, TrainConfig(steps=8, lr=5e-3, warmup_steps=0, device="cpu"), tmp_path)
    for name, value in load_codec(tmp_path / "last").state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith("vocoder."), name
    for name, parameter in task.model.named_parameters():
        assert "discriminator" not in name or not torch.equal(parameter, discriminators[name]), name
    again, timbre_again_D = task.model.codec.encode(data.corpus.wave(0), data.corpus.f0(0))
    assert torch.equal(again.stacked(), codes.stacked())
    assert torch.equal(timbre_again_D, timbre_D)
    # Its spectral distances rank exports wrongly, so there is no best one.
    assert not (tmp_path / "best").exists()


def test_learning_lowers_the_losses(data: TinyData) -> None:
    task = task_for(data)
    batch = task.batch(generator(0))
    wanted = [p for p in task.model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(wanted, lr=5e-3)
    logged = []
    for step in range(12):
        losses = task.losses(batch, generator(0), step)
        total: Tensor = torch.stack([losses[key] * w for key, w in task.weights.items()]).sum()
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        logged.append({key: float(value.detach()) for key, value in losses.items()})
    for key in ("stft/log", "wave/discriminator"):
        assert logged[-1][key] < logged[0][key], key


def test_losses_keep_to_their_side(data: TinyData) -> None:
    task = task_for(data)
    model = task.model
    losses = task.losses(task.batch(generator(0)), generator(0), 0)
    sides = {"vocoder": model.codec.vocoder, "wave_discriminator": model.wave_discriminator}
    reached: dict[str, set[str]] = {}
    for key, loss in losses.items():
        reached[key] = set()
        for side, module in sides.items():
            found = torch.autograd.grad(
                loss, list(module.parameters()), retain_graph=True, allow_unused=True
            )
            if any(one is not None and bool(one.any()) for one in found):
                reached[key].add(side)
    made = {"vocoder"}
    assert reached == {
        "stft/log": made, "stft/convergence": made, "mel/l1": made,
        "wave/discriminator": {"wave_discriminator"}, "wave/generator": made, "wave/features": made,
    }  # fmt: skip


def test_validation_repeats_itself_at_full_strength(data: TinyData) -> None:
    task = task_for(data, schedule=AdversarialSchedule(start_step=5, ramp_steps=10))
    figures = task.validate()
    assert figures == task.validate()
    assert "score" not in figures
    assert figures["wave/generator"] > 0
    expected = sum(weight * figures[key] for key, weight in VocoderTask.weights.items())
    assert figures["spectral"] == pytest.approx(expected)


def trained(data: TinyData, out: Path, steps: int) -> dict[str, Tensor]:
    # The discriminators come in before the interruption, their ramp ends after it.
    schedule = AdversarialSchedule(start_step=1, ramp_steps=2)
    task = task_for(data, schedule=schedule)
    config = TrainConfig(
        steps=steps, lr=1e-3, warmup_steps=0, decay="constant", validate_every_steps=1000, seed=1,
        device="cpu",
    )  # fmt: skip
    train(task, config, out)
    return {name: p.detach().clone() for name, p in task.model.named_parameters()}


def test_resumed_training_equals_training_in_one_go(
    data: TinyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AdversarialTask, "validate", lambda task: {})
    whole = trained(data, tmp_path / "whole", 4)
    trained(data, tmp_path / "parts", 2)
    resumed = trained(data, tmp_path / "parts", 4)
    assert any("discriminator" in name for name in whole)
    assert not [name for name, value in whole.items() if not torch.equal(value, resumed[name])]
