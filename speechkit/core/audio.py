"""Audio files in and out.

Every file is taken to be hostile: its kind, size and length are checked before it is decoded, and
decoding goes block by block, so memory is bounded by the limits and not by what a header claims.

Legend: T samples, N samples of one decoded block, C channels.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from speechkit.core.errors import AudioError, PromptError
from speechkit.core.files import open_regular, write_atomically
from speechkit.core.formats import AUDIO_FORMATS, HEAD_BYTES, complaint, padding
from speechkit.core.timebase import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_BLOCK_SAMPLES = 1 << 18
_MIN_FILE_RATE_HZ, _MAX_FILE_RATE_HZ = 4_000, 384_000
_MAX_CHANNELS = 64
_UNKNOWN_FRAMES = (1 << 63) - 1
"""What libsndfile says of a FLAC file whose header does not tell its length."""

MIN_PROMPT_SECONDS = 1.0
_CANCELLED = 0.1
"""Channels cancel where their mean has less than this share of the power it should have."""


@dataclass(frozen=True, kw_only=True)
class AudioLimits:
    """What `read_audio` is willing to read."""

    max_bytes: int = 512 * 1024**2
    """Largest file."""
    max_seconds: float = 3600.0
    """Longest recording."""


DEFAULT_LIMITS = AudioLimits()


def read_audio(
    source: str | Path | BinaryIO,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    limits: AudioLimits = DEFAULT_LIMITS,
    *,
    name: str = "",
) -> Tensor:
    """Return a recording as a float32 mono ``wave_T`` at ``sample_rate_hz``.

    Reads WAV, FLAC, Ogg (Vorbis, Opus), MP3, AIFF, AU and CAF from a path or an open binary file.
    Channels are averaged; where they cancel each other (one is the other inverted) the loudest is
    taken. A header that promises more than the file holds yields what is there. ``name`` is what
    errors call the recording, by default the path. Raises AudioError for anything that is not such
    a file, is damaged, breaks the limits, or holds no samples or samples that are not finite.
    """
    name = name or (f"{source}" if isinstance(source, (str, Path)) else "The audio")
    with _sounding(source, name, limits) as sound:
        mix = _Mix(sound, name)
        blocks = list(_resampled(mix.blocks(), sound.samplerate, sample_rate_hz))
        if mix.cancels:
            sound.seek(0)
            blocks = list(_resampled(mix.loudest(), sound.samplerate, sample_rate_hz))
    wave_T = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    if not len(wave_T):
        raise AudioError(f"{name} holds no sound: record it again.")

    import torch

    return torch.from_numpy(wave_T)


def audio_seconds(source: str | Path, limits: AudioLimits = DEFAULT_LIMITS) -> float:
    """Return how long a recording says it is, without decoding it or importing torch.

    Raises AudioError as `read_audio` does for what shows in the first bytes and the header.
    """
    with _sounding(source, f"{source}", limits) as sound:
        return float(sound.frames / sound.samplerate)


def encode_audio(wave_T: Tensor, sample_rate_hz: int, suffix: str = ".wav") -> bytes:
    """Return ``wave_T`` as the bytes of a mono file of a kind in `AUDIO_SUFFIXES`, WAV and FLAC
    with 16 bits.

    Samples beyond ±1 are clipped. Raises AudioError for another suffix, for no samples, and for
    samples that are not finite.
    """
    buffer = io.BytesIO()
    _encode([wave_T], sample_rate_hz, suffix, buffer)
    return buffer.getvalue()


def write_audio(path: str | Path, wave_T: Tensor, sample_rate_hz: int) -> None:
    """Write ``wave_T`` to ``path`` as its suffix, one of `AUDIO_SUFFIXES`, says.

    The file appears complete or not at all. Raises AudioError as `encode_audio` does, and when the
    disk refuses.
    """
    write_audio_pieces(path, [wave_T], sample_rate_hz)


def write_audio_pieces(path: str | Path, waves: Iterable[Tensor], sample_rate_hz: int) -> int:
    """Write waves one after the other as they come, and return how many samples that were.

    The file appears under its name when the last wave is written, or not at all. Raises AudioError
    as `write_audio` does, and whatever ``waves`` raises.
    """
    samples = 0

    def write(temporary: Path) -> None:
        nonlocal samples
        with temporary.open("wb") as file:
            samples = _encode(waves, sample_rate_hz, Path(path).suffix, file)

    try:
        write_atomically(path, write)
    except OSError as error:
        raise AudioError(f"Cannot write {path}: {error.strerror}.") from error
    return samples


def _encode(
    waves: Iterable[Tensor], sample_rate_hz: int, suffix: str, file: BinaryIO | io.BytesIO
) -> int:
    """Encode waves into an open file, and return how many samples that were."""
    import soundfile

    kind, subtype = coding_of(suffix)
    samples, sink = 0, _Stream(file)
    try:
        with soundfile.SoundFile(sink, "w", sample_rate_hz, 1, subtype, format=kind) as sound:
            for wave_T in waves:
                samples += write_blocks(sound, wave_T)
    except (soundfile.SoundFileError, ValueError) as error:
        sink.check()
        raise AudioError(f"Cannot write {suffix} at {sample_rate_hz} Hz: {error}") from error
    sink.check()
    if not samples:
        raise AudioError("There is no sound to write.")
    return samples


def coding_of(suffix: str) -> tuple[str, str]:
    """Container and coding of the files that end so; raises AudioError where none are written."""
    if suffix.lower() not in AUDIO_FORMATS:
        raise AudioError(f'Cannot write "{suffix}" files: use one of {", ".join(AUDIO_FORMATS)}.')
    return AUDIO_FORMATS[suffix.lower()]


class _Stream:
    """An open file as soundfile uses it: what the system refuses is kept until `check`.

    libsndfile calls these from C, where an exception would be printed and forgotten. A seek to
    nowhere, as damaged headers ask for, goes nowhere.
    """

    def __init__(self, file: BinaryIO | io.BytesIO) -> None:
        self._file = file
        self._refused: OSError | None = None

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; gives how many bytes that were."""
        return self._try(lambda: self._file.readinto(buffer))  # type: ignore[union-attr]

    def write(self, data: bytes) -> int:
        """Write, or pretend to."""
        self._try(lambda: self._file.write(data))
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; gives where that is."""
        return self._try(lambda: self._file.seek(offset, whence))

    def tell(self) -> int:
        """Where the file stands."""
        return self._try(self._file.tell)

    def check(self) -> None:
        """Raise the first OSError that there was."""
        self._try(lambda: self._file.flush() or 0)
        if self._refused is not None:
            raise self._refused

    def _try(self, call: Callable[[], int]) -> int:
        try:
            return 0 if self._refused else call()
        except ValueError:
            return 0
        except OSError as error:
            if error.errno != errno.EINVAL:
                self._refused = error
            return 0


def write_blocks(sound: Any, wave_T: Tensor) -> int:
    """Write a wave to an open file, and return how many samples that were."""
    pcm_T = pcm16(wave_T)
    # In blocks, because libsndfile overflows its stack on one long Vorbis write.
    for start in range(0, len(pcm_T), _BLOCK_SAMPLES // 16):
        sound.write(pcm_T[start : start + _BLOCK_SAMPLES // 16])
    return len(pcm_T)


def pcm16(wave_T: Tensor) -> NDArray[np.int16]:
    """A mono wave as 16-bit samples, clipped at ±1; raises AudioError for what is none."""
    if wave_T.ndim != 1 or not len(wave_T):
        raise AudioError(f"There is no mono sound to write: its shape is {tuple(wave_T.shape)}.")
    import torch

    wave_T = wave_T.detach().to("cpu", torch.float32)
    if not bool(torch.isfinite(wave_T).all()):
        raise AudioError("The sound to write holds values that are not finite (NaN or infinity).")
    # By 32768, the inverse of reading: what was read from 16 bits is written back bit for bit.
    return (wave_T * 32768).round().clamp(-32768, 32767).to(torch.int16).numpy()


@contextmanager
def naming(source: str | Path) -> Iterator[None]:
    """Put a recording's name in front of a PromptError, which does not know it."""
    try:
        yield
    except PromptError as error:
        raise PromptError(f"{source}: {error}") from error


