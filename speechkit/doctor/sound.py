"""Which kinds of audio file can be written and read here.

Legend: T samples.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from speechkit.core.errors import SpeechkitError
from speechkit.doctor.finding import Finding, ok, problem, warning

if TYPE_CHECKING:
    from torch import Tensor

RATE_HZ = 16_000
TONE_HZ = 440.0

_TOLERANCE_HZ = 4.0
_TOLERANCE_SECONDS = 0.15
"""Codecs with frames pad by some tens of milliseconds."""

_WRITTEN = {"wav": ".wav", "flac": ".flac", "ogg vorbis": ".ogg"}
_READ_ONLY = {"ogg opus": ("OGG", "OPUS"), "mp3": ("MP3", "MPEG_LAYER_III")}
"""Kinds that users bring and speechkit does not write: (libsndfile's format, subtype)."""


def check_audio() -> Iterator[Finding]:
    """A tone through every kind of file, in memory: is it the same tone afterwards?"""
    from speechkit.core.audio import encode_audio

    tone_T = _tone()
    for name, suffix in _WRITTEN.items():
        try:
            _read_back(encode_audio(tone_T, RATE_HZ, suffix))
        except Exception as error:
            advice = "Install soundfile again: its wheel brings the library that does this."
            yield problem(f"audio {name}", f"Cannot be written and read: {error}", advice)
        else:
            yield ok(f"audio {name}", "Written and read back.")
    for name, kind in _READ_ONLY.items():
        try:
            _read_back(_encoded(tone_T, *kind))
        except Exception as error:
            advice = "Give recordings as WAV or FLAC, or install a newer soundfile."
            yield warning(f"audio {name}", f"Cannot be read: {error}", advice)
        else:
            yield ok(f"audio {name}", "Read.")


def _tone() -> Tensor:
    """One second of a tone."""
    import torch

    time_T = torch.arange(RATE_HZ) / RATE_HZ
    return 0.5 * torch.sin(2 * torch.pi * TONE_HZ * time_T)


def _encoded(wave_T: Tensor, kind: str, subtype: str) -> bytes:
    """A file of a kind that `encode_audio` does not write."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, wave_T.numpy(), RATE_HZ, format=kind, subtype=subtype)
    return buffer.getvalue()


def _read_back(data: bytes) -> None:
    """Raise SpeechkitError unless the file holds the tone."""
    import torch

    from speechkit.core.audio import read_audio

    wave_T = read_audio(io.BytesIO(data), RATE_HZ)
    seconds = len(wave_T) / RATE_HZ
    loudest = int(torch.fft.rfft(wave_T).abs().argmax())
    heard_hz = loudest / seconds
    if abs(heard_hz - TONE_HZ) > _TOLERANCE_HZ or abs(seconds - 1) > _TOLERANCE_SECONDS:
        raise SpeechkitError(f"a tone of 440 Hz came back as {heard_hz:.0f} Hz, {seconds:.2f} s")
