"""The paper's codec through the whole house: codes, a generator on them, a voice, a sentence."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.config import load_toml, to_dict
from speechkit.core.results import mix_voices
from speechkit.data.codes import CorpusCodes
from speechkit.diffusion.config import GeneratorConfig
from speechkit.diffusion.generator import build_generator
from speechkit.diffusion.train import GeneratorTraining, train_generator
from speechkit.facodec.encode_corpus import encode_corpus
from speechkit.facodec.paper.codec import build_paper_codec
from speechkit.train import TrainConfig
from speechkit.tts import ZeroShotTTS
from tests.diffusion.builders import SMALL
from tests.diffusion.test_generator_task import CONFIG
from tests.facodec.builders import tiny_data
from tests.facodec.paper.builders import TINY

RECIPE = Path(__file__).parents[2] / "recipes" / "diffusion" / "paper.toml"


@pytest.fixture
def codec(tmp_path: Path) -> Path:
    """A tiny codec of the paper's architecture, with no phone symbols, as the public weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_paper_codec(replace(TINY, strides=(8, 5, 5)))
    folder = tmp_path / "model" / "codec"
    save_checkpoint(folder, model.state_dict(), {"paper_codec": to_dict(model.config)})
    return folder


PHONE_PROSODY = replace(
    SMALL,
    phone_prosody=True,
    duration=replace(
        SMALL.duration, codebooks=2, stages=2, codebook_size=SMALL.frame.codebook_size
    ),
)
"""A prosody code of each phone before its duration, as the recipe has it."""


@pytest.mark.parametrize("config", [SMALL, PHONE_PROSODY], ids=["frames", "phones"])
def test_a_generator_is_trained_on_its_codes_and_speaks_with_it(
    codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: GeneratorConfig
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    data = tiny_data(tmp_path)
    encode_corpus(data.corpus.path, codec)
    codes = CorpusCodes(data.corpus)
    # Another frame rate than the alignment's, so durations have to be carried over.
    assert codes.frames(0) != int(data.alignment.frames(0).sum())
    recipe = GeneratorTraining(
        generator=config, task=CONFIG, train=TrainConfig(steps=1, device="cpu", ema_decay=0.0)
    )
    train_generator(recipe, data.corpus.path, codec, tmp_path / "run")
    (tmp_path / "run" / "last").rename(codec.parent / "generator")
    tts = ZeroShotTTS.from_pretrained(codec.parent)
    voice = tts.voice(data.corpus.wave(0))
    voice.check(tts.voice_sizes)
    speech = tts.synthesize("Hello.", voice, steps=1)
    assert len(speech.wave_T) == sum(speech.frames) * tts.codec.hop_samples
    again = tts.synthesize("Hello.", voice, steps=1)
    assert torch.equal(speech.wave_T, again.wave_T)
    assert tts.generator.config.phone_prosody is config.phone_prosody
    assert ("phone_prosody" in speech.stages_seconds) is config.phone_prosody
    mixed = mix_voices(voice, prosody=tts.voice(data.corpus.wave(1)))
    assert len(tts.synthesize("Hello.", mixed, steps=1).wave_T) > 0


def test_the_recipe_has_the_sizes_of_the_paper() -> None:
    recipe = load_toml(RECIPE, GeneratorTraining)
    config = replace(recipe.generator, phone_symbols=SMALL.phone_symbols)
    with torch.device("meta"):
        model = build_generator(config)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    assert 300 < millions < 700
    assert model.config.stages == ("phone_prosody", "duration", "prosody", "content", "detail")
