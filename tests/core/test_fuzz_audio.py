"""Mutated audio files: each is read whole, or refused in one sentence; none hangs or is lost.

Two hundred files in the plain run, two thousand among the slow tests.
"""

from __future__ import annotations

import io
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from speechkit.core.audio import read_audio
from speechkit.core.errors import SpeechkitError
from speechkit.core.prompt import prepare_prompt
from tests.facodec.builders import babble

RATE_HZ = 16_000
SECONDS = 2.0
MAX_SECONDS_EACH = 20
KINDS = (
    ("WAV", "PCM_16", 1),
    ("WAV", "FLOAT", 2),
    ("WAV", "ULAW", 1),
    ("FLAC", "PCM_16", 2),
    ("OGG", "VORBIS", 1),
    ("OGG", "OPUS", 2),
    ("MP3", "MPEG_LAYER_III", 1),
    ("AIFF", "PCM_16", 1),
    ("CAF", "PCM_16", 1),
)

Bytes = npt.NDArray[np.uint8]
Mutation = Callable[[np.random.Generator, Bytes], Bytes]


def whole_files() -> list[bytes]:
    """A voice in every kind of file."""
    wave = babble(SECONDS)
    files = []
    for kind, subtype, channels in KINDS:
        buffer = io.BytesIO()
        sound = np.stack([wave] * channels, axis=1)
        soundfile.write(buffer, sound, RATE_HZ, subtype=subtype, format=kind)
        files.append(buffer.getvalue())
    return files


def flip(rng: np.random.Generator, data: Bytes) -> Bytes:
    """A few bytes anywhere, half of the time in the header."""
    end = 64 if rng.random() < 0.5 else len(data)
    data[rng.integers(0, min(end, len(data)), rng.integers(1, 12))] = rng.integers(0, 256)
    return data


def cut(rng: np.random.Generator, data: Bytes) -> Bytes:
    return data[: rng.integers(0, len(data))]


def behead(rng: np.random.Generator, data: Bytes) -> Bytes:
    return data[rng.integers(1, 4096) :]


def fill(rng: np.random.Generator, data: Bytes) -> Bytes:
    """A stretch of zeros, of 0xFF, or of noise."""
    start = int(rng.integers(0, len(data)))
    stretch = data[start : start + int(rng.integers(1, 5000))]
    noise = rng.integers(0, 256, len(stretch), dtype=np.uint8)
    stretch[:] = [np.zeros_like(noise), np.full_like(noise, 255), noise][int(rng.integers(3))]
    return data


def repeat(rng: np.random.Generator, data: Bytes) -> Bytes:
    """A stretch twice, as after a broken download."""
    start, length = int(rng.integers(0, len(data))), int(rng.integers(1, 8192))
    return np.concatenate([data[: start + length], data[start:]])


def pad(rng: np.random.Generator, data: Bytes) -> Bytes:
    """Something in front or behind."""
    junk = rng.integers(0, 256, rng.integers(1, 3000)) * int(rng.integers(2))
    parts = [junk.astype(np.uint8), data]
    return np.concatenate(parts if rng.random() < 0.5 else parts[::-1])


def number(rng: np.random.Generator, data: Bytes) -> Bytes:
    """An extreme number at a place of the header."""
    at = int(rng.integers(0, 60))
    value = rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
    data[at : at + 4] = np.frombuffer(np.uint32(value).tobytes(), np.uint8)
    return data


MUTATIONS: tuple[Mutation, ...] = (flip, cut, behead, fill, repeat, pad, number)


def mutated(rng: np.random.Generator, files: list[bytes]) -> bytes:
    """One to three mutations of one file, or of two files spliced."""
    data = np.frombuffer(files[rng.integers(len(files))], np.uint8).copy()
    if rng.random() < 0.1:
        other = np.frombuffer(files[rng.integers(len(files))], np.uint8)
        data = np.concatenate([data[: rng.integers(1, len(data))], other])
    for _ in range(int(rng.integers(1, 4))):
        if len(data):
            data = MUTATIONS[rng.integers(len(MUTATIONS))](rng, data)
    return data.tobytes()


@contextmanager
def no_hang() -> Iterator[None]:
    """Fail where a file takes far longer than any should."""

    def late(*args: object) -> None:
        raise AssertionError(f"a file took over {MAX_SECONDS_EACH} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(MAX_SECONDS_EACH)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def examine(path: Path) -> str:
    """What becomes of a file: read, no prompt, or refused; fails on anything else."""
    try:
        wave_T = read_audio(path)
    except SpeechkitError as error:
        told = str(error)
        assert str(path) in told
        assert not re.search(r"opening \d|<_io|BytesIO|Traceback|0x[0-9a-f]{6}", told), told
        assert "\n" not in told, told
        assert told.endswith("."), told
        return "refused"
    assert wave_T.ndim == 1
    assert len(wave_T) > 0
    assert bool(wave_T.isfinite().all())
    # A header may promise what it likes: memory is bounded by what the file holds.
    assert len(wave_T) <= 3600 * RATE_HZ
    try:
        prompt = prepare_prompt(wave_T)
    except SpeechkitError as error:
        return "no prompt" if str(error).endswith(".") else f"no sentence: {error}"
    assert float(prompt.wave_T.abs().max()) <= 1.0
    if prompt.recording_seconds - prompt.seconds > 1.0:
        assert any("were used" in note for note in prompt.notes)
    return "read"


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("count", [200, pytest.param(2_000, marks=pytest.mark.slow)])
def test_mutated_files_are_read_or_refused(count: int, tmp_path: Path) -> None:
    files, rng = whole_files(), np.random.default_rng(count)
    became: Counter[str] = Counter()
    for number_of in range(count):
        path = tmp_path / f"{number_of}.wav"
        path.write_bytes(mutated(rng, files))
        try:
            with no_hang():
                became[examine(path)] += 1
        except BaseException:
            print(f"file {number_of} of seed {count}: {path}")
            raise
        path.unlink()
    assert set(became) <= {"read", "no prompt", "refused"}
    assert sum(became.values()) == count
    # Neither side may swallow the other: most damage is survivable, much is not.
    assert became["read"] > 0.1 * count
    assert became["refused"] > 0.1 * count


def test_whole_files_are_all_read(tmp_path: Path) -> None:
    for number_of, data in enumerate(whole_files()):
        path = tmp_path / str(number_of)
        path.write_bytes(data)
        assert examine(path) == "read"
        assert len(read_audio(path)) == pytest.approx(SECONDS * RATE_HZ, rel=0.02)
