"""Watermarking finished speech, and what `detect` will say of it.

Legend: T samples.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from speechkit.watermark.code import Watermark
from speechkit.watermark.detection import MIN_SECONDS, detect
from speechkit.watermark.embedding import embed

SURE_SECONDS = 4.0
"""Longer speech carries its watermark for certain; up to here the detector looks, in 40 ms."""


SURE_P_VALUE = 1e-11
"""What short speech must show, far below the detector's own threshold: Vorbis and the like take
some of it away."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Watermarked:
    """A wave and what it carries."""

    wave_T: Tensor
    """As long as it was; unchanged where it has no watermark."""

    payload: int | None
    """What a detector reads off it; None where there is no watermark."""

    notes: tuple[str, ...] = ()
    """Why there is none although one was asked for."""


def apply_watermark(
    wave_T: Tensor, sample_rate_hz: int, watermark: Watermark | None
) -> Watermarked:
    """Speech with its watermark, which None leaves out; too short or faint speech stays as it is.

    `payload` and `notes` belong into the result that the user sees, so that it never claims a
    watermark that `detect` does not find. Raises AudioError as `embed` does.
    """
    if watermark is None:
        return Watermarked(wave_T=wave_T, payload=None)
    seconds = len(wave_T) / sample_rate_hz
    if seconds < MIN_SECONDS:
        note = f"Too short to carry a watermark: {seconds:.2f} s, and it takes {MIN_SECONDS:g} s."
        return Watermarked(wave_T=wave_T, payload=None, notes=(note,))
    watermarked_T = embed(wave_T, sample_rate_hz, watermark.payload)
    if seconds < SURE_SECONDS and not _outlives_coding(watermarked_T, sample_rate_hz, watermark):
        note = f"No watermark: there is too little sound in {seconds:.2f} s to carry one."
        return Watermarked(wave_T=wave_T, payload=None, notes=(note,))
    return Watermarked(wave_T=watermarked_T, payload=watermark.payload)


def _outlives_coding(wave_T: Tensor, sample_rate_hz: int, watermark: Watermark) -> bool:
    """Whether the watermark is found by so much that a lossy file will still show it."""
    found = detect(wave_T, sample_rate_hz)
    return found.payload == watermark.payload and found.p_value < SURE_P_VALUE
