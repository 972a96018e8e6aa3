"""Answers in each format: sound whole or as it is made, bare, as events, or with word times."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import soxr
from torch import Tensor

from speechkit.core.audio import encode_audio, pcm16
from speechkit.core.encoder import AudioEncoder
from speechkit.core.results import Speech
from speechkit.narration import SpeechPiece
from speechkit.subtitles import timed_words

PCM_RATE_HZ = 24_000
"""Of `pcm`, which carries no rate: OpenAI's clients play it at this one."""

MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg; codecs=opus",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": f"audio/pcm; rate={PCM_RATE_HZ}; channels=1",
}


class _Encoder(Protocol):
    def push(self, wave_T: Tensor) -> bytes: ...

    def flush(self) -> bytes: ...


class _PcmEncoder:
    """Bare 16-bit samples at `PCM_RATE_HZ`, lowest byte first."""

    def __init__(self, sample_rate_hz: int) -> None:
        self._stream = soxr.ResampleStream(sample_rate_hz, PCM_RATE_HZ, 1, dtype="int16")

    def push(self, wave_T: Tensor) -> bytes:
        return self._bytes(pcm16(wave_T), last=False) if len(wave_T) else b""

    def flush(self) -> bytes:
        return self._bytes(np.zeros(0, np.int16), last=True)

    def _bytes(self, pcm_T: Any, *, last: bool) -> bytes:
        return bytes(self._stream.resample_chunk(pcm_T, last=last).astype("<i2").tobytes())


def encode_pieces(
    pieces: Iterable[SpeechPiece], sample_rate_hz: int, audio_format: str
) -> Iterator[tuple[bytes, SpeechPiece | None]]:
    """Bytes of sound as it is made, with the piece that each is of; None comes with the last."""
    encoder: _Encoder = (
        _PcmEncoder(sample_rate_hz)
        if audio_format == "pcm"
        else AudioEncoder(sample_rate_hz, f".{audio_format}")
    )
    for piece in pieces:
        yield encoder.push(piece.wave_T), piece
    yield encoder.flush(), None


def encode_whole(speech: Speech, audio_format: str) -> bytes:
    """The sound as one file."""
    if audio_format == "pcm":
        encoder = _PcmEncoder(speech.sample_rate_hz)
        return encoder.push(speech.wave_T) + encoder.flush()
    return encode_audio(speech.wave_T, speech.sample_rate_hz, f".{audio_format}")


def event(kind: str, **fields: Any) -> bytes:
    """One server-sent event as OpenAI's speech endpoint has them."""
    return f"data: {json.dumps({'type': f'speech.audio.{kind}', **fields})}\n\n".encode()


def delta(sound: bytes, piece: SpeechPiece | None, *, timestamps: bool) -> bytes:
    """The event of some sound."""
    words = timed_words(piece.words) if piece else []
    extra = {"words": words} if timestamps else {}
    return event("delta", audio=base64.b64encode(sound).decode(), **extra)


def with_times(speech: Speech, audio_format: str) -> bytes:
    """The sound in base64 and the times of its words, as JSON."""
    rate_hz = PCM_RATE_HZ if audio_format == "pcm" else speech.sample_rate_hz
    told = {
        "audio": base64.b64encode(encode_whole(speech, audio_format)).decode(),
        "format": audio_format,
        "sample_rate_hz": rate_hz,
        "seconds": round(speech.seconds, 3),
        "words": timed_words(speech.words),
        "notes": list(speech.notes),
        "seed": speech.seed,
        "watermark": speech.watermark,
    }
    return json.dumps(told).encode()