def check_length(seconds: float, min_seconds: float = MIN_PROMPT_SECONDS) -> None:
    """Raise PromptError for a prompt that is too short."""
    if seconds < min_seconds or not seconds:
        raise PromptError(
            f"The prompt is {seconds:.2f} s long: give at least {min_seconds:g} s of speech."
        )


@contextmanager
def _sounding(source: str | Path | BinaryIO, name: str, limits: AudioLimits) -> Iterator[Any]:
    """Give ``source`` as an open SoundFile that keeps the limits; AudioError for whatever fails."""
    import soundfile

    with _opened(source, name, limits) as file:
        try:
            stream = _Stream(file)
            with soundfile.SoundFile(stream) as sound:
                _check_promises(sound, name, limits)
                yield sound
            stream.check()
        except soundfile.LibsndfileError as error:
            # Without the prefix, which names a stream.
            reason = error.error_string.strip().rstrip(".")
            raise AudioError(f"{name} is damaged or not an audio file: {reason}.") from error
        except (soundfile.SoundFileError, OSError, ValueError) as error:
            raise AudioError(f"{name} is damaged or not an audio file: {error}.") from error


@contextmanager
def _opened(
    source: str | Path | BinaryIO, name: str, limits: AudioLimits
) -> Iterator[BinaryIO | io.BytesIO]:
    """Give ``source`` as an open file or buffer that is small enough and starts as audio does."""
    if not isinstance(source, (str, Path)):
        # A copy, because the stream may be a pipe, and its name must not decide on the format.
        data = source.read(limits.max_bytes + 1)
        _check_size(len(data), name, limits)
        yield io.BytesIO(data[_start(data[:HEAD_BYTES], name) :])
        return
    try:
        file = open_regular(source)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise AudioError(f"Cannot open {name}: {reason}.") from error
    with file:
        try:
            size = file.seek(0, io.SEEK_END)
            _check_size(size, name, limits)
            file.seek(0)
            start = _start(file.read(HEAD_BYTES), name)
            file.seek(start)
            # libsndfile wants a file to begin at its beginning.
            whole = io.BytesIO(file.read()) if start else file
        except OSError as error:
            raise AudioError(f"Cannot read {name}: {error.strerror}.") from error
        yield whole


