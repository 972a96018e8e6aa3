"""The generator that speaks from units: its data, a step of training, drawing from it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from speechkit.core.errors import ConfigError, DataError
from speechkit.core.rng import generator
from speechkit.data.codes import CorpusCodes
from speechkit.data.packed import PackedCorpus, Shard
from speechkit.diffusion.config import FRAME_STAGES, GeneratorConfig, SamplerConfig
from speechkit.diffusion.denoiser import NULL_CODE
from speechkit.diffusion.generator import load_generator
from speechkit.diffusion.stage import draw_stages, stage_loss
from speechkit.diffusion.train_units import (
    UnitGeneratorTask,
    UnitGeneratorTraining,
    train_unit_generator,
)
from speechkit.diffusion.units import (
    MASK_UNIT,
    Span,
    UnitDataset,
    draw_codes_from_units,
    draw_span,
    unit_segment,
    units_at_frames,
)
from speechkit.facodec.train import CodecTraining, train_codec
from speechkit.ssl.units import Units, begin_units, write_units
from speechkit.train import TrainConfig
from tests.diffs4l.builders import CODEC, TRAINING, Seed


def dataset(seed: Seed, masked_items: float, *, validation: bool = False) -> UnitDataset:
    corpus = PackedCorpus(seed.corpus)
    codes = CorpusCodes(corpus)
    return UnitDataset(
        corpus,
        Units(seed.units, corpus),
        codes,
        patch=2,
        hop_samples=320,
        masked_items=masked_items,
        masked_share=0.8,
        validation=validation,
    )


@pytest.mark.parametrize("rate_hz", [50, 100])
def test_each_frame_gets_the_unit_at_its_centre(rate_hz: int) -> None:
    frames, hop = 40, 16_000 // rate_hz
    units_U = torch.arange(1 + (frames * 320 - 400) // hop)
    ids_F = units_at_frames(units_U, rate_hz, frames, 320)
    centre_of_unit = (ids_F - 1) * hop + 200
    away = (centre_of_unit - (torch.arange(frames) * 320 + 160)).abs()
    assert int(away[:-2].max()) <= hop // 2
    # The codec has frames beyond the last whole window: the last unit is held.
    assert ids_F[-1] == len(units_U)


def test_a_span_hides_its_share_and_never_everything() -> None:
    rng = generator(0)
    spans = [draw_span(50, 0.8, rng) for _ in range(200)]
    assert {span.end - span.start for span in spans} == {40}
    assert (min(s.start for s in spans), max(s.start for s in spans)) == (0, 10)
    for frames in range(1, 12):
        span = draw_span(frames, 0.99, rng)
        assert 0 <= span.start <= span.end <= frames
        assert span.end - span.start < frames
    empty = draw_span(50, 0.0, rng)
    assert empty.end == empty.start


def test_hidden_units_leave_no_trace() -> None:
    ids_F, codes_KF = torch.arange(1, 21), torch.zeros(6, 20, dtype=torch.long)
    segment = unit_segment(ids_F, Span(start=4, end=12), codes_KF)
    assert segment.phones_N[4:12].eq(MASK_UNIT).all()
    assert torch.equal(segment.phones_N[12:], ids_F[12:])
    assert ids_F[4] == 5
    assert segment.position_N2.eq(0).all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_items_lose_units_as_often_as_asked(seed: Seed, share: float) -> None:
    batch = dataset(seed, share).frames(400, (40,), generator(0))
    hidden_B = (batch.phones_BL.eq(MASK_UNIT) & batch.keep_BL).sum(1)
    kept_B = batch.keep_BL.sum(1)
    assert torch.equal(hidden_B, (kept_B * 0.8).int() if share else torch.zeros_like(hidden_B))
    assert not (batch.prompt_BL & batch.keep_BL).any()


def test_the_voice_is_read_off_another_clip_of_the_speaker(seed: Seed) -> None:
    data, corpus = dataset(seed, 0.5), PackedCorpus(seed.corpus)
    rng = generator(1)
    for clip in data.clips:
        voice = data._voice(clip, rng)
        assert corpus.speaker(voice) == corpus.speaker(clip)
        assert voice != clip  # every speaker has two clips


def test_the_loss_covers_frames_with_hidden_units(seed: Seed) -> None:
    model = load_generator(seed.generator).train()
    batch = dataset(seed, 1.0).frames(200, (40,), generator(0))
    # No voice and no unit is left: only frames with hidden units can have given this gradient.
    stage_B = torch.zeros(len(batch.phones_BL), dtype=torch.long)
    draws = draw_stages(3, batch, stage_B, generator(0))
    loss = stage_loss(model.frame_stages, batch, draws)
    loss.nll.backward()  # type: ignore[no-untyped-call]
    gradient = model.frame.phone.weight.grad
    assert gradient is not None
    assert gradient[MASK_UNIT].abs().sum() > 0


def test_training_learns_and_resumes(seed: Seed, tmp_path: Path) -> None:
    def trained(steps: int) -> float:
        recipe = replace(TRAINING, train=replace(TRAINING.train, steps=steps, lr=1e-2))
        report = train_unit_generator(
            recipe, seed.corpus, partial(Units, seed.units), seed.codec, tmp_path / "run"
        )
        assert report.step == steps
        return report.figures["score"]

    first = trained(1)
    assert trained(25) > first
    loaded = load_generator(tmp_path / "run" / "last")
    assert loaded.config.phone_symbols[:2] == ("<mask>", "u0")
    with pytest.raises(ConfigError, match=r"task\.masked_items"):
        train_unit_generator(
            replace(TRAINING, task=replace(TRAINING.task, masked_items=0.1)),
            *(seed.corpus, partial(Units, seed.units), seed.codec, tmp_path / "run"),
        )


def test_a_recipe_that_keeps_the_voice_from_a_stage_is_refused() -> None:
    with pytest.raises(ConfigError, match="timbre_stages"):
        UnitGeneratorTraining(generator=GeneratorConfig())


def test_clips_without_units_are_an_error(seed: Seed, tmp_path: Path) -> None:
    path = tmp_path / "other"
    begin_units(path, rate_hz=50, clusters=6, kmeans_sha256="0" * 64, features={})
    with pytest.raises(DataError, match="1 of 1 shards"):
        dataset(replace(seed, units=path), 0.5)
    write_units(path, Shard(seed.corpus), {}, clusters=6, kmeans_sha256="0" * 64)
    with pytest.raises(DataError, match="No clip has both units and codes: run"):
        dataset(replace(seed, units=path), 0.5)


def test_codes_depend_on_units_voice_and_seed_and_on_nothing_hidden(seed: Seed) -> None:
    model = load_generator(seed.generator)
    rng = generator(5)
    ids_F, other_F = (torch.randint(1, 7, (30,), generator=rng) for _ in range(2))
    a_D, b_D = torch.randn(2, 12, generator=rng)
    none, most = Span(start=0, end=0), Span(start=3, end=27)

    def drawn(ids_F: torch.Tensor, span: Span, timbre_D: torch.Tensor, seed: int) -> torch.Tensor:
        return draw_codes_from_units(model, [(ids_F, span)], [timbre_D], [seed], SamplerConfig())[0]

    plain = drawn(ids_F, none, a_D, 0)
    assert plain.shape == (6, 30)
    assert not plain.eq(NULL_CODE).any()
    assert torch.equal(plain, drawn(ids_F, none, a_D, 0))
    assert not torch.equal(plain, drawn(other_F, none, a_D, 0))
    assert not torch.equal(plain, drawn(ids_F, none, b_D, 0))
    assert not torch.equal(plain, drawn(ids_F, none, a_D, 1))
    mixed_F = torch.cat([ids_F[:3], other_F[3:27], ids_F[27:]])
    assert torch.equal(drawn(ids_F, most, a_D, 0), drawn(mixed_F, most, a_D, 0))


def test_an_item_is_drawn_alike_alone_and_in_a_batch(seed: Seed) -> None:
    model = load_generator(seed.generator)
    rng = generator(6)
    none = Span(start=0, end=0)
    items = [(torch.randint(1, 7, (n,), generator=rng), none) for n in (20, 31, 12)]
    voices = list(torch.randn(3, 12, generator=rng))
    together = draw_codes_from_units(model, items, voices, [1, 2, 3], SamplerConfig())
    for item, voice, number, codes_KF in zip(items, voices, [1, 2, 3], together, strict=True):
        alone = draw_codes_from_units(model, [item], [voice], [number], SamplerConfig())[0]
        assert torch.equal(alone, codes_KF)


def test_validation_covers_all_stages(seed: Seed) -> None:
    model = load_generator(seed.generator)
    task = UnitGeneratorTask(
        model, dataset(seed, 0.5), dataset(seed, 0.5, validation=True), TRAINING.task, "ab"
    )
    figures = task.validate()
    assert figures == task.validate()
    assert {name.split("/")[1].split("_")[0] for name in figures if "/" in name} == {*FRAME_STAGES}


def test_the_codec_trains_on_a_seed_without_text(seed: Seed, tmp_path: Path) -> None:
    recipe = CodecTraining(codec=CODEC, train=TrainConfig(steps=1, device="cpu", ema_decay=0.0))
    recipe = replace(
        recipe,
        acoustic=replace(recipe.acoustic, batch_size=2, crop_frames=20, reference_frames=20),
        vocoder=replace(recipe.vocoder, batch_size=2, window_frames=10, crop_frames=20),
    )
    init = None
    for phase in ("vocoder", "acoustic", "finetune"):
        report = train_codec(phase, recipe, seed.corpus, tmp_path / phase, init=init)
        assert (report.step, report.skipped_steps) == (1, 0)
        init = tmp_path / phase / "last"
