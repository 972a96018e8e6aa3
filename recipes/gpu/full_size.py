"""The paper-size trainings, each with a batch of made-up items: for `projection.py`.

Clips are noise, phones, codes and units are random: what is computed does not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechkit.core.checkpoint import WEIGHTS, load_checkpoint, save_checkpoint
from speechkit.core.config import load_toml, to_dict
from speechkit.core.rng import generator
from speechkit.data.alignment import Alignment, ClipAlignment, write_alignment
from speechkit.data.codes import ClipCodes, CorpusCodes, write_codes
from speechkit.data.packed import ClipInfo, PackedClip, PackedCorpus, write_packed
from speechkit.diffusion.train import GeneratorTraining, generator_task
from speechkit.diffusion.train_units import UnitGeneratorTraining, unit_generator_task
from speechkit.facodec import from_pretrained
from speechkit.facodec.paper.codec import build_paper_codec
from speechkit.facodec.paper.config import PaperCodecConfig
from speechkit.facodec.train import PHASES, CodecTraining, Start
from speechkit.facodec.training.paper_task import PaperTask
from speechkit.ssl.checkpoints import build_pretrainer
from speechkit.ssl.crops import CropDataset
from speechkit.ssl.ctc.characters import Characters
from speechkit.ssl.ctc.clips import select_clips
from speechkit.ssl.ctc.finetune import FinetuneConfig, training_batches
from speechkit.ssl.ctc.model import CtcConfig, build_ctc
from speechkit.ssl.ctc.task import CtcTask
from speechkit.ssl.diffs4l.config import Experiment
from speechkit.ssl.diffs4l.program import PHASES as SMALL_PHASES
from speechkit.ssl.guard import CollapseGuard, GuardConfig
from speechkit.ssl.pretrain import PretrainConfig
from speechkit.ssl.task import PretrainTask
from speechkit.ssl.units.file import Units, begin_units, write_units
from speechkit.text.vocab import DEFAULT_VOCABULARY
from speechkit.train import Task, TrainConfig

RECIPES = Path(__file__).resolve().parents[1]
SPEAKERS, CLIPS_EACH, CLIP_SECONDS = 8, 2, 24.0
RATE_HZ = 16_000


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a process of a training does in a step."""

    task: Task
    """The training at full size."""
    batch: Any
    """A batch of the recipe."""
    few: Any
    """A batch of so few items that a CPU does it in a minute."""
    train: TrainConfig
    """The recipe's optimiser."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """A row of the table."""

    name: str
    """What it is called there."""
    build: Callable[[Path], Part]
    """Builds it in a folder for what it is trained on."""
    updates: int
    """Steps of the optimiser."""
    processes: int = 1
    """GPUs, each with a batch of its own."""
    runs: int = 1
    """Times that it is done."""


def corpus_of(folder: Path, codec: Path) -> PackedCorpus:
    """Noise, random phones, and random codes as those of a codec."""
    folder.mkdir(parents=True)
    count = SPEAKERS * CLIPS_EACH
    draws = np.random.default_rng(0)

    def clips() -> Iterator[PackedClip]:
        for n in range(count):
            info = ClipInfo(
                id=f"noise-{n}",
                text="the noise of a small machine in an empty room",
                speaker=f"speaker-{n % SPEAKERS}",
                language="en",
                license="CC0-1.0",
                split="train",
                source="noise",
            )
            samples = round(CLIP_SECONDS * RATE_HZ)
            pcm_T = (3000 * draws.standard_normal(samples)).astype(np.int16)
            f0_F = 120 + 20 * draws.random(-(-samples // 160))
            yield PackedClip(info=info, pcm_T=pcm_T, f0_F=f0_F.astype(np.float32))

    write_packed(folder / "noise.safetensors", clips())
    corpus = PackedCorpus(folder / "noise.safetensors")
    (shard,) = corpus.shards
    phones = len(DEFAULT_VOCABULARY)
    # Of 80 ms each: 12 phones a second.
    phones_P = round(CLIP_SECONDS * RATE_HZ / 320 / 4)
    tracks = {
        n: ClipAlignment(
            torch.from_numpy(draws.integers(1, phones, phones_P)),
            torch.full((phones_P,), 4),
            score=-0.5,
        )
        for n in range(count)
    }
    write_alignment(shard, DEFAULT_VOCABULARY.symbols, tracks)
    speaks = from_pretrained(codec)
    frames = round(CLIP_SECONDS * RATE_HZ / speaks.hop_samples)
    quantizer = speaks.quantizer

    def codes() -> Iterator[ClipCodes]:
        for _ in range(count):
            shape = (quantizer.codebooks, frames)
            yield ClipCodes(
                codes_KF=torch.from_numpy(draws.integers(0, quantizer.codebook_size, shape)),
                phone_F=torch.from_numpy(draws.integers(1, phones, frames // 4).repeat(4)),
                timbre_D=torch.from_numpy(draws.standard_normal(speaks.timbre_channels)).float(),
            )

    write_codes(shard, codes(), load_checkpoint(codec).sha256)
    return corpus


def units_of(folder: Path, corpus: PackedCorpus, rate_hz: int, clusters: int) -> Units:
    """Random units of a corpus."""
    draws = np.random.default_rng(1)
    length = round(CLIP_SECONDS * rate_hz) - 1
    made = {
        n: torch.from_numpy(draws.integers(0, clusters, length)).long() for n in range(len(corpus))
    }
    key = "0" * 64
    begin_units(folder, rate_hz=rate_hz, clusters=clusters, kmeans_sha256=key, features={})
    (shard,) = corpus.shards
    write_units(folder, shard, made, clusters=clusters, kmeans_sha256=key)
    return Units(folder, corpus)


def paper_codec(folder: Path) -> Part:
    """The paper's codec; few: one crop."""
    recipe = load_toml(RECIPES / "facodec/paper.toml", CodecTraining)
    corpus = corpus_of(folder, WEIGHTS / "codec")
    task = PHASES["paper"](Start(recipe=recipe, data=corpus.path, init=None))
    assert isinstance(task, PaperTask)
    batch = task.batch(generator(0))
    task.config = replace(task.config, batch_size=1)
    return Part(task=task, batch=batch, few=task.batch(generator(0)), train=recipe.train)


