"""Finding the watermark, and how sure that is.

Log energies of the bands are whitened with the filter that least squares found on watermarked
speech (it is nearly this product of two short ones), limited, folded onto one period, and compared
with all code words at all offsets.

Shapes: T samples, F frames, N samples of a frame, R bins, W bands, H offsets, S slots, C chips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from speechkit.core.errors import AudioError
from speechkit.core.timebase import SAMPLE_RATE_HZ
from speechkit.watermark.code import BANDS, CHIPS, PAYLOADS, SLOTS, hadamard, masks
from speechkit.watermark.embedding import check_wave

_HOP, _FRAME = 256, 512
_FIRST_BIN, _BAND_BINS = 10, 6

PHASES = 2
"""Offsets tried within a slot."""

WINDOW_SECONDS = 8.192
"""Longest stretch looked at as one: 8 periods. Longer recordings are looked at piece by piece, so
that a watermarked sentence in an hour of other speech is found."""

MIN_SECONDS = 0.6
"""Shorter recordings are never called watermarked. 37 of the 64 slots are enough: all of 58
sentences of 0.54 to 2.1 s were found with their payload, but half a period or less has pairs of
payloads that look the same."""

MAX_P_VALUE = 1e-7
"""A watermark counts as found below this. The watermark is a random sign pattern, so its
correlation with an unwatermarked recording is nearly normal; real recordings reach small values
somewhat more often than that says, hence a threshold far below the rate of false alarms that is
wanted."""

_TIME_WEIGHT = 0.37
_BAND_WEIGHTS = (0.21, 0.13)
_RANGE_DB = 60.0
_LIMIT = 1.5
_SILENT_POWER = 1e-9


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What a recording says about its watermark."""

    present: bool
    """Whether there is a watermark."""

    payload: int | None
    """Its 16 bits; None where there is no watermark."""

    p_value: float
    """Chance that an unwatermarked recording of this length looks so much like watermarked, if its
    tail is normal; that of real speech is slightly heavier."""

    seconds: float
    """Length of the recording."""

    watermarked_seconds: float
    """Length of the stretches in which the watermark was found, to about 4 s."""

    note: str = ""
    """Why nothing can be said, where that is so."""


def detect(wave_T: Tensor, sample_rate_hz: int) -> Detection:
    """Whether a recording carries a watermark, and which.

    Under 0.6 s, or silent, it is never called watermarked. Raises AudioError for what is no mono
    wave of 8 kHz or more.
    """
    check_wave(wave_T, sample_rate_hz)
    if not len(wave_T):
        raise AudioError("There is no sound to look for a watermark in.")
    wave_T = wave_T.detach().to("cpu", torch.float32)
    seconds = len(wave_T) / sample_rate_hz
    if seconds < MIN_SECONDS:
        return _nothing(seconds, f"too short: a watermark takes {MIN_SECONDS:g} s")
    starts = _starts(len(wave_T), sample_rate_hz)
    length = round(WINDOW_SECONDS * sample_rate_hz)
    found: list[tuple[float, int, int]] = []
    for start in starts:
        part_T = resample(wave_T[start : start + length], sample_rate_hz)
        if float(part_T.square().mean()) > _SILENT_POWER:
            score, payload = best_match(part_T)
            found.append((min(1.0, p_value(score) * len(starts)), payload, start))
    if not found:
        return _nothing(seconds, "silent")
    p, payload, _ = min(found)
    if p > MAX_P_VALUE:
        return Detection(
            present=False, payload=None, p_value=p, seconds=seconds, watermarked_seconds=0.0
        )
    watermarked = [start for p, other, start in found if p <= MAX_P_VALUE and other == payload]
    return Detection(
        present=True,
        payload=payload,
        p_value=p,
        seconds=seconds,
        watermarked_seconds=_covered(watermarked, length, len(wave_T)) / sample_rate_hz,
    )


def _nothing(seconds: float, note: str) -> Detection:
    return Detection(
        present=False,
        payload=None,
        p_value=1.0,
        seconds=seconds,
        watermarked_seconds=0.0,
        note=note,
    )


