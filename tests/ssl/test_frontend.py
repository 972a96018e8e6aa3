"""The log-mel front end: its frames, its padding, its place in everything that reads encoders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechkit.core.config import from_dict, load_toml, to_dict
from speechkit.core.errors import AudioError, ConfigError
from speechkit.core.rng import generator
from speechkit.data.packed import PackedCorpus
from speechkit.ssl.checkpoints import load_encoder
from speechkit.ssl.config import EncoderConfig
from speechkit.ssl.encoder import build_encoder
from speechkit.ssl.frontend import normalise
from speechkit.ssl.interop.transformers import to_transformers
from speechkit.ssl.pretrain import PretrainConfig, pretrain
from speechkit.ssl.units import KMeansConfig, Units, UnitsConfig, make_units
from tests.ssl.tiny import DATA, ENCODER, HUBERT, run_config, tiny_corpus, tiny_units

MEL = replace(
    ENCODER, front="log-mel", conv_channels=(8, 8), conv_kernels=(3, 3), conv_strides=(2, 2)
)
MEL_50 = replace(MEL, conv_channels=(8,), conv_kernels=(3,), conv_strides=(2,))


@pytest.mark.parametrize(("config", "rate_hz"), [(MEL, 25), (MEL_50, 50)])
def test_frames_are_those_of_the_wave_front_end_at_the_rate(
    config: EncoderConfig, rate_hz: int
) -> None:
    encoder = build_encoder(config).eval()
    assert encoder.rate_hz == rate_hz
    for samples in (400, 401, 719, 720, 1040, 1041, 16_000, 16_321):
        states = encoder.hidden_states(torch.randn(1, samples, generator=generator(0)))
        frames = 1 + (samples - 400) // (16_000 // rate_hz)
        assert states.layers[0].shape[1] == frames == config.frames(samples)
        assert states.frames_B == [frames]
    with pytest.raises(AudioError, match="too short"):
        encoder.hidden_states(torch.zeros(1, 399))


@pytest.mark.parametrize("config", [MEL, MEL_50])
def test_a_click_is_heard_where_its_frame_is(config: EncoderConfig) -> None:
    encoder = build_encoder(config).eval()
    hop = config.hop_samples
    quiet_T = 0.01 * torch.randn(16_000, generator=generator(1))
    frame = 5
    loud_T = quiet_T.clone()
    loud_T[frame * hop + 190 : frame * hop + 210] += 0.5
    raw = [encoder.features(wave_T[None]).raw_BFC[0] for wave_T in (quiet_T, loud_T)]
    change_F = (raw[0] - raw[1]).detach().abs().sum(-1)
    # Half of a window of 32 ms may lie in a neighbour of 20 ms.
    assert abs(int(change_F.argmax()) - frame) <= (1 if config is MEL_50 else 0)


def test_padding_changes_nothing() -> None:
    encoder = build_encoder(MEL).eval()
    waves = [0.1 * torch.randn(n, generator=generator(n)) for n in (9_000, 6_321)]
    padded_BT = torch.zeros(2, 9_000)
    for row, wave_T in enumerate(waves):
        padded_BT[row, : len(wave_T)] = wave_T
    together = encoder.hidden_states(padded_BT, [len(w) for w in waves])
    for row, wave_T in enumerate(waves):
        alone = encoder.hidden_states(wave_T[None])
        frames = alone.frames_B[0]
        assert together.frames_B[row] == frames
        for one, both in zip(alone.layers, together.layers, strict=True):
            assert torch.allclose(one[0], both[row, :frames], atol=1e-4)


def test_bands_are_normalised_over_their_own_frames() -> None:
    mel_BMG = 5 + 3 * torch.randn(2, 80, 100, generator=generator(0))
    normed = normalise(mel_BMG, [100, 40])
    for row, length in ((0, 100), (1, 40)):
        part = normed[row, :, :length]
        assert part.mean(-1).abs().max() < 1e-5
        assert torch.allclose(part.std(-1, correction=0), torch.ones(80), atol=1e-3)
    assert normed[1, :, 40:].abs().max() == 0
    # Loudness is nothing to it.
    assert torch.allclose(normalise(mel_BMG + 2, [100, 40]), normed, atol=1e-4)


def test_configs_of_before_are_wave_and_even_kernels_are_refused() -> None:
    before = {k: v for k, v in to_dict(ENCODER).items() if k != "front"}
    assert from_dict(EncoderConfig, before) == ENCODER
    with pytest.raises(ConfigError, match="odd"):
        replace(MEL, conv_kernels=(4, 3))


def test_hubert_trains_on_it_and_its_states_become_units(tmp_path: Path) -> None:
    corpus, units = tiny_corpus(tmp_path / "t.safetensors"), tiny_units(tmp_path / "u")
    config = PretrainConfig(hubert=replace(HUBERT, encoder=MEL), data=DATA, train=run_config(3))
    report = pretrain(corpus, config, tmp_path / "run", units=units)
    assert report.step == 3
    model = tmp_path / "run" / "last"
    encoder = load_encoder(model)
    assert encoder.config == MEL
    assert (model / "heard.json").is_file()
    made = make_units(
        corpus,
        tmp_path / "own",
        UnitsConfig(features=model, layer=1, kmeans=KMeansConfig(clusters=4, inits=1)),
    )
    assert made.rate_hz == 25
    assert Units(made.out, PackedCorpus(corpus)).has(0)
    with pytest.raises(ConfigError, match="log-mel"):
        to_transformers(encoder, tmp_path / "out")


def test_the_recipe_is_the_small_one_with_another_ear() -> None:
    recipes = Path(__file__).parents[2] / "recipes" / "ssl"
    mel, wave = (
        load_toml(recipes / f"{name}.toml", PretrainConfig).model.encoder
        for name in ("hubert-mel-small", "hubert-small")
    )
    assert mel.hop_samples == 640
    assert (mel.model_dim, mel.layers, mel.heads) == (wave.model_dim, wave.layers, wave.heads)
