"""Training of the generator: `speechkit train generator …`.

Needs packed corpora with alignment and codes beside their shards, and the codec they came from.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from speechkit.core.checkpoint import load_checkpoint, load_state
from speechkit.core.config import to_dict
from speechkit.core.rng import generator
from speechkit.data.alignment import Alignment
from speechkit.data.codes import CorpusCodes
from speechkit.data.packed import Data, PackedCorpus
from speechkit.diffusion.config import GeneratorConfig
from speechkit.diffusion.dataset import GeneratorDataset
from speechkit.diffusion.generator import Generator, build_generator, generator_config
from speechkit.diffusion.task import GeneratorTask, GeneratorTaskConfig
from speechkit.facodec import from_pretrained
from speechkit.facodec.codec import Codec, codes_sign
from speechkit.text.vocab import DEFAULT_VOCABULARY
from speechkit.train import TrainConfig, TrainReport, train


@dataclass(frozen=True, kw_only=True)
class GeneratorTraining:
    """A whole recipe of the generator."""

    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    """The networks."""

    task: GeneratorTaskConfig = field(default_factory=GeneratorTaskConfig)
    """What a step trains on."""

    train: TrainConfig = field(default_factory=lambda: TrainConfig(amp="auto"))
    """Optimiser, budget and log."""


def start_generator(
    config: GeneratorConfig,
    codec: Codec,
    init: Path | None,
    seed: int,
    symbols: tuple[str, ...] = DEFAULT_VOCABULARY.symbols,
) -> Generator:
    """A fresh generator of the sizes and with the tables of the codec, or the one in `init`."""
    if init is not None:
        checkpoint = load_checkpoint(init)
        told = replace(generator_config(checkpoint.config), codes=codes_sign(codec))
        model = build_generator(told)
        load_state(model, checkpoint.state)
        return model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        quant = codec.quantizer
        frame = replace(
            config.frame,
            codebooks=quant.codebooks,
            codebook_size=quant.codebook_size,
            timbre_channels=codec.timbre_channels,
        )
        config = replace(
            config,
            frame=frame,
            prosody_codebooks=quant.prosody_codebooks,
            content_codebooks=quant.content_codebooks,
            detail_codebooks=quant.detail_codebooks,
            phone_symbols=symbols,
            codes=codes_sign(codec),
            code_channels=codec.code_vectors()[0].shape[-1],
        )
        model = build_generator(config)
    model.frame.adopt_codebooks(codec.code_vectors(), generator(seed))
    if model.prosody_KVC is not None:
        model.prosody_KVC.copy_(torch.stack(codec.code_vectors()[: quant.prosody_codebooks]))
    return model


def generator_task(
    recipe: GeneratorTraining,
    alignment: Alignment,
    codes: CorpusCodes,
    codec: Path,
    init: Path | None = None,
) -> GeneratorTask:
    """What there is to train on a corpus that is aligned and encoded: see `train_generator`."""
    model = start_generator(recipe.generator, from_pretrained(codec), init, recipe.train.seed)
    alignment.require_symbols(model.config.phone_symbols)

    def dataset(validation: bool) -> GeneratorDataset:
        return GeneratorDataset(
            alignment.corpus,
            alignment,
            codes,
            model.config,
            prompt_drop=recipe.task.prompt_drop,
            validation=validation,
            prosody_KVC=model.prosody_KVC,
        )

    return GeneratorTask(model, dataset(False), dataset(True), recipe.task)


def train_generator(
    recipe: GeneratorTraining, data: Data, codec: Path, out: Path, *, init: Path | None = None
) -> TrainReport:
    """Train the generator on the packed corpora `data`; a run in `out` is resumed.

    Alignment and codes must lie beside their shards; `codec` is the folder of the codec that made
    the codes, `init` the export of an earlier run to go on from. Raises ConfigError for a run in
    `out` that began with another recipe, start or corpus.
    """
    corpus = PackedCorpus(data)
    alignment, codes = Alignment(corpus), CorpusCodes(corpus)
    task = generator_task(recipe, alignment, codes, codec, init)
    settings = {name: part for name, part in to_dict(recipe).items() if name != "train"}
    identity = {
        **settings,
        "init": None if init is None else load_checkpoint(init).sha256,
        "data": corpus.sha256,
        "alignment": alignment.sha256,
        "codes": codes.codec_sha256,
    }
    return train(task, recipe.train, out, identity=identity)
