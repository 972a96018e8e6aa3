"""The paper's training: what each loss reaches, that it learns, restarts, exports and resumes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from speechkit.core.errors import ConfigError
from speechkit.core.rng import generator
from speechkit.facodec import from_pretrained
from speechkit.facodec.paper.codec import PaperCodec, build_paper_codec
from speechkit.facodec.paper.config import PaperCodecConfig, TransformerConfig
from speechkit.facodec.quantizer import QuantizerConfig
from speechkit.facodec.training.discriminators import DiscriminatorConfig
from speechkit.facodec.training.paper_config import PaperConfig
from speechkit.facodec.training.paper_task import PaperTask
from speechkit.facodec.training.segments import SegmentSampler
from speechkit.text import DEFAULT_VOCABULARY
from speechkit.text.frames import FrameClasses
from speechkit.train import TrainConfig, train
from tests.facodec.builders import TinyData

CLASSES = FrameClasses(DEFAULT_VOCABULARY)

CODEC = PaperCodecConfig(
    strides=(10, 20),
    encoder_channels=2,
    channels=16,
    generator_channels=16,
    quantizer=QuantizerConfig(codebook_size=16, code_channels=4),
    transformer=TransformerConfig(layers=1, heads=2, filter_channels=16),
    phone_classes=len(CLASSES),
    phone_symbols=CLASSES.symbols,
    speakers=2,
    reverse_prosody_phone=True,
    reverse_content_f0=True,
)
"""Hop 200 as the paper's, all five adversaries."""

TRAINING = PaperConfig(
    batch_size=3,
    crop_frames=10,
    discriminator=DiscriminatorConfig(
        periods=(3,), period_channels=(4, 6), windows=(256,), band_channels=2
    ),
    restart_every_steps=4,
)


@pytest.fixture(autouse=True)
def _no_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if TensorBoard were not installed: its import takes seconds."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def segments(data: TinyData, validation: bool, labelled: bool = True) -> SegmentSampler:
    return SegmentSampler(
        data.corpus,
        CLASSES,
        data.alignment if labelled else None,
        crop_frames=TRAINING.crop_frames,
        reference_frames=1,
        level_rms=None,
        held_out=0.25,
        validation=validation,
    )


def fresh(**flags: Any) -> PaperCodec:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_paper_codec(replace(CODEC, **flags))


def plain() -> PaperCodec:
    """Without adversaries, which take most of the time of a step here."""
    names = ("prosody_phone", "content_f0", "detail_f0", "detail_phone", "speaker")
    return fresh(**{f"reverse_{name}": False for name in names})


def task_for(
    data: TinyData, codec: PaperCodec | None = None, labelled: bool = True, **changes: Any
) -> PaperTask:
    sets = segments(data, False, labelled), segments(data, True, labelled)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return PaperTask(codec or fresh(), *sets, replace(TRAINING, **changes))


@pytest.mark.parametrize("wanted", [True, False])
def test_every_loss_has_its_weight(data: TinyData, wanted: bool) -> None:
    task = task_for(data, fresh() if wanted else plain())
    losses = task.losses(task.batch(generator(0)), generator(0), 1)
    assert set(losses) == set(task.weights)
    assert any(key.startswith("reversal/") for key in losses) == wanted
    assert all(bool(torch.isfinite(value)) and value.ndim == 0 for value in losses.values())


def test_the_weights_are_the_published_ones(data: TinyData) -> None:
    assert task_for(data).weights == {
        "mel/multiscale": 10, "adversarial/discriminator": 1, "adversarial/generator": 2,
        "adversarial/features": 2, "vq/codebook": 1, "vq/commitment": 0.25, "prosody/f0": 5,
        "prosody/voicing": 5, "content/phone": 5, "timbre/speaker": 1,
        "reversal/prosody_phone": 5, "reversal/content_f0": 5, "reversal/content_voicing": 5,
        "reversal/detail_f0": 5, "reversal/detail_voicing": 5, "reversal/detail_phone": 5,
        "reversal/speaker": 1,
    }  # fmt: skip


def learn(task: PaperTask, steps: int, lr: float) -> list[dict[str, float]]:
    """The losses of a few steps on one fixed batch, and their weighted sum."""
    batch = task.batch(generator(0))
    optimizer = torch.optim.Adam(task.model.parameters(), lr=lr, betas=(0.5, 0.9))
    logged = []
    for step in range(steps):
        losses = task.losses(batch, generator(step), step)
        total: Tensor = torch.stack([losses[key] * w for key, w in task.weights.items()]).sum()
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        logged.append({key: float(value.detach()) for key, value in losses.items()})
        logged[-1]["total"] = float(total.detach())
    return logged


