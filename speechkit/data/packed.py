"""The packed corpus: one safetensors file that training reads without any audio library.

Tensors: `audio_S` int16 at 16 kHz, all clips end to end; `audio_offsets_N1` int64; `f0_G` float16
in Hz on the 10 ms grid (0 = unvoiced, see `f0`); `f0_offsets_N1` int64; `speaker_N` int32.
Metadata: `format`, `clips` (JSON list of `ClipInfo`), `speakers` (JSON list of names).

Shapes: S samples of the corpus, G pitch values of the corpus, N clips, T samples of a clip,
F pitch frames of a clip.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.f0 import f0_frames
from speechkit.core.timebase import SAMPLE_RATE_HZ

PACKED_FORMAT = "speechkit-packed-1"
PACKED_SAMPLE_RATE_HZ = SAMPLE_RATE_HZ

# The safetensors readers refuse larger headers.
_MAX_HEADER_BYTES = 100_000_000
_DTYPES = {
    "audio_offsets_N1": "I64",
    "f0_offsets_N1": "I64",
    "speaker_N": "I32",
    "audio_S": "I16",
    "f0_G": "F16",
}
_NUMPY_DTYPES = {"I64": "<i8", "I32": "<i4", "I16": "<i2", "F16": "<f2"}
_COPY_BYTES = 1 << 20


class ClipInfo(TypedDict):
    """What is known about one clip besides its samples."""

    id: str
    text: str | None
    speaker: str
    language: str
    license: str
    split: str
    source: str


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedClip:
    """One clip on its way into a packed file."""

    info: ClipInfo
    """Identity, text, speaker, language, licence, split and where it came from."""
    pcm_T: npt.NDArray[np.int16]
    """Samples, 16 kHz mono."""
    f0_F: npt.NDArray[np.floating[Any]]
    """Pitch in Hz, 0 = unvoiced; ceil(T / 160) values."""


class PackedCorpus:
    """Read access to a packed file; audio stays on disk until a clip is asked for."""

    def __init__(self, path: str | Path) -> None:
        """Map the file; raises DataError where it is missing, truncated or inconsistent."""
        self.path = Path(path)
        metadata, arrays = _map_file(self.path)
        self._audio_S = arrays["audio_S"]
        self._f0_G = arrays["f0_G"]
        self._audio_offsets_N1 = np.array(arrays["audio_offsets_N1"])
        self._f0_offsets_N1 = np.array(arrays["f0_offsets_N1"])
        self._speaker_N = np.array(arrays["speaker_N"])
        self.clips = _clip_infos(metadata.get("clips"), self.path)
        self.speakers = _speaker_names(metadata.get("speakers"), self.path)
        self._check()

    def _check(self) -> None:
        """Raise DataError where offsets, speakers and clips disagree with the arrays."""
        clips = len(self.clips)
        audio_N1, f0_N1 = self._audio_offsets_N1, self._f0_offsets_N1
        lengths_agree = (
            audio_N1.shape[0] == f0_N1.shape[0] == clips + 1 and self._speaker_N.shape[0] == clips
        )
        if not lengths_agree:
            raise _broken(self.path, "its tables do not list the same number of clips")
        for offsets_N1, total in ((audio_N1, len(self._audio_S)), (f0_N1, len(self._f0_G))):
            if offsets_N1[0] != 0 or offsets_N1[-1] != total or (np.diff(offsets_N1) < 0).any():
                raise _broken(self.path, "its clip offsets do not fit its samples")
        if (np.diff(f0_N1) != f0_frames(np.diff(audio_N1))).any():
            raise _broken(self.path, "its pitch is not one value each 10 ms")
        outside_N = (self._speaker_N < 0) | (self._speaker_N >= len(self.speakers))
        if outside_N.any():
            raise _broken(self.path, "it names a speaker that it does not list")

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.clips)

    @property
    def ids(self) -> list[str]:
        """Names of the clips, in order: what ties alignment and codes to the corpus."""
        return [clip["id"] for clip in self.clips]

    def samples(self, clip: int) -> int:
        """Return the length of a clip in samples at 16 kHz."""
        first, end = self._range(self._audio_offsets_N1, clip)
        return end - first

    def speaker(self, clip: int) -> int:
        """Return the speaker of a clip as an index into `speakers`."""
        self._range(self._audio_offsets_N1, clip)
        return int(self._speaker_N[clip])

    def wave(self, clip: int, start: int = 0, stop: int | None = None) -> Tensor:
        """Return wave_T float32 in [-1, 1): samples start to stop of a clip, cut at its ends."""
        first, end = _cut(*self._range(self._audio_offsets_N1, clip), start, stop)
        pcm_T = np.asarray(self._audio_S[first:end], dtype=np.float32)
        return torch.from_numpy(pcm_T / np.float32(32768.0))

    def f0(self, clip: int, start: int = 0, stop: int | None = None) -> Tensor:
        """Return f0_F float32 in Hz (0 = unvoiced), 10 ms frames start to stop of a clip."""
        first, end = _cut(*self._range(self._f0_offsets_N1, clip), start, stop)
        return torch.from_numpy(np.asarray(self._f0_G[first:end], dtype=np.float32))

    def _range(self, offsets_N1: npt.NDArray[np.int64], clip: int) -> tuple[int, int]:
        """Return first and end of a clip; raises IndexError outside 0 to len - 1."""
        if not 0 <= clip < len(self.clips):
            raise IndexError(f"clip {clip} of {len(self.clips)} in {self.path}")
        return int(offsets_N1[clip]), int(offsets_N1[clip + 1])


def write_packed(path: str | Path, clips: Iterable[PackedClip]) -> None:
    """Write clips to one packed file, holding one clip at a time in memory.

    Samples go to temporary files beside `path` first, because the header with all sizes stands
    before them; `path` appears only when complete. Raises DataError for no clips, a repeated id,
    a wrong dtype or a wrong number of pitch values, and for more clips than one header can hold.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        audio_path, f0_path = Path(folder, "audio"), Path(folder, "f0")
        tables = _Tables()
        with audio_path.open("wb") as audio, f0_path.open("wb") as f0:
            for clip in clips:
                tables.add(clip)
                audio.write(np.ascontiguousarray(clip.pcm_T, dtype="<i2").data)
                f0.write(np.ascontiguousarray(clip.f0_F, dtype="<f2").data)
        if not tables.infos:
            raise DataError("There is no clip to pack; check the source folder and the limits.")
        whole_path = Path(folder, "whole")
        with whole_path.open("wb") as whole:
            whole.write(tables.header())
            whole.write(tables.small_arrays())
            for part in (audio_path, f0_path):
                with part.open("rb") as stream:
                    shutil.copyfileobj(stream, whole, _COPY_BYTES)
            whole.flush()
            os.fsync(whole.fileno())
        os.replace(whole_path, path)


