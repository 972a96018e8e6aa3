"""Audio files in and out, and voice prompts made fit for use.

Every file is taken to be hostile: its kind, size and length are checked before it is decoded, and
decoding goes block by block, so memory is bounded by the limits and not by what a header claims.

Legend: T samples, N samples of one decoded block, C channels.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from speechkit.core.errors import AudioError, PromptError
from speechkit.core.files import open_regular, write_atomically
from speechkit.core.timebase import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_BLOCK_SAMPLES = 1 << 18
_MIN_FILE_RATE_HZ, _MAX_FILE_RATE_HZ = 4_000, 384_000
_MAX_CHANNELS = 64
AUDIO_FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
"""Container and coding of each kind of file that can be written."""

AUDIO_SUFFIXES = tuple(AUDIO_FORMATS)
"""Endings of the files that can be written."""

_UNKNOWN_FRAMES = (1 << 63) - 1
"""What libsndfile says of a FLAC file whose header does not tell its length."""
_MAGIC = (b"RIFF", b"RF64", b"riff", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff")

MIN_PROMPT_SECONDS = 1.0
_FRAME_SECONDS = 0.02
_SILENT_RMS = 5e-4
"""A frame below -66 dB of full scale holds no voice; room noise of a usable recording is above."""
_MIN_SOUND_SECONDS = 0.2
_CLIPPED_LEVEL = 0.985
_CLIPPED_SHARE = 1e-3
_OVERSHOOT = 2.0
"""Resampling lifts a clipped peak a little over 1; more than this is a wrongly scaled file."""


@dataclass(frozen=True, kw_only=True)
class AudioLimits:
    """What `read_audio` is willing to read."""

    max_bytes: int = 512 * 1024**2
    """Largest file."""
    max_seconds: float = 3600.0
    """Longest recording."""


DEFAULT_LIMITS = AudioLimits()


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompt:
    """A recording that a voice can be taken from."""

    wave_T: Tensor
    """Float32, no DC, peak at most 1."""
    seconds: float
    """Length of ``wave_T``."""
    notes: tuple[str, ...]
    """What was changed or is not ideal, one sentence each; for the user to read."""


def read_audio(
    source: str | Path | BinaryIO,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    limits: AudioLimits = DEFAULT_LIMITS,
) -> Tensor:
    """Return a recording as a float32 mono ``wave_T`` at ``sample_rate_hz``.

    Reads WAV, FLAC, Ogg (Vorbis, Opus), MP3, AIFF, AU and CAF from a path or an open binary file;
    channels are averaged. A header that promises more than the file holds yields what is there.
    Raises AudioError for anything that is not such a file, is damaged, breaks the limits, or holds
    no samples or samples that are not finite.
    """
    name = f"{source}" if isinstance(source, (str, Path)) else "The audio"
    with _sounding(source, name, limits) as sound:
        blocks = list(_resampled(_decoded(sound, name), sound.samplerate, sample_rate_hz))
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

    if suffix.lower() not in AUDIO_FORMATS:
        raise AudioError(f'Cannot write "{suffix}" files: use one of {", ".join(AUDIO_FORMATS)}.')
    kind, subtype = AUDIO_FORMATS[suffix.lower()]
    samples = 0
    try:
        with soundfile.SoundFile(file, "w", sample_rate_hz, 1, subtype, format=kind) as sound:
            for wave_T in waves:
                samples += write_blocks(sound, wave_T)
    except (soundfile.SoundFileError, ValueError) as error:
        raise AudioError(f"Cannot write {suffix} at {sample_rate_hz} Hz: {error}") from error
    if not samples:
        raise AudioError("There is no sound to write.")
    return samples


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


def prepare_prompt(
    wave_T: Tensor,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    min_seconds: float = MIN_PROMPT_SECONDS,
    max_seconds: float = 30.0,
) -> Prompt:
    """Return a recording as a prompt: DC removed, too loud turned down, too long cropped.

    A crop starts where the sound does. Clipping, a change of level and a crop are told in
    ``notes``. Raises PromptError for a recording that is silent, shorter than ``min_seconds``, not
    mono, or not finite.
    """
    if wave_T.ndim != 1:
        raise PromptError(f"A prompt must be mono, not of shape {tuple(wave_T.shape)}.")

    import torch

    wave_T = wave_T.detach().to("cpu", torch.float32)
    if not bool(torch.isfinite(wave_T).all()):
        raise PromptError("The prompt holds values that are not finite (NaN or infinity).")
    seconds = len(wave_T) / sample_rate_hz
    check_length(seconds, min_seconds)
    notes = []
    peak = float(wave_T.abs().max())
    if peak > _OVERSHOOT:
        notes.append("The prompt is scaled beyond full scale; it was turned down to fit.")
    elif float((wave_T.abs() >= _CLIPPED_LEVEL).float().mean()) > _CLIPPED_SHARE:
        notes.append("The prompt is clipped (recorded too loud); the voice may sound harsh.")
    wave_T = wave_T / max(peak, 1.0)
    wave_T = wave_T - wave_T.double().mean().float()
    first_sample = _first_sound(wave_T, sample_rate_hz)
    longest = int(max_seconds * sample_rate_hz)
    if len(wave_T) > longest:
        start = min(first_sample, len(wave_T) - longest)
        wave_T = wave_T[start : start + longest].clone()
        start_seconds = start / sample_rate_hz
        notes.append(
            f"The prompt is {seconds:.1f} s long; only {start_seconds:.1f} to "
            f"{start_seconds + max_seconds:.1f} s of it was used."
        )
    wave_T = wave_T / max(float(wave_T.abs().max()), 1.0)
    return Prompt(wave_T=wave_T, seconds=len(wave_T) / sample_rate_hz, notes=tuple(notes))


def check_length(seconds: float, min_seconds: float = MIN_PROMPT_SECONDS) -> None:
    """Raise PromptError for a prompt that is too short."""
    if seconds < min_seconds or not seconds:
        raise PromptError(
            f"The prompt is {seconds:.2f} s long: give at least {min_seconds:g} s of speech."
        )


def _first_sound(wave_T: Tensor, sample_rate_hz: int) -> int:
    """Return the sample where sound starts, or raise PromptError when there is hardly any."""
    frame_samples = max(1, round(_FRAME_SECONDS * sample_rate_hz))
    whole = len(wave_T) // frame_samples * frame_samples
    # Around each frame's own mean: after a click, what DC removal leaves elsewhere is no sound.
    rms = wave_T[:whole].view(-1, frame_samples).std(dim=1, correction=0)
    sounding = (rms > _SILENT_RMS).nonzero().flatten()
    if len(sounding) * _FRAME_SECONDS < _MIN_SOUND_SECONDS:
        raise PromptError("The prompt is silent: check the microphone and record it again.")
    return int(sounding[0]) * frame_samples


@contextmanager
def _sounding(source: str | Path | BinaryIO, name: str, limits: AudioLimits) -> Iterator[Any]:
    """Give ``source`` as an open SoundFile that keeps the limits; AudioError for whatever fails."""
    import soundfile

    with _opened(source, name, limits) as file:
        try:
            with soundfile.SoundFile(file) as sound:
                _check_promises(sound, name, limits)
                yield sound
        except (soundfile.SoundFileError, OSError, ValueError) as error:
            raise AudioError(f"{name} is damaged or not an audio file: {error}") from error


@contextmanager
def _opened(
    source: str | Path | BinaryIO, name: str, limits: AudioLimits
) -> Iterator[BinaryIO | io.BytesIO]:
    """Give ``source`` as an open file or buffer that is small enough and starts as audio does."""
    if not isinstance(source, (str, Path)):
        # A copy, because the stream may be a pipe, and its name must not decide on the format.
        data = source.read(limits.max_bytes + 1)
        _check_size(len(data), name, limits)
        _check_magic(data[:4], name)
        yield io.BytesIO(data)
        return
    try:
        file = open_regular(source)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise AudioError(f"Cannot open {name}: {reason}.") from error
    with file:
        _check_size(file.seek(0, io.SEEK_END), name, limits)
        file.seek(0)
        _check_magic(file.read(4), name)
        file.seek(0)
        yield file


def _check_size(size_bytes: int, name: str, limits: AudioLimits) -> None:
    """Raise AudioError for a file that is too large."""
    if size_bytes > limits.max_bytes:
        raise AudioError(
            f"{name} is larger than {limits.max_bytes / 1024**2:g} MiB: give a shorter recording."
        )


def _check_magic(first_bytes: bytes, name: str) -> None:
    """Raise AudioError unless the first bytes are those of a known kind of audio file.

    libsndfile knows dozens of rare formats, some by guess; their parsers see no input from here.
    """
    mp3_frame = len(first_bytes) > 1 and first_bytes[0] == 0xFF and first_bytes[1] >= 0xE0
    if not mp3_frame and not first_bytes.startswith(_MAGIC):
        raise AudioError(f"{name} is not an audio file: give WAV, FLAC, Ogg or MP3.")


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


def _decoded(sound: Any, name: str) -> Iterator[NDArray[np.float32]]:
    """Yield the file as mono blocks of at most 2**18 values before mixing."""
    remaining = sound.frames
    while remaining > 0:
        wanted = min(remaining, max(1, _BLOCK_SAMPLES // sound.channels))
        block_NC = sound.read(wanted, dtype="float32", always_2d=True)
        if not len(block_NC):
            return
        if not np.isfinite(block_NC).all():
            raise AudioError(f"{name} holds values that are not finite (NaN or infinity).")
        remaining -= len(block_NC)
        yield block_NC.mean(axis=1, dtype=np.float64).astype(np.float32)


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