def paper_generator(folder: Path) -> Part:
    """The paper-size generator over the paper's codec; few: one frame sequence, two of phones."""
    recipe = load_toml(RECIPES / "diffusion/paper.toml", GeneratorTraining)
    codec = folder / "codec"
    codec.mkdir(parents=True)
    built = build_paper_codec(PaperCodecConfig())
    save_checkpoint(codec, built.state_dict(), {"paper_codec": to_dict(built.config)})
    del built
    corpus = corpus_of(folder / "corpus", codec)
    # The middle of the lengths that are drawn from.
    middle = sorted(recipe.task.target_frames)[len(recipe.task.target_frames) // 2]
    usual = replace(recipe.task, target_frames=(middle,))
    alignment, codes = Alignment(corpus), CorpusCodes(corpus)
    task = generator_task(replace(recipe, task=usual), alignment, codes, codec)
    batch = task.batch(generator(0))
    task.config = replace(usual, frames=400, target_frames=(300,), duration_batch_size=2)
    return Part(task=task, batch=batch, few=task.batch(generator(0)), train=recipe.train)


@cache
def pretraining(recipe: Path) -> Callable[[Path], Part]:
    """Crops of the greatest length; few: one of 4 s."""

    def build(folder: Path) -> Part:
        config = load_toml(recipe, PretrainConfig)
        corpus = corpus_of(folder, WEIGHTS / "codec")
        hubert = config.hubert
        units = (
            None
            if hubert is None
            else units_of(folder / "units", corpus, hubert.label_rate_hz, hubert.clusters)
        )
        model = build_pretrainer(config.model, 0).train()
        small = replace(config.data, max_seconds=4.0, batch_seconds=4.0)
        task, short = (
            PretrainTask(
                model,
                CropDataset(corpus, replace(data, held_out_clips=2), config.model, 0, units),
                CollapseGuard(config=GuardConfig()),
            )
            for data in (config.data, small)
        )
        batch, few = (one.batch(generator(0), 0) for one in (task, short))
        return Part(task=task, batch=batch, few=few, train=config.train)

    return build


def fine_tuning(recipe: Path) -> Callable[[Path], Part]:
    """A recogniser of the size of wav2vec 2.0 base; few: one clip."""

    def build(folder: Path) -> Part:
        config = load_toml(recipe, FinetuneConfig)
        pre_trained = load_toml(RECIPES / "ssl/wav2vec2-base.toml", PretrainConfig)
        encoder = pre_trained.model.encoder
        corpus = corpus_of(folder, WEIGHTS / "codec")
        characters = Characters.english()
        # All of the noise, which is shorter than the labels that a recipe asks for.
        clips = replace(config.clips, minutes=None)
        split = select_clips(corpus, characters, encoder.frames, clips, held_out=2, seed=0)
        ctc = CtcConfig(encoder=config.noise.of(encoder), final_dropout=config.noise.final_dropout)
        model = build_ctc(ctc, characters, 0).train()
        batch, few = (
            training_batches(split.train, replace(config, batch_seconds=seconds), encoder)(0)
            for seconds in (config.batch_seconds, CLIP_SECONDS)
        )
        task = CtcTask(model, lambda number: batch, list, config.freeze_encoder_updates)
        return Part(task=task, batch=batch, few=few, train=config.train)

    return build


def unit_generator(recipe: Path, clusters: int) -> Callable[[Path], Part]:
    """The generator that speaks from units; few: one crop."""

    def build(folder: Path) -> Part:
        config = load_toml(recipe, UnitGeneratorTraining)
        corpus = corpus_of(folder, WEIGHTS / "codec")
        units = units_of(folder / "units", corpus, 50, clusters)
        middle = sorted(config.task.target_frames)[len(config.task.target_frames) // 2]
        usual = replace(config.task, target_frames=(middle,))
        task = unit_generator_task(replace(config, task=usual), corpus, units, WEIGHTS / "codec")
        batch = task.batch(generator(0))
        task.config = replace(usual, frames=middle)
        return Part(task=task, batch=batch, few=task.batch(generator(0)), train=config.train)

    return build


def small_codec(recipe: Path, phase: str) -> Callable[[Path], Part]:
    """A phase of the small codec."""

    def build(folder: Path) -> Part:
        config = load_toml(recipe, CodecTraining)
        corpus = corpus_of(folder, WEIGHTS / "codec")
        task = PHASES[phase](Start(recipe=config, data=corpus.path, init=None))
        batch = task.batch(generator(0), 0)
        return Part(task=task, batch=batch, few=batch, train=config.train)

    return build


def trainings() -> dict[str, list[Training]]:
    """Rows by recipe; updates and processes as the recipes say."""
    ssl = RECIPES / "ssl"
    hubert, wav2vec2 = ssl / "hubert-base.toml", ssl / "wav2vec2-base.toml"
    return {
        "codec": [Training(name="facodec/paper", build=paper_codec, updates=800_000, processes=8)],
        "generator": [
            Training(name="diffusion/paper", build=paper_generator, updates=1_000_000, processes=8)
        ],
        "hubert": [
            Training(
                name="ssl/hubert-base, both iterations",
                build=pretraining(hubert),
                updates=250_000 + 400_000,
                processes=32,
            )
        ],
        "wav2vec2": [
            Training(
                name="ssl/wav2vec2-base", build=pretraining(wav2vec2), updates=400_000, processes=64
            )
        ],
        "diffs4l": list(_experiment(RECIPES / "diffs4l/paper.toml")),
    }


def _experiment(path: Path) -> Iterator[Training]:
    """The trainings of an experiment of DiffS4L, each in one process."""
    home, config = path.parent, load_toml(path, Experiment)
    if config.codec is not None:
        for phase, steps in zip(SMALL_PHASES, config.codec_steps, strict=True):
            build = small_codec(home / config.codec, phase)
            yield Training(name=f"diffs4l/paper: codec, {phase}", build=build, updates=steps)
    yield Training(
        name="diffs4l/paper: first encoder",
        build=pretraining((home / config.wav2vec2).resolve()),
        updates=config.first_steps,
    )
    yield Training(
        name="diffs4l/paper: unit generator",
        build=unit_generator(home / config.unit_generator, config.clusters),
        updates=config.generator_steps,
    )
    runs = len(config.arms) * len(config.seeds)
    for model in config.models:
        yield Training(
            name=f"diffs4l/paper: {model} of all arms and seeds",
            build=pretraining((home / getattr(config, model)).resolve()),
            updates=config.steps,
            runs=runs,
        )
    yield Training(
        name="diffs4l/paper: fine-tuning of all",
        build=fine_tuning(home / config.finetune),
        updates=config.finetune_steps,
        runs=runs * len(config.models),
    )