class _Tables:
    """What the writer keeps in memory: offsets, speakers and the description of each clip."""

    def __init__(self) -> None:
        """Start with no clips."""
        self.infos: list[ClipInfo] = []
        self._ids: set[str] = set()
        self._speakers: dict[str, int] = {}
        self._speaker_N: list[int] = []
        self._audio_offsets_N1 = [0]
        self._f0_offsets_N1 = [0]
        self._info_bytes = 0

    def add(self, clip: PackedClip) -> None:
        """Take note of a clip; raises DataError where it does not fit the format."""
        info = clip.info
        name = info["id"]
        if name in self._ids:
            raise DataError(f"The clip id '{name}' comes twice; give each clip its own id.")
        if clip.pcm_T.dtype != np.int16 or clip.pcm_T.ndim != 1 or clip.f0_F.ndim != 1:
            raise DataError(f"Clip '{name}' must be mono int16 samples with one row of pitch.")
        samples, frames = clip.pcm_T.shape[0], clip.f0_F.shape[0]
        if frames != f0_frames(samples):
            raise DataError(f"Clip '{name}' has {frames} pitch values for {samples} samples.")
        # JSON inside JSON: every quote in a description costs a second escape.
        self._info_bytes += len(json.dumps(json.dumps(info))) + 2
        if self._info_bytes > _MAX_HEADER_BYTES // 2:
            raise DataError(
                f"More than {len(self.infos)} clips do not fit one packed file; "
                "prepare the corpus as several files."
            )
        self._ids.add(name)
        self.infos.append(info)
        self._speaker_N.append(self._speakers.setdefault(info["speaker"], len(self._speakers)))
        self._audio_offsets_N1.append(self._audio_offsets_N1[-1] + samples)
        self._f0_offsets_N1.append(self._f0_offsets_N1[-1] + frames)

    def header(self) -> bytes:
        """Return the safetensors header, padded so that every array is aligned."""
        clips = len(self.infos)
        shapes = {
            "audio_offsets_N1": clips + 1,
            "f0_offsets_N1": clips + 1,
            "speaker_N": clips,
            "audio_S": self._audio_offsets_N1[-1],
            "f0_G": self._f0_offsets_N1[-1],
        }
        table: dict[str, Any] = {
            "__metadata__": {
                "format": PACKED_FORMAT,
                "clips": json.dumps(self.infos),
                "speakers": json.dumps(list(self._speakers)),
            }
        }
        position = 0
        for name, length in shapes.items():
            end = position + length * np.dtype(_NUMPY_DTYPES[_DTYPES[name]]).itemsize
            table[name] = {
                "dtype": _DTYPES[name],
                "shape": [length],
                "data_offsets": [position, end],
            }
            position = end
        text = json.dumps(table).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text

    def small_arrays(self) -> bytes:
        """Return the bytes of both offset tables and the speakers, in the header's order."""
        return b"".join(
            np.asarray(values, dtype=dtype).tobytes()
            for values, dtype in (
                (self._audio_offsets_N1, "<i8"),
                (self._f0_offsets_N1, "<i8"),
                (self._speaker_N, "<i4"),
            )
        )


