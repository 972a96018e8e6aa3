"""What the codec's encoders read: log-mel, pitch contour, voicing and energy.

Shapes: B batch, T samples, G mel frames (100/s), F code frames (50/s), M mel bands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

REFERENCE_HZ = 150.0
"""Pitch that the median pitch is measured from."""

PITCH_SCALE = 0.25
"""Natural-log units a unit of normalised pitch."""

TIMBRE_PITCH_SCALE = 0.35
"""Natural-log units a unit of the timbre vector's last element, the median pitch."""


@dataclass(frozen=True, kw_only=True)
class Pitch:
    """Pitch of a clip, split into the speaker's median and a contour around it."""

    contour_G: Tensor
    """Log pitch relative to the median, over `PITCH_SCALE`; interpolated where unvoiced."""

    voiced_G: Tensor
    """1 where voiced, else 0."""

    median: float
    """log(median Hz / `REFERENCE_HZ`); 0 for a clip with no voiced frame."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A recording as the encoders' networks take it."""

    wave_T: Tensor
    """At the codec's level, in whole code frames, on the CPU."""

    pitch: Pitch
    """Its pitch, 2 frames a code frame."""


def prepare(wave_T: Tensor, f0_G: Tensor | None, level_rms: float, hop_samples: int) -> Prepared:
    """A recording before any network reads it; `f0_G` in Hz where already known."""
    wave_T = wave_T.cpu().float()
    wave_T = wave_T * speech_gain(wave_T, level_rms)
    wave_T = nn.functional.pad(wave_T, (0, -len(wave_T) % hop_samples))
    if f0_G is None:
        from speechkit.core.f0 import extract_f0

        f0_G = torch.from_numpy(extract_f0(wave_T.numpy()))
    missing = 2 * (len(wave_T) // hop_samples) - len(f0_G)
    return Prepared(wave_T=wave_T, pitch=split_pitch(nn.functional.pad(f0_G, (0, missing)).numpy()))


def split_pitch(f0_G: np.ndarray) -> Pitch:
    """The `Pitch` of an F0 track in Hz, 0 where unvoiced."""
    voiced = f0_G > 0
    if not voiced.any():
        zeros = torch.zeros(len(f0_G))
        return Pitch(contour_G=zeros, voiced_G=zeros.clone(), median=0.0)
    log_f0 = np.log(np.maximum(f0_G.astype(np.float64), 1.0) / REFERENCE_HZ)
    median = float(np.median(log_f0[voiced]))
    index = np.arange(len(f0_G))
    contour = np.interp(index, index[voiced], log_f0[voiced] - median) / PITCH_SCALE
    return Pitch(
        contour_G=torch.from_numpy(contour.astype(np.float32)),
        voiced_G=torch.from_numpy(voiced.astype(np.float32)),
        median=median,
    )


def pitch_hz(contour_BG: Tensor, median_B: Tensor) -> Tensor:
    """F0 in Hz of a contour around a median, kept between 40 and 700 Hz."""
    log_f0 = contour_BG * PITCH_SCALE + median_B[:, None] + math.log(REFERENCE_HZ)
    return torch.exp(log_f0).clamp(40.0, 700.0)


def scale_mel(mel_BMG: Tensor) -> Tensor:
    """Log-mel brought to roughly −2 … 2."""
    return (mel_BMG + 5.0) / 3.0


def pair_frames(mel_BMG: Tensor) -> Tensor:
    """Two mel frames side by side: `[B, F, 2 · M]` with F = G / 2."""
    batch, bands, frames = mel_BMG.shape
    return mel_BMG.transpose(1, 2).reshape(batch, frames // 2, 2 * bands)


def unpair_frames(x_BFW: Tensor) -> Tensor:
    """The inverse of `pair_frames`: `mel_BMG`."""
    batch, frames, width = x_BFW.shape
    return x_BFW.reshape(batch, 2 * frames, width // 2).transpose(1, 2)


def active_mean(mel_BMG: Tensor) -> Tensor:
    """Mean spectrum `[B, M, 1]` over the louder frames, which speaker and channel shape."""
    energy_B1G = mel_BMG.mean(dim=1, keepdim=True)
    loud = (energy_B1G >= energy_B1G.mean(dim=-1, keepdim=True)).to(mel_BMG.dtype)
    return (mel_BMG * loud).sum(-1, keepdim=True) / loud.sum(-1, keepdim=True).clamp_min(1)


def speech_gain(wave_T: Tensor, level_rms: float) -> float:
    """Factor that brings the wave's speech (its louder 20 ms frames) to `level_rms`."""
    usable = len(wave_T) // 320 * 320
    power = wave_T[:usable].reshape(-1, 320).pow(2).mean(-1) if usable else wave_T.pow(2)
    loud = power >= power.mean()
    rms = float(power[loud].mean().sqrt())
    return level_rms / max(rms, 1e-5)
