"""Audio that is encoded while it is made, for somebody who reads it at the same time.

Legend: T samples.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from speechkit.core.audio import coding_of, write_blocks
from speechkit.core.errors import AudioError

if TYPE_CHECKING:
    from torch import Tensor

_UNKNOWN = b"\xff\xff\xff\xff"
"""A length in the header of a WAV file that is being written."""


class AudioEncoder:
    """Encodes a wave that comes in pieces for somebody who reads while it is made.

    What `push` and `flush` return, joined, is a file. Lengths that stand in its header are not
    known when that is sent: they stay at what the format has for "unknown" or at their maximum.
    """

    def __init__(self, sample_rate_hz: int, suffix: str) -> None:
        """Raises AudioError for a format or rate that cannot be written."""
        import soundfile

        kind, subtype = coding_of(suffix)
        # Readers tell the length of an MP3 without a tag from its size and first frame.
        rate: dict[str, Any] = (
            {"bitrate_mode": "CONSTANT", "compression_level": 0.7} if suffix == ".mp3" else {}
        )
        self._sink = _Sink()
        try:
            self._sound = soundfile.SoundFile(
                self._sink, "w", sample_rate_hz, 1, subtype, format=kind, **rate
            )
        except (soundfile.SoundFileError, ValueError) as error:
            raise AudioError(f"Cannot write {suffix} at {sample_rate_hz} Hz: {error}") from error
        # A reader takes a length of 0 at its word.
        self._lengths = {4: _UNKNOWN, 40: _UNKNOWN} if suffix == ".wav" else {}

    def push(self, wave_T: Tensor) -> bytes:
        """The bytes that are ready after some more samples; raises AudioError if not finite."""
        if len(wave_T):
            write_blocks(self._sound, wave_T)
        return self._sink.take(self._lengths)

    def flush(self) -> bytes:
        """The rest."""
        self._sound.close()
        return self._sink.take(self._lengths)


class _Sink:
    """A file that libsndfile writes and somebody else empties; changes to sent bytes are lost."""

    def __init__(self) -> None:
        self._data, self._sent, self._place = bytearray(), 0, 0

    def write(self, data: bytes) -> int:
        """Put bytes at the current place."""
        skipped = max(0, self._sent - self._place)
        start = self._place + skipped - self._sent
        kept = bytes(data)[skipped:]
        self._data[start : start + len(kept)] = kept
        self._place += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the place."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place}.get(whence, self._sent + len(self._data))
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        """The place."""
        return self._place

    def read(self, size: int = -1) -> bytes:
        """Nothing: it is written alone."""
        return b""

    def take(self, fields: dict[int, bytes]) -> bytes:
        """The bytes that came since the last time; `fields` stand at these places of the first."""
        for start, value in fields.items() if not self._sent and self._data else ():
            self._data[start : start + len(value)] = value
        data = bytes(self._data)
        self._sent += len(data)
        self._data.clear()
        return data
