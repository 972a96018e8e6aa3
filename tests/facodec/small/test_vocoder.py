"""The vocoders: filters, overlap-add, and what an untrained source-filter vocoder already does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.mel import LogMel, MelConfig, mel_centres_hz
from speechkit.core.rng import generator
from speechkit.facodec.small.config import VocoderConfig
from speechkit.facodec.small.vocoder import (
    NOISE_LOG_MEL,
    InverseSTFTVocoder,
    SourceFilterVocoder,
    Vocoder,
    band_interpolation,
    build_vocoder,
    minimum_phase,
    overlap_add,
)
from tests.facodec.builders import vowel

MEL = MelConfig()
SOURCE_FILTER = VocoderConfig(channels=16, blocks=1)
INVERSE_STFT = VocoderConfig(kind="inverse_stft", channels=16, blocks=1)


def smooth_curve(seed: int, n_fft: int) -> Tensor:
    """A random log magnitude [n_fft / 2 + 1] with few ripples, so that its response is short."""
    ripples = torch.randn(12, generator=generator(seed)) * 0.4
    angles = torch.linspace(0, torch.pi, n_fft // 2 + 1)
    return (ripples[:, None] * torch.cos(torch.arange(12)[:, None] * angles)).sum(0)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.sampled_from([256, 512]))
def test_minimum_phase_keeps_the_magnitude_and_is_causal(seed: int, n_fft: int) -> None:
    curve_N = smooth_curve(seed, n_fft)
    response_N = minimum_phase(curve_N[None, None], n_fft)[0, 0]
    torch.testing.assert_close(response_N.abs().log(), curve_N, atol=1e-4, rtol=0)
    impulse = torch.fft.irfft(response_N, n=n_fft)
    assert float(impulse[n_fft // 2 :].pow(2).sum()) < 1e-6 * float(impulse.pow(2).sum())
    # Of all responses with this magnitude, the one of minimum phase starts highest
    # (Oppenheim & Schafer, "Discrete-time signal processing", §5.6).
    linear = torch.fft.irfft(curve_N.exp().to(torch.complex64), n=n_fft)
    delayed = linear.roll(n_fft // 2)
    early = slice(0, n_fft // 2)
    ahead = impulse[early].pow(2).cumsum(0) - delayed[early].pow(2).cumsum(0)
    assert float(ahead.min()) > -1e-4


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 9), st.integers(1, 5))
def test_overlap_add_against_a_loop(batch: int, count: int, width: int, hop: int) -> None:
    frames = torch.randn(batch, count, width, generator=generator(count))
    expected = torch.zeros(batch, hop * (count - 1) + width)
    for j in range(count):
        expected[:, j * hop : j * hop + width] += frames[:, j]
    torch.testing.assert_close(overlap_add(frames, hop), expected)


def test_bands_are_read_as_straight_lines_between_their_centres() -> None:
    matrix = band_interpolation(MEL, 257).double().numpy()
    np.testing.assert_allclose(matrix.sum(1), 1.0, atol=1e-6)
    centres = mel_centres_hz(MEL)
    grid = np.linspace(0, 8000, 257)
    np.testing.assert_allclose(matrix @ centres, np.clip(grid, *centres[[0, -1]]), rtol=1e-4)


def test_noise_level_is_that_of_unit_noise() -> None:
    wave_T = torch.randn(64_000, generator=generator(0))
    magnitude_M = LogMel(MEL)(wave_T[None])[0].exp().mean(-1)
    assert float(magnitude_M.log().mean()) == pytest.approx(NOISE_LOG_MEL, abs=0.05)


def build(config: VocoderConfig) -> Vocoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_vocoder(config, MEL).eval()


def spoken(vocoder: Vocoder, mel_BMF: Tensor, f0_hz: float, voiced: float, seed: int = 0) -> Tensor:
    shape = (len(mel_BMF), mel_BMF.shape[-1])
    wave: Tensor = vocoder(
        mel_BMF, torch.full(shape, f0_hz), torch.full(shape, voiced), generator(seed)
    )
    return wave.detach()


@pytest.mark.parametrize(
    ("config", "kind"), [(SOURCE_FILTER, SourceFilterVocoder), (INVERSE_STFT, InverseSTFTVocoder)]
)
def test_vocoders_speak_one_hop_a_frame(config: VocoderConfig, kind: type[Vocoder]) -> None:
    vocoder = build(config)
    assert isinstance(vocoder, kind)
    for frames in (1, 2, 25):
        wave = spoken(vocoder, torch.full((2, 80, frames), -4.0), 120.0, 1.0)
        assert wave.shape == (2, 160 * frames)
        assert bool(torch.isfinite(wave).all())


def test_only_the_source_filter_vocoder_draws_noise() -> None:
    mel_BMF = torch.full((1, 80, 20), -4.0)
    noisy, quiet = build(SOURCE_FILTER), build(INVERSE_STFT)
    assert torch.equal(spoken(noisy, mel_BMF, 120, 1, 3), spoken(noisy, mel_BMF, 120, 1, 3))
    assert not torch.equal(spoken(noisy, mel_BMF, 120, 1, 3), spoken(noisy, mel_BMF, 120, 1, 4))
    assert torch.equal(spoken(quiet, mel_BMF, 120, 1, 3), spoken(quiet, mel_BMF, 120, 1, 4))


@pytest.mark.parametrize(("kind", "f0_hz"), [(0, 110.0), (1, 140.0), (2, 200.0)])
def test_untrained_source_filter_repeats_the_spectrum(kind: int, f0_hz: float) -> None:
    wave_T = torch.from_numpy(vowel(0.8, f0_hz, kind))
    mel_BMF = LogMel(MEL)(wave_T[None])
    back_BMF = LogMel(MEL)(spoken(build(SOURCE_FILTER), mel_BMF, f0_hz, 1.0))
    distance = (back_BMF - mel_BMF)[..., 4:-4].abs()
    # The noise adds a little to every band: 0.2 to 0.4 nats off on average, 1 nat at most places.
    assert float(distance.mean()) < 0.5
    assert float(distance.quantile(0.95)) < 1.0


@pytest.mark.parametrize("f0_hz", [100.0, 160.0, 250.0])
def test_source_filter_speaks_at_the_given_pitch(f0_hz: float) -> None:
    mel_BMF = LogMel(MEL)(torch.from_numpy(vowel(0.8, 130.0))[None])
    wave_T = spoken(build(SOURCE_FILTER), mel_BMF, f0_hz, 1.0)[0, 2000:-2000]
    spectrum = torch.fft.rfft(wave_T, n=2 * len(wave_T))
    correlation = torch.fft.irfft(spectrum.abs().pow(2))[:400]
    lag = int(correlation[40:].argmax()) + 40
    assert lag == pytest.approx(16_000 / f0_hz, abs=1)
