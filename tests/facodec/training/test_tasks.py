"""The codec's training tasks learn on a tiny corpus, export what they should, and resume."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from speechkit.core.checkpoint import load_checkpoint
from speechkit.core.rng import derive, generator
from speechkit.facodec.small.codec import FACodec, load_codec
from speechkit.facodec.small.config import VocoderConfig
from speechkit.facodec.training.acoustic_task import (
    AcousticConfig,
    AcousticTask,
    contour_loss,
    mel_losses,
    phone_loss,
)
from speechkit.facodec.training.segments import UNLABELLED, SegmentSampler
from speechkit.facodec.training.vocoder_task import VocoderTask
from speechkit.text import DEFAULT_VOCABULARY
from speechkit.text.frames import FrameClasses
from speechkit.train import Task, TrainConfig, train
from tests.facodec.builders import TinyData, tiny_data
from tests.facodec.small.test_codec import fresh
from tests.tiny import TINY_CODEC

ACOUSTIC = AcousticConfig(
    batch_size=4, crop_frames=30, reference_frames=40, reversal_ramp=(0, 4), restart_every_steps=4
)


@pytest.fixture(autouse=True)
def _no_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if TensorBoard were not installed: its import takes seconds."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def codec_for(data: TinyData, **changes: Any) -> FACodec:
    return fresh(replace(TINY_CODEC, speakers=len(data.corpus.speakers), **changes)).train()


def segments(data: TinyData, validation: bool, labelled: bool = True) -> SegmentSampler:
    return SegmentSampler(
        data.corpus,
        FrameClasses(DEFAULT_VOCABULARY),
        data.alignment if labelled else None,
        crop_frames=ACOUSTIC.crop_frames,
        reference_frames=ACOUSTIC.reference_frames,
        level_rms=TINY_CODEC.level_rms,
        held_out=0.25,
        validation=validation,
    )


def acoustic(data: TinyData, labelled: bool = True, **changes: Any) -> AcousticTask:
    train_set, held_out = segments(data, False, labelled), segments(data, True, labelled)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return AcousticTask(codec_for(data), train_set, held_out, replace(ACOUSTIC, **changes))


def vocoder(data: TinyData, config: VocoderConfig, coded: bool) -> VocoderTask:
    return VocoderTask(
        codec_for(data, vocoder=config),
        segments(data, False),
        segments(data, True),
        batch_size=4,
        window_frames=16,
        coded=coded,
    )


def learn(task: Task, steps: int, lr: float) -> list[float]:
    """The weighted losses of a few steps on one fixed batch."""
    batch = task.batch(generator(0), 0)
    optimizer = torch.optim.Adam([p for p in task.model.parameters() if p.requires_grad], lr=lr)
    totals = []
    for step in range(steps):
        losses = task.losses(batch, generator(derive(0, step)), step)
        total: Tensor = torch.stack([losses[key] * w for key, w in task.weights.items()]).sum()
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        totals.append(float(total.detach()))
    return totals


def test_acoustic_training_learns(data: TinyData) -> None:
    task = acoustic(data)
    before = {name: p.detach().clone() for name, p in task.model.codec.named_parameters()}
    totals = learn(task, 15, lr=3e-3)
    assert sum(totals[-3:]) < 0.95 * sum(totals[1:4])
    moved = {n for n, p in task.model.codec.named_parameters() if not torch.equal(p, before[n])}
    # The vocoder and what the decoder is told are trained by tasks of their own.
    still = {name for name in before if name not in moved}
    assert still == {name for name in before if name.startswith(("vocoder.", "told_phones."))}


def test_acoustic_losses_follow_the_generator(data: TinyData) -> None:
    task = acoustic(data)
    batch = task.batch(generator(0))
    task.model.eval()
    one, same = (task.losses(batch, generator(5), 3) for _ in range(2))
    names = set(task.weights)
    assert names == set(one)
    steady = [name for name in names if not name.startswith("adversary/")]
    assert all(torch.equal(one[name], same[name]) for name in steady)


def test_unlabelled_clips_have_no_phone_loss(data: TinyData) -> None:
    task = acoustic(data, labelled=False)
    losses = task.losses(task.batch(generator(0)), generator(0), 1)
    assert float(losses["content/phone"].detach()) == 0.0
    assert all(bool(torch.isfinite(value)) for value in losses.values())


def test_a_corpus_of_one_speaker_can_be_trained_on(tmp_path: Path) -> None:
    task = acoustic(tiny_data(tmp_path, count=3, speakers=1))
    losses = task.losses(task.batch(generator(0)), generator(0), 1)
    assert all(bool(torch.isfinite(value)) for value in losses.values())


def test_acoustic_export_is_the_codec_alone(data: TinyData, tmp_path: Path) -> None:
    task = acoustic(data)
    task.model.eval()
    figures = task.validate()
    assert figures == task.validate()
    assert figures["score"] == -figures["mel/l1"] - 0.5 * figures["mel/l1_coarse"]
    assert all(1 <= figures[f"perplexity/{k}"] <= 16 for k in range(6))
    task.export(tmp_path, task.model)
    assert not [name for name in load_checkpoint(tmp_path).state if "supervision" in name]
    assert load_codec(tmp_path).config == task.model.codec.config


def trained(data: TinyData, out: Path, steps: int) -> dict[str, Tensor]:
    task = acoustic(data)
    config = TrainConfig(
        steps=steps, lr=1e-3, warmup_steps=0, decay="constant", validate_every_steps=1000, seed=1,
        device="cpu",
    )  # fmt: skip
    train(task, config, out)
    return {name: p.detach().clone() for name, p in task.model.named_parameters()}


def test_resumed_training_equals_training_in_one_go(data: TinyData, tmp_path: Path) -> None:
    # Dead codes restart at steps 4 and 8: the second half must know of use in the first.
    whole = trained(data, tmp_path / "whole", 9)
    trained(data, tmp_path / "halves", 6)
    resumed = trained(data, tmp_path / "halves", 9)
    different = [name for name, value in whole.items() if not torch.equal(value, resumed[name])]
    assert not different


@pytest.mark.parametrize("kind", ["source_filter", "inverse_stft"])
@pytest.mark.parametrize("coded", [False, True])
def test_vocoder_training_learns(data: TinyData, tmp_path: Path, kind: Any, coded: bool) -> None:
    task = vocoder(data, VocoderConfig(kind=kind, channels=16, blocks=1), coded)
    before = {name: value.clone() for name, value in task.codec.state_dict().items()}
    totals = learn(task, 15, lr=3e-3)
    assert sum(totals[-3:]) < 0.98 * sum(totals[:3])
    task.export(tmp_path, task.model)
    for name, value in load_codec(tmp_path).state_dict().items():
        if not name.startswith("vocoder."):
            assert torch.equal(value, before[name]), name


def test_vocoder_validation_scores_its_losses(data: TinyData) -> None:
    task = vocoder(data, VocoderConfig(channels=16, blocks=1), coded=False)
    figures = task.validate()
    expected = -sum(weight * figures[key] for key, weight in task.weights.items())
    assert figures["score"] == pytest.approx(expected)


def test_losses_are_zero_for_the_target_itself() -> None:
    mel_BMG = torch.randn(2, 5, 8, generator=generator(0))
    assert all(float(value) == 0 for value in mel_losses(mel_BMG, mel_BMG).values())
    shifted = mel_losses(mel_BMG + 1, mel_BMG)
    assert float(shifted["mel/l1"]) == pytest.approx(1)
    assert float(shifted["mel/change"]) == pytest.approx(0, abs=1e-6)


def test_contour_loss_looks_at_voiced_frames_only() -> None:
    target = torch.zeros(1, 4)
    predicted, voiced = torch.tensor([[9.0, 0.0, 9.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0, 1.0]])
    assert float(contour_loss(predicted, target, voiced)) == 0
    assert float(contour_loss(predicted, target, torch.zeros(1, 4))) == 0
    assert float(contour_loss(predicted, target, 1 - voiced)) == pytest.approx(9 - 0.1)


def test_phone_loss_is_the_mean_over_labelled_frames() -> None:
    logits_BFV = torch.randn(2, 3, 5, generator=generator(0))
    phone_BF = torch.tensor([[1, UNLABELLED, 4], [UNLABELLED, UNLABELLED, 0]])
    labelled = phone_BF != UNLABELLED
    expected = nn.functional.cross_entropy(logits_BFV[labelled], phone_BF[labelled])
    torch.testing.assert_close(phone_loss(logits_BFV, phone_BF), expected)
    assert float(phone_loss(logits_BFV, torch.full((2, 3), UNLABELLED))) == 0