def test_training_learns_and_moves_everything(data: TinyData) -> None:
    task = task_for(data)
    before = {name: p.detach().clone() for name, p in task.model.named_parameters()}
    logged = learn(task, 10, lr=5e-3)
    first, last = logged[:3], logged[-3:]
    for key in ("total", "mel/multiscale", "content/phone", "timbre/speaker"):
        assert sum(one[key] for one in last) < 0.97 * sum(one[key] for one in first), key
    still = [n for n, p in task.model.named_parameters() if torch.equal(p, before[n])]
    assert not still


def slopes(loss: Tensor, module: nn.Module) -> float:
    """Largest gradient of a loss at a module's parameters."""
    found = torch.autograd.grad(
        loss, list(module.parameters()), retain_graph=True, allow_unused=True
    )
    return max(0.0 if one is None else float(one.abs().max()) for one in found)


def test_reconstruction_teaches_neither_prosody_nor_content(data: TinyData) -> None:
    task = task_for(data, fresh(detail_dropout=0.0))
    codec = task.model.codec
    losses = task.losses(task.batch(generator(0)), generator(0), 1)
    for key in ("mel/multiscale", "adversarial/generator", "adversarial/features"):
        assert slopes(losses[key], codec.prosody_codebooks) == 0
        assert slopes(losses[key], codec.content_codebooks) == 0
        assert slopes(losses[key], codec.detail_codebooks) > 0
        assert slopes(losses[key], codec.timbre_encoder) > 0
        assert slopes(losses[key], codec.encoder) > 0
    assert slopes(losses["prosody/f0"], codec.prosody_codebooks) > 0
    assert slopes(losses["prosody/voicing"], codec.prosody_codebooks) > 0
    assert slopes(losses["content/phone"], codec.content_codebooks) > 0
    assert slopes(losses["timbre/speaker"], codec.timbre_encoder) > 0


def test_the_discriminator_learns_from_its_own_loss_alone(data: TinyData) -> None:
    task = task_for(data)
    losses = task.losses(task.batch(generator(0)), generator(0), 1)
    for key, loss in losses.items():
        if key == "adversarial/discriminator":
            assert slopes(loss, task.model.discriminator) > 0
            found = torch.autograd.grad(
                loss, list(task.model.codec.parameters()), retain_graph=True, allow_unused=True
            )
            assert all(one is None for one in found)
        elif loss.requires_grad:
            assert slopes(loss, task.model.discriminator) == 0, key


def read_out(codec: PaperCodec, key: str) -> nn.Module:
    """The last layer of the adversary that a loss comes from."""
    name = key.removeprefix("reversal/").replace("voicing", "f0")
    return codec.predictors.get_submodule(f"{name}.out.{int(key.endswith('voicing'))}")


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("reversal/prosody_phone", "prosody_codebooks"),
        ("reversal/detail_voicing", "detail_codebooks"),
        ("reversal/speaker", "content_codebooks"),
    ],
)
def test_adversaries_learn_forwards_and_teach_backwards(
    data: TinyData, key: str, part: str
) -> None:
    task = task_for(data, reversal=0.5)
    batch = task.batch(generator(0))
    # Only the last codebook's output may move: a change before it would choose other codes.
    bias = getattr(task.model.codec, part).quantizers()[-1].up.bias
    predictor = read_out(task.model.codec, key)
    places = {
        "behind the reversal": (bias, -0.5),
        "in the predictor": (predictor.get_parameter("bias"), 1.0),
    }
    for place, (parameter, factor) in places.items():
        loss = task.losses(batch, generator(0), 1)[key]
        (gradient,) = torch.autograd.grad(loss, [parameter])
        direction = torch.sign(gradient)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * 1e-3 * direction
                values.append(float(task.losses(batch, generator(0), 1)[key]))
                parameter -= sign * 1e-3 * direction
        slope = (values[0] - values[1]) / 2e-3
        assert float((gradient * direction).sum()) == pytest.approx(
            factor * slope, rel=0.05, abs=1e-4
        ), place


def test_the_speaker_is_driven_out_where_one_says(data: TinyData) -> None:
    reached = {}
    for place in ("sum", "decoder"):
        task = task_for(data, fresh(detail_dropout=0.0), speaker_from=place)
        losses = task.losses(task.batch(generator(0)), generator(0), 1)
        codec = task.model.codec
        assert slopes(losses["reversal/speaker"], codec.detail_codebooks) > 0
        reached[place] = [
            slopes(losses["reversal/speaker"], codebooks) > 0
            for codebooks in (codec.prosody_codebooks, codec.content_codebooks)
        ]
    assert reached == {"sum": [True, True], "decoder": [False, False]}


