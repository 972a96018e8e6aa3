"""BEST-RQ: targets that never change, and a model that learns to name them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechkit.core.errors import ConfigError
from speechkit.core.rng import generator
from speechkit.data.packed import PackedCorpus
from speechkit.ssl.bestrq import RandomProjectionQuantizer, build_bestrq
from speechkit.ssl.checkpoints import load_encoder, load_model, save_model
from speechkit.ssl.config import BestRqConfig, EncoderConfig, MaskConfig
from speechkit.ssl.crops import CropDataset
from speechkit.ssl.pretrain import PretrainConfig, pretrain
from tests.ssl.tiny import DATA, ENCODER, HUBERT, WAV2VEC2, run_config, tiny_corpus, tiny_units

MEL = replace(
    ENCODER, front="log-mel", conv_channels=(16, 16), conv_kernels=(3, 3), conv_strides=(2, 2)
)
MODEL = BestRqConfig(
    encoder=MEL,
    mask=MaskConfig(span_frames=2),
    codebook_size=64,
    code_dim=8,
    seen_weight=1.0,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_corpus(tmp_path_factory.mktemp("corpus") / "tones.safetensors")


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training."""
    out = tmp_path_factory.mktemp("run") / "run"
    train = run_config(60, lr=1e-2)
    report = pretrain(corpus, PretrainConfig(bestrq=MODEL, data=DATA, train=train), out)
    assert report.step == 60
    return out


def test_the_loss_falls_and_the_codebook_use_is_logged(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    logged = [line["losses"] for line in lines if "losses" in line]
    masked = [line["loss/masked"] for line in logged]
    assert sum(masked[-10:]) < 0.7 * sum(masked[:10])
    for line in logged:
        assert 1 < line["figure/label_perplexity"] <= MODEL.codebook_size
        assert 0.05 < line["figure/codebook_use"] <= 1
    assert "figure/codebook_use" in lines[-1]["validation"]


def test_targets_are_those_of_the_start_and_come_back_with_the_model(
    run: Path, corpus: Path
) -> None:
    wave_BT = CropDataset(PackedCorpus(corpus), DATA, MODEL, 3).draw(0).wave_BT
    frames = MEL.frames(wave_BT.shape[1])
    start, trained = build_bestrq(MODEL, 3), load_model(run / "last")
    assert trained.config == MODEL
    assert not torch.equal(trained.state_dict()["final_proj.weight"], start.final_proj.weight)
    codes_BF = start.quantizer(wave_BT, frames)
    assert torch.equal(trained.get_submodule("quantizer")(wave_BT, frames), codes_BF)
    assert codes_BF.shape == (len(wave_BT), frames)
    assert load_encoder(run / "last").config == MEL
    assert not [name for name, _ in start.quantizer.named_parameters()]


def test_a_checkpoint_keeps_its_own_codebook_whatever_the_seed(tmp_path: Path) -> None:
    model = build_bestrq(MODEL, 7)
    save_model(tmp_path, model)
    again = load_model(tmp_path).state_dict()
    for name in ("quantizer.projection_SD", "quantizer.codebook_VD"):
        assert torch.equal(again[name], model.state_dict()[name])
        assert not torch.equal(again[name], build_bestrq(MODEL, 8).state_dict()[name])


def test_same_seed_same_targets_whatever_else_was_drawn() -> None:
    wave_BT = 0.1 * torch.randn(3, 16_000, generator=generator(1))
    torch.manual_seed(1)
    first = RandomProjectionQuantizer(MODEL, 5)(wave_BT, 24)
    torch.manual_seed(2)
    assert torch.equal(RandomProjectionQuantizer(MODEL, 5)(wave_BT, 24), first)
    assert not torch.equal(RandomProjectionQuantizer(MODEL, 6)(wave_BT, 24), first)


def test_codes_are_the_nearest_entries_of_each_hop() -> None:
    quantizer = RandomProjectionQuantizer(MODEL, 0)
    wave_BT = 0.1 * torch.randn(2, 16_000, generator=generator(2))
    codes_BF = quantizer(wave_BT, 25)
    mel_BMG = quantizer.log_mel(wave_BT)
    mean, variance = mel_BMG.mean(-1), mel_BMG.var(-1, correction=0)
    normal_BMG = (mel_BMG - mean[..., None]) / (variance[..., None] + 1e-4).sqrt()
    for row, frame in ((0, 0), (1, 11), (1, 24)):
        stacked_S = normal_BMG[row, :, 4 * frame : 4 * frame + 4].T.flatten()
        vector_D = stacked_S @ quantizer.projection_SD
        distance_V = (quantizer.codebook_VD - vector_D / vector_D.norm()).norm(dim=1)
        assert int(distance_V.argmin()) == int(codes_BF[row, frame])


def test_the_wave_front_end_has_targets_of_20_ms() -> None:
    model = build_bestrq(BestRqConfig(encoder=ENCODER, codebook_size=32, code_dim=4))
    assert model.quantizer(torch.zeros(1, 16_000), ENCODER.frames(16_000)).shape == (1, 49)


def test_what_does_not_fit_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exactly one section of wav2vec2, hubert and bestrq"):
        _ = PretrainConfig(hubert=HUBERT, bestrq=MODEL).model
    assert PretrainConfig(bestrq=MODEL).model is MODEL
    assert PretrainConfig(wav2vec2=WAV2VEC2).model is WAV2VEC2
    config = PretrainConfig(bestrq=MODEL, data=DATA, train=run_config(1))
    units = tiny_units(tmp_path / "units")
    with pytest.raises(ConfigError, match="BEST-RQ learns without units"):
        pretrain(corpus, config, tmp_path / "run", units=units)
    with pytest.raises(ConfigError, match="whole 10 ms"):
        BestRqConfig(encoder=EncoderConfig(conv_strides=(5, 2, 2, 2, 2, 1, 1)))