def _broken(path: Path, why: str) -> DataError:
    """Return the error for a file that cannot be used."""
    return DataError(f"'{path}' is not a usable packed corpus: {why}. Make it again with prepare.")


def _cut(first: int, end: int, start: int, stop: int | None) -> tuple[int, int]:
    """Return the range of [first, end) from start to stop, both counted from first and clamped."""
    length = end - first
    low = min(max(start, 0), length)
    high = length if stop is None else min(max(stop, low), length)
    return first + low, first + high


def _map_file(path: Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Return metadata and read-only memory maps of all arrays of the file."""
    if not path.is_file():
        raise DataError(f"There is no packed corpus at '{path}'; make one with prepare.")
    with path.open("rb") as stream:
        table, data_start = _read_header(stream, path)
    data_bytes = path.stat().st_size - data_start
    metadata = table.get("__metadata__")
    if not isinstance(metadata, dict) or metadata.get("format") != PACKED_FORMAT:
        raise _broken(path, f"its format is not {PACKED_FORMAT}")
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, dtype in _DTYPES.items():
        begin, length = _entry(table.get(name), dtype, data_bytes, name, path)
        numpy_dtype = np.dtype(_NUMPY_DTYPES[dtype])
        # An empty range cannot be mapped.
        arrays[name] = (
            np.memmap(path, dtype=numpy_dtype, mode="r", offset=data_start + begin, shape=(length,))
            if length
            else np.zeros(0, dtype=numpy_dtype)
        )
    return metadata, arrays


def _read_header(stream: BinaryIO, path: Path) -> tuple[dict[str, Any], int]:
    """Return the safetensors header and the position of the first byte behind it."""
    prefix = stream.read(8)
    length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
    if not 2 <= length <= min(_MAX_HEADER_BYTES, path.stat().st_size - 8):
        raise _broken(path, "its header is cut short or absurd")
    try:
        table = json.loads(stream.read(length))
    except (ValueError, RecursionError) as error:
        raise _broken(path, "its header is not JSON") from error
    if not isinstance(table, dict):
        raise _broken(path, "its header is not a table")
    return table, 8 + length


def _entry(entry: Any, dtype: str, data_bytes: int, name: str, path: Path) -> tuple[int, int]:
    """Return the first byte and the length of one array after checking its header entry."""
    if not isinstance(entry, dict) or entry.get("dtype") != dtype:
        raise _broken(path, f"{name} is missing or not {dtype}")
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    numbers = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else []
    if len(numbers) != 3 or not all(type(number) is int and number >= 0 for number in numbers):
        raise _broken(path, f"{name} has no sensible shape")
    length, begin, end = numbers
    if end - begin != length * np.dtype(_NUMPY_DTYPES[dtype]).itemsize or end > data_bytes:
        raise _broken(path, f"{name} is cut short")
    return begin, length


def _clip_infos(text: Any, path: Path) -> list[ClipInfo]:
    """Return the clip descriptions; raises DataError where one lacks a field."""
    required = {"id", "speaker", "language", "license", "split", "source"}
    infos: list[ClipInfo] = []
    for item in _json_list(text, "clips", path):
        complete = (
            isinstance(item, dict)
            and all(isinstance(item.get(key), str) for key in required)
            and isinstance(item.get("text"), str | None)
        )
        if not complete:
            raise _broken(path, "a clip description lacks a field")
        infos.append(item)
    return infos


def _speaker_names(text: Any, path: Path) -> tuple[str, ...]:
    """Return the speaker names; raises DataError where one is not text."""
    names = _json_list(text, "speakers", path)
    if not all(isinstance(name, str) for name in names):
        raise _broken(path, "a speaker has no name")
    return tuple(names)


def _json_list(text: Any, name: str, path: Path) -> list[Any]:
    """Return a JSON list stored as text in the metadata."""
    try:
        values = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise _broken(path, f"its {name} are not JSON") from error
    if not isinstance(values, list):
        raise _broken(path, f"its {name} are not a list")
    return values
