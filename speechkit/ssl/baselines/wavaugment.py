"""Pitch, reverberation and noise on the wave, in the style of WavAugment (Kharitonov et al. 2021).

Their tool calls sox; here resampling with WSOLA, an exponential room response and coloured noise
do, at a small part of what a training step costs. Labels stay in place: nothing moves in time.

Shapes: T samples, F frequencies, R samples of a room response.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from speechkit.core.rng import uniform
from speechkit.core.timebase import SAMPLE_RATE_HZ
from speechkit.ssl.baselines.config import WavAugmentConfig

SEGMENT_SAMPLES = 640
"""Pieces that stretching lays end to end: 40 ms."""
FADE_SAMPLES = 192
"""Fade from one to the next: 12 ms."""
SEARCH_SAMPLES = 240
"""How many places a piece may be taken from: 15 ms, a period of 67 Hz."""
RATIO_LIMIT = 160
"""Greatest denominator of a ratio of rates: resampling costs as much; exact to 6 cents."""


def distort(wave_T: Tensor, config: WavAugmentConfig, rng: torch.Generator) -> Tensor:
    """Return distorted_T: each of the three by its chance, in this order."""
    if uniform(0, 1, rng) < config.pitch_share:
        wave_T = shift_pitch(wave_T, uniform(*config.pitch_cents, rng))
    if uniform(0, 1, rng) < config.reverb_share:
        seconds = uniform(*config.reverb_seconds, rng)
        wave_T = reverberate(wave_T, seconds, uniform(*config.direct_db, rng), rng)
    if uniform(0, 1, rng) < config.noise_share:
        snr_db = uniform(*config.noise_snr_db, rng)
        wave_T = add_noise(wave_T, snr_db, uniform(*config.noise_slope, rng), rng)
    return wave_T


def shift_pitch(wave_T: Tensor, cents: float) -> Tensor:
    """Return shifted_T: every frequency times 2^(cents / 1200), durations kept.

    The wave is played faster or slower and then brought back to its length by `stretch`, as sox
    does it.
    """
    from torchaudio.functional import resample

    ratio = Fraction(2 ** (cents / 1200)).limit_denominator(RATIO_LIMIT)
    if ratio == 1:
        return wave_T
    played_T = resample(wave_T, ratio.numerator, ratio.denominator)
    return time_scale(played_T, wave_T.shape[0])


def time_scale(wave_T: Tensor, samples: int) -> Tensor:
    """Return stretched_T of so many samples at the same pitch (WSOLA, Verhelst and Roelands 1993).

    Segments are laid end to end with a fade, each taken, within 7.5 ms of its place, where the wave
    is most like the end of what is already there. A phase vocoder takes longer, and lost a quarter
    of the power of a tone behind its onset.
    """
    step = SEGMENT_SAMPLES - FADE_SAMPLES
    rate = wave_T.shape[0] / samples
    ends = (SEARCH_SAMPLES // 2, SEARCH_SAMPLES + SEGMENT_SAMPLES + step)
    source = np.pad(wave_T.cpu().numpy(), ends)
    energy = np.concatenate([[0.0], np.cumsum(source.astype(np.float64) ** 2)])
    energy = energy[FADE_SAMPLES:] - energy[:-FADE_SAMPLES]
    out = np.zeros(samples + SEGMENT_SAMPLES + step, dtype=source.dtype)
    out[:SEGMENT_SAMPLES] = source[ends[0] : ends[0] + SEGMENT_SAMPLES]
    rise = np.linspace(0, 1, FADE_SAMPLES, dtype=source.dtype)
    for here in range(step, samples, step):
        first = round(here * rate)
        tail = out[here : here + FADE_SAMPLES]
        window = source[first : first + SEARCH_SAMPLES + FADE_SAMPLES - 1]
        correlation = np.correlate(window, tail) / np.sqrt(
            energy[first : first + SEARCH_SAMPLES] + 1e-9
        )
        best = first + int(correlation.argmax())
        segment = source[best : best + SEGMENT_SAMPLES].copy()
        segment[:FADE_SAMPLES] = tail + rise * (segment[:FADE_SAMPLES] - tail)
        out[here : here + SEGMENT_SAMPLES] = segment
    return torch.from_numpy(out[:samples]).to(wave_T)


def reverberate(wave_T: Tensor, seconds: float, direct_db: float, rng: torch.Generator) -> Tensor:
    """Return reverberant_T of the same power: direct sound and a tail of decaying noise.

    The tail falls by 60 dB in ``seconds`` and lies ``direct_db`` below the direct sound.
    """
    samples = wave_T.shape[0]
    time_R = torch.arange(1, max(2, int(seconds * SAMPLE_RATE_HZ))) / SAMPLE_RATE_HZ
    tail_R = torch.randn(len(time_R), generator=rng) * 10 ** (-3 * time_R / seconds)
    tail_R *= 10 ** (-direct_db / 20) / tail_R.norm().clamp_min(1e-12)
    response_R = torch.cat([torch.ones(1), tail_R]).to(wave_T)
    size = _fast_size(samples + len(response_R))
    spectrum_F = torch.fft.rfft(wave_T, n=size) * torch.fft.rfft(response_R, n=size)
    wet_T: Tensor = torch.fft.irfft(spectrum_F, n=size)[:samples]
    return wet_T * _gain(wave_T, wet_T)


def add_noise(wave_T: Tensor, snr_db: float, slope: float, rng: torch.Generator) -> Tensor:
    """Return noisy_T: with Gaussian noise of power 1 / frequency^slope, ``snr_db`` below it."""
    samples = wave_T.shape[0]
    size = _fast_size(samples)
    bins = size // 2 + 1
    spectrum_F = torch.complex(*torch.randn(2, bins, generator=rng))
    # Below 20 Hz, where nobody listens, brown noise would have nearly all of its power.
    lowest = max(1, math.ceil(20 * size / SAMPLE_RATE_HZ))
    spectrum_F *= torch.arange(bins).clamp_min(lowest) ** (-slope / 2)
    spectrum_F[0] = 0
    noise_T: Tensor = torch.fft.irfft(spectrum_F, n=size)[:samples].to(wave_T)
    return wave_T + _gain(wave_T, noise_T) * 10 ** (-snr_db / 20) * noise_T


def _gain(wave_T: Tensor, other_T: Tensor) -> float:
    """Return the factor that gives the other wave the power of the first."""
    power, other = (float(x_T.double().square().mean()) for x_T in (wave_T, other_T))
    return math.sqrt(power / max(other, 1e-20))


def _fast_size(samples: int) -> int:
    """Return the least length from here on of the form 2^a, 3 * 2^a or 5 * 2^a."""
    return min(odd << max(0, math.ceil(math.log2(max(samples, 2) / odd))) for odd in (1, 3, 5))