def _start(head: bytes, name: str) -> int:
    """Where the audio starts in a file; raises AudioError where it is none that is read here."""
    start = padding(head)
    if told := complaint(head[start:]):
        raise AudioError(f"{name} {told}.")
    return start


def _check_size(size_bytes: int, name: str, limits: AudioLimits) -> None:
    """Raise AudioError for a file that is too large."""
    if size_bytes > limits.max_bytes:
        raise AudioError(
            f"{name} is larger than {limits.max_bytes / 1024**2:g} MiB: give a shorter recording."
        )


def _check_promises(sound: Any, name: str, limits: AudioLimits) -> None:
    """Raise AudioError when the header announces more than the limits allow."""
    if not _MIN_FILE_RATE_HZ <= sound.samplerate <= _MAX_FILE_RATE_HZ:
        raise AudioError(
            f"{name} has a sample rate of {sound.samplerate} Hz: give one between "
            f"{_MIN_FILE_RATE_HZ} and {_MAX_FILE_RATE_HZ}."
        )
    if sound.channels > _MAX_CHANNELS:
        raise AudioError(f"{name} has {sound.channels} channels: give mono or stereo.")
    if sound.frames == _UNKNOWN_FRAMES:
        raise AudioError(f"{name} does not say how long it is: save it again, not as a stream.")
    if sound.frames > limits.max_seconds * sound.samplerate:
        raise AudioError(
            f"{name} is {sound.frames / sound.samplerate:.0f} s long: the limit is "
            f"{limits.max_seconds:g} s, cut out the part you need."
        )


class _Mix:
    """The channels of a recording as one, block by block."""

    def __init__(self, sound: Any, name: str) -> None:
        self._sound, self._name = sound, name
        self._energy_C = np.zeros(sound.channels)
        self._mixed = 0.0

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """The mean of the channels; raises AudioError for values that are not finite."""
        for block_NC in self._decoded():
            if not np.isfinite(block_NC).all():
                message = "holds values that are not finite (NaN or infinity)."
                raise AudioError(f"{self._name} {message}")
            mean_N = block_NC.mean(axis=1, dtype=np.float64)
            self._energy_C += np.square(block_NC, dtype=np.float64).sum(axis=0)
            self._mixed += float(np.square(mean_N).sum())
            yield mean_N.astype(np.float32)

    @property
    def cancels(self) -> bool:
        """Whether the mean that was given has far less power than channels have that share nothing.

        Of C such channels it has 1 / C of their mean power.
        """
        channels = len(self._energy_C)
        return self._mixed < _CANCELLED * float(self._energy_C.mean()) / channels

    def loudest(self) -> Iterator[NDArray[np.float32]]:
        """The loudest channel, from where the file stands."""
        channel = int(self._energy_C.argmax())
        for block_NC in self._decoded():
            yield np.ascontiguousarray(block_NC[:, channel])

    def _decoded(self) -> Iterator[NDArray[np.float32]]:
        """Blocks of all channels, of at most 2**18 values."""
        remaining = self._sound.frames
        while remaining > 0:
            wanted = min(remaining, max(1, _BLOCK_SAMPLES // self._sound.channels))
            block_NC = self._sound.read(wanted, dtype="float32", always_2d=True)
            if not len(block_NC):
                return
            remaining -= len(block_NC)
            yield block_NC


def _resampled(
    blocks: Iterator[NDArray[np.float32]], from_hz: int, to_hz: int
) -> Iterator[NDArray[np.float32]]:
    """Yield mono blocks at another sample rate."""
    if from_hz == to_hz:
        yield from blocks
        return
    import soxr

    stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
