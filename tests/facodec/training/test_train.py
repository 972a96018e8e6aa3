"""Training of the codecs: a step of every phase, and how exports are taken up."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.config import load_toml, to_dict
from speechkit.core.errors import CheckpointError, ConfigError
from speechkit.core.rng import generator
from speechkit.facodec import from_pretrained
from speechkit.facodec import train as program
from speechkit.facodec.paper.codec import PaperCodec, build_paper_codec
from speechkit.facodec.small.codec import FACodec
from tests.facodec.builders import TinyData
from tests.facodec.small.test_codec import fresh
from tests.facodec.training.test_paper_task import CODEC

RECIPES = Path(__file__).resolve().parents[3] / "recipes" / "facodec"

TINY = """
[train]
steps = 1
device = "cpu"

[codec]
quantizer = {codebook_size = 16, code_channels = 4}
vocoder = {channels = 16, blocks = 1}
channels = 16
encoder_blocks = 1
decoder_blocks = 1
prosody_channels = 8
prosody_blocks = 1
timbre_channels = 12
timbre_blocks = 1

[acoustic]
batch_size = 2
crop_frames = 20
reference_frames = 20

[vocoder]
batch_size = 2
crop_frames = 20
window_frames = 16

[adversarial]
batch_size = 2
crop_frames = 20
window_frames = 14
discriminator = {periods = [3], period_channels = [4], windows = [128], band_channels = 2}

[decoder]
batch_size = 2
crop_frames = 20
patch = {scales = 1, channels = [4]}

[paper_codec]
strides = [10, 20]
encoder_channels = 2
channels = 16
generator_channels = 16
quantizer = {codebook_size = 16, code_channels = 4}
transformer = {layers = 1, heads = 2, filter_channels = 16}