def test_the_reversal_ramps_up(data: TinyData) -> None:
    task = task_for(data, reversal_ramp=(2, 6))
    batch = task.batch(generator(0))
    task.model.eval()
    sizes = [
        slopes(
            task.losses(batch, generator(0), step)["reversal/detail_phone"],
            task.model.codec.detail_codebooks,
        )
        for step in (1, 3, 6, 9)
    ]
    assert sizes[0] == 0
    assert 0 < sizes[1] < sizes[2]
    assert sizes[2] == pytest.approx(sizes[3])


def test_without_labels_phones_teach_nothing(data: TinyData) -> None:
    task = task_for(data, labelled=False)
    losses = task.losses(task.batch(generator(0)), generator(0), 1)
    assert float(losses["content/phone"].detach()) == 0
    assert all(bool(torch.isfinite(value)) for value in losses.values())


def test_crops_must_be_whole_frames(data: TinyData) -> None:
    with pytest.raises(ConfigError, match="multiple of 5"):
        task_for(data, crop_frames=11)


def entries_used(codes_BKF: Tensor) -> list[int]:
    """How many entries of each codebook occur."""
    return [len(set(codes_BF.flatten().tolist())) for codes_BF in codes_BKF.unbind(1)]


def test_the_first_batch_gives_the_start(data: TinyData) -> None:
    task = task_for(data, plain())
    codec, batch = task.model.codec, task.batch(generator(0))
    before = {name: p.detach().clone() for name, p in codec.named_parameters()}
    with torch.no_grad():
        hidden_BDF = codec.encoder(batch.wave_BT)
        used = entries_used(codec.quantize(hidden_BDF).codes())
        task.losses(batch, generator(0), 0)
        hidden_BDF = codec.encoder(batch.wave_BT)
        parts = codec.quantize(hidden_BDF)
    torch.testing.assert_close(hidden_BDF.std((0, 2)), torch.ones(16), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(hidden_BDF.mean((0, 2)), torch.zeros(16), rtol=0, atol=1e-2)
    # 48 frames and 16 entries a codebook.
    assert max(used) < min(entries_used(parts.codes()))
    changed = {name for name, p in codec.named_parameters() if not torch.equal(p, before[name])}
    assert all("original0" in n or "bias" in n or "codebook_VC" in n for n in changed), changed

    trained = task_for(data, plain(), start_from_batch=False)
    trained.losses(batch, generator(0), 0)
    for name, parameter in trained.model.codec.named_parameters():
        assert torch.equal(parameter, before[name]), name


def test_dead_codes_come_back(data: TinyData) -> None:
    task = task_for(data, plain(), start_from_batch=False)
    batch, codebooks = task.batch(generator(0)), task.model.codec.codebooks()
    before = [codebook.codebook_VC.detach().clone() for codebook in codebooks]
    for step, restarts in ((3, False), (4, True)):
        for codebook in codebooks:
            codebook.counts_V.fill_(1e6)
            codebook.counts_V[5] = 0
        task.losses(batch, generator(0), step)
        for codebook, before_VC in zip(codebooks, before, strict=True):
            changed_V = (codebook.codebook_VC != before_VC).any(dim=1)
            assert changed_V.nonzero().flatten().tolist() == ([5] if restarts else [])


def test_export_is_the_codec_alone(data: TinyData, tmp_path: Path) -> None:
    task = task_for(data, plain())
    task.model.eval()
    figures = task.validate()
    assert figures == task.validate()
    assert figures["score"] == pytest.approx(
        -figures["mel/multiscale"] - 0.5 * figures["mel/multiscale_coarse"]
    )
    assert all(1 <= figures[f"perplexity/{k}"] <= 16 for k in range(6))
    assert 0 <= figures["phone/accuracy"] <= 1
    task.export(tmp_path, task.model)
    codec = from_pretrained(tmp_path)
    assert isinstance(codec, PaperCodec)
    assert codec.config == task.model.codec.config
    codes, timbre_D = codec.encode(data.corpus.wave(0)[:3210])
    assert codec.decode(codes, timbre_D, generator(0)).shape == (3400,)


def trained(data: TinyData, out: Path, steps: int) -> dict[str, Tensor]:
    task = task_for(data, plain(), restart_every_steps=2)
    config = TrainConfig(
        steps=steps, lr=1e-3, warmup_steps=0, decay="constant", validate_every_steps=1000, seed=1,
        device="cpu",
    )  # fmt: skip
    train(task, config, out)
    return {name: p.detach().clone() for name, p in task.model.named_parameters()}


def test_resumed_training_equals_training_in_one_go(
    data: TinyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PaperTask, "validate", lambda task: {})
    # Dead codes restart at step 2: the second part must know of use in the first.
    whole = trained(data, tmp_path / "whole", 3)
    trained(data, tmp_path / "parts", 1)
    resumed = trained(data, tmp_path / "parts", 3)
    assert not [name for name, value in whole.items() if not torch.equal(value, resumed[name])]
