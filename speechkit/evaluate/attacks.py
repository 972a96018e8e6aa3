"""What happens to speech between the one who makes it and the one who looks for its watermark.

Legend: T samples at 16 kHz.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import torch
from torch import Tensor

from speechkit.core.audio import encode_audio, read_audio
from speechkit.core.rng import integer
from speechkit.core.timebase import SAMPLE_RATE_HZ

Attack = Callable[[Tensor, torch.Generator], Tensor]
"""(wave_T, rng) to wave_T."""

OPUS_BITS = 24_000
CROP_SECONDS = 2.0


def through_file(suffix: str) -> Attack:
    """Through a 16-bit file of this kind."""

    def attack(wave_T: Tensor, _rng: torch.Generator) -> Tensor:
        return read_audio(io.BytesIO(encode_audio(wave_T, SAMPLE_RATE_HZ, suffix)), SAMPLE_RATE_HZ)

    return attack


def through_codec(kind: str, subtype: str, level: float) -> Attack:
    """Through a lossy codec of libsndfile; `level` is its compression level, 0 to 1."""

    def attack(wave_T: Tensor, _rng: torch.Generator) -> Tensor:
        import soundfile

        buffer = io.BytesIO()
        soundfile.write(
            buffer,
            wave_T.numpy(),
            SAMPLE_RATE_HZ,
            format=kind,
            subtype=subtype,
            compression_level=level,
        )
        buffer.seek(0)
        return read_audio(buffer, SAMPLE_RATE_HZ)

    return attack


def opus_level(bits_per_second: int) -> float:
    """libsndfile's compression level for mono Opus at a bit rate, from 256 down to 6 kb/s."""
    return 1 - (bits_per_second - 6_000) / 250_000


def gain(decibels: float) -> Attack:
    """Louder or softer, then 16 bits: what is too loud is clipped."""

    def attack(wave_T: Tensor, rng: torch.Generator) -> Tensor:
        return through_file(".wav")(wave_T * 10 ** (decibels / 20), rng)

    return attack


def resampled(wave_T: Tensor, _rng: torch.Generator) -> Tensor:
    """To 8 kHz and back."""
    import soxr

    narrow = soxr.resample(wave_T.numpy(), SAMPLE_RATE_HZ, 8_000)
    return torch.from_numpy(soxr.resample(narrow, 8_000, SAMPLE_RATE_HZ))


def noisy(snr_db: float) -> Attack:
    """White noise at this ratio to the whole clip's power."""

    def attack(wave_T: Tensor, rng: torch.Generator) -> Tensor:
        level = wave_T.square().mean().sqrt() * 10 ** (-snr_db / 20)
        return wave_T + level * torch.randn(wave_T.shape, generator=rng)

    return attack


def crop(wave_T: Tensor, rng: torch.Generator) -> Tensor:
    """2 s from anywhere, or the whole where there is not more."""
    samples = round(CROP_SECONDS * SAMPLE_RATE_HZ)
    room = max(0, len(wave_T) - samples)
    start = integer(room + 1, rng)
    return wave_T[start : start + samples]


def then(*attacks: Attack) -> Attack:
    """One after the other."""

    def attack(wave_T: Tensor, rng: torch.Generator) -> Tensor:
        for one in attacks:
            wave_T = one(wave_T, rng)
        return wave_T

    return attack


OPUS = through_codec("OGG", "OPUS", opus_level(OPUS_BITS))

ATTACKS: dict[str, Attack] = {
    "16-bit WAV": through_file(".wav"),
    "16-bit FLAC": through_file(".flac"),
    "gain +12 dB": gain(12),
    "gain -12 dB": gain(-12),
    "8 kHz and back": resampled,
    "Opus 24 kb/s": OPUS,
    "MP3": through_codec("MP3", "MPEG_LAYER_III", 0.5),
    "noise 30 dB": noisy(30),
    "noise 20 dB": noisy(20),
    "Opus, 8 kHz": then(OPUS, resampled),
}
"""By the name that the report gives them."""