[paper]
batch_size = 2
crop_frames = 10
discriminator = {periods = [3], period_channels = [4], windows = [128], band_channels = 2}
"""


@pytest.fixture(autouse=True)
def _no_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if TensorBoard were not installed: its import takes seconds."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def run(data: TinyData, recipe: Path, phase: str, out: Path, init: Path | None = None) -> Path:
    """Train one step of a phase; its last export."""
    settings = load_toml(recipe, program.CodecTraining)
    program.train_codec(phase, settings, data.corpus.path, out, init=init)
    return out / "last"


def test_a_phase_that_does_not_exist(data: TinyData, recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="vocoder, acoustic"):
        run(data, recipe, "vocodr", tmp_path)


def test_a_run_is_not_resumed_on_another_start(
    data: TinyData, recipe: Path, tmp_path: Path
) -> None:
    first = run(data, recipe, "vocoder", tmp_path / "vocoder")
    run(data, recipe, "acoustic", tmp_path / "acoustic", first)
    with pytest.raises(ConfigError, match="another init: "):
        run(data, recipe, "acoustic", tmp_path / "acoustic")
    with pytest.raises(ConfigError, match="another init, phase: "):
        run(data, recipe, "vocoder", tmp_path / "acoustic")


def test_the_small_codecs_phases_follow_each_other(
    data: TinyData, recipe: Path, tmp_path: Path
) -> None:
    last = None
    for phase in ("vocoder", "acoustic", "decoder", "finetune", "adversarial"):
        last = run(data, recipe, phase, tmp_path / phase, last)
        assert isinstance(from_pretrained(last), FACodec)


def test_a_codec_that_grows_says_the_same_until_it_learns(
    data: TinyData, recipe: Path, tmp_path: Path
) -> None:
    first = run(data, recipe, "vocoder", tmp_path / "vocoder")
    before = from_pretrained(first)
    settings = load_toml(recipe, program.CodecTraining)
    wanted = replace(
        settings.codec,
        decoder_blocks=3,
        vocoder=replace(settings.codec.vocoder, blocks=2),
        told_phones=True,
    )
    after = program.start_codec(wanted, data.corpus, first, seed=0).eval()
    assert isinstance(before, FACodec)
    assert (after.config.decoder_blocks, after.config.vocoder.blocks) == (3, 2)
    wave_T = data.corpus.wave(0)
    codes, timbre_D = before.encode(wave_T)
    codes = replace(codes, phone_F=torch.ones(codes.frames, dtype=torch.long))
    spoken_T, grown_T = (codec.decode(codes, timbre_D, generator(0)) for codec in (before, after))
    assert torch.equal(spoken_T, grown_T)
    # All of what is new learns: its last layer at once, the rest of it once that is not zero.
    phone_BF = torch.ones(1, 20, dtype=torch.long)
    made_BMG = after.decode_mel(torch.randn(1, 20, 16), timbre_D[None], None, phone_BF)
    torch.autograd.backward(made_BMG.square().mean())
    new = dict(after.named_parameters())
    for name in ("decoder.blocks.2.down.weight", "told_phones.of_class.weight"):
        gradient = new[name].grad
        assert gradient is not None
        assert gradient.abs().max() > 0
    # A recipe that asks for less than there is takes nothing away.
    assert program.start_codec(settings.codec, data.corpus, first, 0).config == replace(
        before.config, speakers=2
    )


def test_the_papers_phase_goes_on_from_its_own_export(
    data: TinyData, recipe: Path, tmp_path: Path
) -> None:
    first = run(data, recipe, "paper", tmp_path / "first")
    codec = from_pretrained(first)
    assert isinstance(codec, PaperCodec)
    assert codec.config.speakers == 2
    assert codec.config.phone_symbols
    start = program.Start(
        recipe=load_toml(recipe, program.CodecTraining), data=data.corpus.path, init=first
    )
    again = program.start_paper_codec(start.recipe.paper_codec, start.corpus, first, seed=5)
    for name, value in codec.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_predictors_for_others_start_afresh(data: TinyData, tmp_path: Path) -> None:
    foreign = replace(
        CODEC, speakers=9, phone_classes=4, phone_symbols=(), reverse_content_f0=False
    )
    state = build_paper_codec(foreign).state_dict()
    save_checkpoint(tmp_path, state, {"paper_codec": to_dict(foreign)})
    wanted = replace(CODEC, detail_dropout=0.5, reverse_detail_f0=False)
    codec = program.start_paper_codec(wanted, data.corpus, tmp_path, seed=0)
    assert codec.config == replace(wanted, speakers=2)
    for name, value in codec.state_dict().items():
        if not name.startswith("predictors.") or name.startswith("predictors.f0."):
            assert torch.equal(value, state[name]), name
    # Seeded: what is fresh is the same each time.
    again = program.start_paper_codec(wanted, data.corpus, tmp_path, seed=0)
    assert all(
        torch.equal(p, q) for p, q in zip(codec.parameters(), again.parameters(), strict=True)
    )


def test_discriminators_want_a_codec_that_speaks(
    data: TinyData, recipe: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="--init"):
        run(data, recipe, "adversarial", tmp_path / "out")


@pytest.mark.parametrize("phase", ["adversarial", "paper"])
def test_exports_of_the_other_codec_are_refused(
    data: TinyData, recipe: Path, tmp_path: Path, phase: str
) -> None:
    if phase == "paper":
        codec = fresh()
        save_checkpoint(tmp_path, codec.state_dict(), {"codec": to_dict(codec.config)})
    else:
        save_checkpoint(
            tmp_path, build_paper_codec(CODEC).state_dict(), {"paper_codec": to_dict(CODEC)}
        )
    with pytest.raises(CheckpointError, match="codec"):
        run(data, recipe, phase, tmp_path / "out", tmp_path)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_can_be_read(path: Path) -> None:
    recipe = load_toml(path, program.CodecTraining)
    assert recipe != program.CodecTraining()


def test_the_papers_recipe_has_the_papers_values() -> None:
    recipe = load_toml(RECIPES / "paper.toml", program.CodecTraining)
    train, paper, codec = recipe.train, recipe.paper, recipe.paper_codec
    assert (train.lr, train.betas, train.steps) == (2e-4, (0.5, 0.9), 800_000)
    assert (paper.batch_size, paper.crop_frames * 320) == (32, 16_000)
    assert (codec.strides, codec.channels, codec.generator_channels) == ((2, 4, 5, 5), 256, 1024)
    assert all(value for name, value in vars(codec).items() if name.startswith("reverse_"))
