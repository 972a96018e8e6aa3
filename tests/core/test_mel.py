"""The log-mel front end against librosa, and where its frames stand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.mel import LogMel, MelConfig, mel_centres_hz, mel_filterbank
from speechkit.core.rng import generator

CONFIGS = [
    MelConfig(),
    MelConfig(n_fft=512, win_length=400, n_mels=40, fmin_hz=60.0, fmax_hz=7600.0),
    MelConfig(sample_rate_hz=24_000, hop_length=300, n_mels=100, fmax_hz=12_000.0),
]


def noise(samples: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(samples, generator=generator(seed))


@pytest.mark.parametrize("config", CONFIGS)
def test_filters_equal_librosa(config: MelConfig) -> None:
    from librosa.filters import mel

    expected = mel(
        sr=config.sample_rate_hz,
        n_fft=config.n_fft,
        n_mels=config.n_mels,
        fmin=config.fmin_hz,
        fmax=config.fmax_hz,
        htk=False,
        norm="slaney",
    )
    np.testing.assert_allclose(mel_filterbank(config).numpy(), expected, atol=1e-7)


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 4003])
def test_frames_equal_librosa(samples: int) -> None:
    from librosa import stft

    config = MelConfig()
    wave_T = noise(samples)
    frames = -(-samples // 160)
    # librosa without centring puts frame i's middle at sample 160 i + 512 of what it is given.
    padded_T = np.pad(wave_T.numpy(), (512 - 80, 160 * frames + 1024 - samples))
    spectrum = stft(padded_T, n_fft=1024, hop_length=160, win_length=512, center=False)
    bands = mel_filterbank(config).numpy() @ np.abs(spectrum[:, :frames])
    expected = np.log(np.maximum(bands, config.floor))
    np.testing.assert_allclose(LogMel(config)(wave_T[None])[0].numpy(), expected, atol=2e-3)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 3000))
def test_one_frame_for_each_hop_begun(samples: int) -> None:
    assert LogMel(MelConfig())(torch.zeros(2, samples)).shape == (2, 80, math.ceil(samples / 160))


def test_frame_is_centred_on_the_middle_of_its_hop() -> None:
    wave_T = torch.zeros(160 * 9)
    wave_T[160 * 4 + 80] = 1.0
    energy_F = LogMel(MelConfig())(wave_T[None])[0].mean(0)
    assert int(energy_F.argmax()) == 4
    torch.testing.assert_close(energy_F[5:], energy_F[:4].flip(0), atol=1e-2, rtol=0)


def test_silence_is_the_floor_and_level_is_a_shift() -> None:
    mel = LogMel(MelConfig())
    assert torch.equal(mel(torch.zeros(1, 800)), torch.full((1, 80, 5), math.log(1e-5)))
    wave_T = noise(1600)[None]
    torch.testing.assert_close(mel(2 * wave_T), mel(wave_T) + math.log(2), atol=1e-3, rtol=0)


@pytest.mark.parametrize("band", [5, 30, 55, 78])
def test_a_tone_at_a_band_centre_is_loudest_there(band: int) -> None:
    hz = mel_centres_hz(MelConfig())[band]
    wave_T = torch.sin(2 * math.pi * hz * torch.arange(3200) / 16_000)
    assert int(LogMel(MelConfig())(wave_T[None].float())[0, :, 10].argmax()) == band


def test_an_item_of_a_batch_equals_the_item_alone() -> None:
    mel, waves_BT = LogMel(MelConfig()), torch.stack([noise(1000, 1), noise(1000, 2)])
    torch.testing.assert_close(mel(waves_BT)[1:], mel(waves_BT[1:]))
