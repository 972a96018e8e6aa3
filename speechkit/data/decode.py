"""From a clip's bytes to its samples.

Shapes: T samples.
"""

from __future__ import annotations

import io
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from speechkit.core.audio import AudioLimits, read_audio
from speechkit.core.errors import AudioError
from speechkit.data.clips import ClipSource
from speechkit.data.packed import PACKED_SAMPLE_RATE_HZ
from speechkit.data.speed import played

SILENCE_WINDOW_SAMPLES = 800
"""Length of the windows that loudness is measured in: 50 ms."""


def open_audio(clip: ClipSource) -> BinaryIO:
    """Return the clip's audio file as a stream, cut out of its shard where it lies in one."""
    if clip.size_bytes is None:
        return clip.path.open("rb")
    with clip.path.open("rb") as shard:
        shard.seek(clip.offset_bytes)
        return io.BytesIO(shard.read(clip.size_bytes))


def header_slack(seconds: float) -> float:
    """Return by how much a table's rounded length may differ from the file's."""
    return 0.1 + 0.01 * max(seconds, 0.0)


def header_seconds(clip: ClipSource) -> float:
    """Return the length that the file's header states; raises AudioError for no audio."""
    import soundfile

    try:
        with open_audio(clip) as stream, soundfile.SoundFile(stream) as audio:
            return float(audio.frames / audio.samplerate) - clip.start_seconds
    except soundfile.LibsndfileError as error:
        # Without its prefix, which names a stream.
        raise AudioError(f"it is damaged or not an audio file: {error.error_string}") from error


def read_pcm(clip: ClipSource, max_bytes: int) -> npt.NDArray[np.int16]:
    """Return pcm_T of the clip, played at its speed, at 16 kHz; raises AudioError for no audio."""
    with open_audio(clip) as stream:
        audio_limits = AudioLimits(max_bytes=max_bytes)
        wave_T = read_audio(stream, PACKED_SAMPLE_RATE_HZ, audio_limits, name="it").numpy()
    if not np.isfinite(wave_T).all():
        raise AudioError("it holds NaN or infinite samples")
    first = round(clip.start_seconds * PACKED_SAMPLE_RATE_HZ)
    end = None if clip.seconds is None else first + round(clip.seconds * PACKED_SAMPLE_RATE_HZ)
    rest = (wave_T.shape[0] - (end or 0)) / PACKED_SAMPLE_RATE_HZ
    if first == 0 and rest < header_slack(wave_T.shape[0] / PACKED_SAMPLE_RATE_HZ):
        # All of it, which a table rounds.
        end = None
    pcm_T = np.clip(np.rint(wave_T[first:end] * 32768.0), -32768, 32767).astype(np.int16)
    return played(pcm_T, clip.speed)


def loudest_dbfs(pcm_T: npt.NDArray[np.int16]) -> float:
    """Return the RMS of the loudest 50 ms in dB of full scale; -inf for nothing at all."""
    whole = pcm_T.shape[0] - pcm_T.shape[0] % SILENCE_WINDOW_SAMPLES
    if whole == 0:
        return -np.inf
    windows = pcm_T[:whole].reshape(-1, SILENCE_WINDOW_SAMPLES).astype(np.float64) / 32768.0
    # Without a constant offset, which carries no sound however large it is.
    power = float(windows.var(axis=1).max())
    return float(10.0 * np.log10(power)) if power > 0 else -np.inf