def _starts(samples: int, sample_rate_hz: int) -> list[int]:
    """Where windows begin: half a window apart, the last one at the end."""
    length = round(WINDOW_SECONDS * sample_rate_hz)
    last = max(0, samples - length)
    return [*range(0, last, length // 2), last]


def _covered(starts: list[int], length: int, samples: int) -> int:
    """Samples in the union of windows, which are in order."""
    covered, end = 0, 0
    for start in starts:
        stop = min(start + length, samples)
        covered += stop - max(start, end)
        end = stop
    return covered


def p_value(score: float) -> float:
    """Chance, at most, that any code word at any offset scores so in an unwatermarked stretch."""
    tail = 0.5 * math.erfc(score / math.sqrt(2)) if score > 0 else 1.0
    return min(1.0, PAYLOADS * SLOTS * PHASES * tail)


def best_match(wave_T: Tensor) -> tuple[float, int]:
    """Correlation with the nearest code word at its best offset, in standard deviations, and its
    payload; of up to `WINDOW_SECONDS` at 16 kHz."""
    folded_HC = torch.cat([_folded(wave_T[phase:]) for phase in _phases()])
    norm_H = folded_HC.norm(dim=1).clamp_min(1e-9)
    scaled_HC = folded_HC / norm_H[:, None]
    best, best_payload = 0.0, 0
    # Mask by mask, so that what is worked on stays in the processor's cache.
    for mask, mask_C in enumerate(masks()):
        # The transform of order 1024 by two of order 32, one along each side.
        rows = (scaled_HC * mask_C).reshape(-1, 32) @ hadamard()
        score_HC = (rows.reshape(-1, 32, 32).transpose(1, 2).reshape(-1, 32) @ hadamard()).flatten()
        low, high = score_HC.aminmax()
        value = float(high) if high >= -low else float(low)
        if abs(value) > best:
            column, row = divmod(int((score_HC == value).nonzero()[0]) % CHIPS, 32)
            best = abs(value)
            best_payload = (PAYLOADS // 2 if value < 0 else 0) + mask * CHIPS + row * 32 + column
    return best, best_payload


def _phases() -> range:
    return range(0, _HOP, _HOP // PHASES)


def _folded(wave_T: Tensor) -> Tensor:
    """Chips of one period, [SLOTS, CHIPS]: a row for each slot that the wave may begin in."""
    white_FW = whitened(wave_T)
    periods = -(-len(white_FW) // SLOTS)
    padded_FW = pad(white_FW, (0, 0, 0, periods * SLOTS - len(white_FW)))
    chips_SW = padded_FW.reshape(periods, SLOTS, BANDS).sum(0)
    turned_SSW = torch.stack([chips_SW.roll(turn, 0) for turn in range(SLOTS)])
    return turned_SSW.flatten(1)


def whitened(wave_T: Tensor) -> Tensor:
    """What is left of the log energy of each band and slot after its neighbours' share, [F, W]."""
    frames_FN = wave_T.unfold(0, _FRAME, _HOP) * torch.hann_window(_FRAME)
    power_FR = torch.fft.rfft(frames_FN).abs().square()
    # Two more bands on either side, for the neighbours; the lowest is cut off at 0 Hz.
    last = _FIRST_BIN + (BANDS + 2) * _BAND_BINS
    low = 2 * _BAND_BINS - _FIRST_BIN
    power_FW = pad(power_FR[:, :last], (low, 0)).reshape(-1, BANDS + 4, _BAND_BINS).sum(2)
    level_FW: Tensor = 10 * (power_FW + 1e-12).log10()
    level_FW = level_FW.clamp_min(float(level_FW.max()) - _RANGE_DB)
    level_FW = level_FW - level_FW.mean(0)
    ends_FW = torch.cat([level_FW[:1], level_FW, level_FW[-1:]])
    sharp_FW = level_FW - _TIME_WEIGHT * (ends_FW[:-2] + ends_FW[2:])
    near, far = _BAND_WEIGHTS
    white_FW: Tensor = sharp_FW[:, 2:-2] - near * (sharp_FW[:, 1:-3] + sharp_FW[:, 3:-1])
    white_FW = white_FW - far * (sharp_FW[:, :-4] + sharp_FW[:, 4:])
    limit = _LIMIT * float(white_FW.square().mean().sqrt())
    return white_FW.clamp(-limit, limit)


def resample(wave_T: Tensor, sample_rate_hz: int) -> Tensor:
    """A stretch at 16 kHz, by its spectrum; all that the watermark needs lies below 4 kHz."""
    if sample_rate_hz == SAMPLE_RATE_HZ:
        return wave_T
    samples = round(len(wave_T) * SAMPLE_RATE_HZ / sample_rate_hz)
    spectrum_R = torch.fft.rfft(wave_T)
    kept = min(len(spectrum_R), samples // 2 + 1)
    out_T: Tensor = torch.fft.irfft(spectrum_R[:kept], n=samples) * (samples / len(wave_T))
    return out_T
