"""A shard: some hundred clips in one safetensors file that needs no audio library to be read.

Tensors: `audio_S` int16 at 16 kHz, all clips end to end; `audio_offsets_N1` int64; `f0_G` float16
in Hz on the 10 ms grid (0 = unvoiced, see `f0`; nothing in a shard without pitch);
`f0_offsets_N1` int64; `speaker_N` int32;
`infos_U` uint8, the description of each clip as JSON, end to end; `infos_offsets_N1` int64.
Metadata: `format`, `speakers` (JSON list of names), `ids_sha256` (of the clip ids in order, which
ties sidecars to the shard).

Samples as they are and not tar files of FLAC, as webdataset and lhotse Shar have them: training
draws clips by speaker and length, a second or two from the middle of each, with a prompt from
another clip of the speaker. From a memory map that is one read of just these samples; a tar file is
read from its beginning, in its order, and every clip decoded whole for a second of it.

Shapes: S samples of the shard, G pitch values of the shard, N clips, T samples of a clip,
F pitch frames of a clip, U bytes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.f0 import f0_frames
from speechkit.core.files import write_atomically

SHARD_FORMAT = "speechkit-shard-1"
SHARD_SUFFIX = ".safetensors"
SHARD_CLIPS = 500
"""Clips of a shard, as a rule: an hour or two of speech, some 200 MB. It is what a killed worker
loses."""

# The safetensors readers refuse larger headers.
_MAX_HEADER_BYTES = 100_000_000
_DTYPES = {
    "audio_offsets_N1": "I64",
    "f0_offsets_N1": "I64",
    "infos_offsets_N1": "I64",
    "speaker_N": "I32",
    "audio_S": "I16",
    "f0_G": "F16",
    "infos_U": "U8",
}
_NUMPY_DTYPES = {"I64": "<i8", "I32": "<i4", "I16": "<i2", "F16": "<f2", "U8": "u1"}
_FIELDS = ("id", "speaker", "language", "license", "split", "source")
_COPY_BYTES = 1 << 20

Array = npt.NDArray[Any]


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
    """One clip on its way into a shard."""

    info: ClipInfo
    """Identity, text, speaker, language, licence, split and where it came from."""
    pcm_T: npt.NDArray[np.int16]
    """Samples, 16 kHz mono."""
    f0_F: npt.NDArray[np.floating[Any]]
    """Pitch in Hz, 0 = unvoiced; ceil(T / 160) values, or none where nobody worked it out."""


def ids_hash(clip_ids: Iterable[str]) -> str:
    """SHA-256 of clip ids in order, which ties a sidecar to its shard."""
    return hashlib.sha256("\n".join(clip_ids).encode()).hexdigest()


class Shard:
    """Read access to a shard; nothing is mapped, and little checked, until a clip is asked for."""

    def __init__(self, path: str | Path, ids_sha256: str | None = None) -> None:
        """`ids_sha256` is what an index says of the shard: other clips are an error later on."""
        self.path = Path(path)
        self._expected = ids_sha256

    def __reduce__(self) -> tuple[type[Shard], tuple[Path, str | None]]:
        """Worker processes map the file for themselves: a pickled map is a copy of all samples."""
        return Shard, (self.path, self._expected)

    def __len__(self) -> int:
        """Number of clips."""
        return len(self._file[1]["speaker_N"])

    @cached_property
    def _file(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Metadata and memory maps; raises DataError where they are damaged or disagree."""
        metadata, arrays = _map_file(self.path)
        self._check(metadata, arrays)
        return metadata, arrays

    @property
    def ids_sha256(self) -> str:
        """Hash of the clip ids in order."""
        return self._expected or str(self._file[0]["ids_sha256"])

    @property
    def has_pitch(self) -> bool:
        """Whether the pitch of its clips is known; it is of all or of none."""
        arrays = self._file[1]
        return len(arrays["f0_G"]) > 0 or len(arrays["audio_S"]) == 0

    def lengths(self) -> npt.NDArray[np.int64]:
        """Samples of each clip `[N]`."""
        return np.diff(self._file[1]["audio_offsets_N1"])

    def info(self, clip: int) -> ClipInfo:
        """Description of a clip; raises DataError where it lacks a field."""
        first, end = self._file[1]["infos_offsets_N1"][clip : clip + 2]
        try:
            info = json.loads(bytes(self._file[1]["infos_U"][first:end]))
        except (ValueError, RecursionError) as error:
            raise _broken(self.path, "a clip description is not JSON") from error
        complete = (
            isinstance(info, dict)
            and all(isinstance(info.get(key), str) for key in _FIELDS)
            and isinstance(info.get("text"), str | None)
        )
        if not complete:
            raise _broken(self.path, "a clip description lacks a field")
        return info  # type: ignore[no-any-return]

    def wave(self, clip: int, start: int = 0, stop: int | None = None) -> Tensor:
        """wave_T float32 in [-1, 1): samples start to stop of a clip, cut at its ends."""
        pcm_T = self._cut("audio_offsets_N1", "audio_S", clip, start, stop)
        return torch.from_numpy(pcm_T / np.float32(32768.0))

    def f0(self, clip: int, start: int = 0, stop: int | None = None) -> Tensor:
        """f0_F float32 in Hz (0 = unvoiced), 10 ms frames start to stop of a clip; none without
        pitch."""
        return torch.from_numpy(self._cut("f0_offsets_N1", "f0_G", clip, start, stop))

    def sidecar(self, kind: str) -> Path:
        """Where a sidecar of this kind belongs: `00000.alignment.safetensors` and so on."""
        return self.path.with_suffix(f".{kind}{SHARD_SUFFIX}")

    def _cut(self, offsets: str, values: str, clip: int, start: int, stop: int | None) -> Array:
        first, end = map(int, self._file[1][offsets][clip : clip + 2])
        length = end - first
        low = min(max(start, 0), length)
        high = length if stop is None else min(max(stop, low), length)
        return np.asarray(self._file[1][values][first + low : first + high], dtype=np.float32)

    def _check(self, metadata: dict[str, Any], arrays: dict[str, Array]) -> None:
        """Raise DataError where offsets, speakers and clips disagree with the arrays."""
        clips = len(arrays["speaker_N"])
        spans = (("audio", "audio_S"), ("f0", "f0_G"), ("infos", "infos_U"))
        for name, values in spans:
            offsets_N1, total = arrays[f"{name}_offsets_N1"], len(arrays[values])
            if len(offsets_N1) != clips + 1:
                raise _broken(self.path, "its tables do not list the same number of clips")
            if offsets_N1[0] != 0 or offsets_N1[-1] != total or (np.diff(offsets_N1) < 0).any():
                raise _broken(self.path, "its clip offsets do not fit its samples")
        audio_N1, f0_N1 = arrays["audio_offsets_N1"], arrays["f0_offsets_N1"]
        if f0_N1[-1] > 0 and (np.diff(f0_N1) != f0_frames(np.diff(audio_N1))).any():
            raise _broken(self.path, "its pitch is not one value each 10 ms")
        speaker_N = arrays["speaker_N"]
        names = _speaker_names(metadata.get("speakers"), self.path)
        if ((speaker_N < 0) | (speaker_N >= len(names))).any():
            raise _broken(self.path, "it names a speaker that it does not list")
        if not isinstance(metadata.get("ids_sha256"), str):
            raise _broken(self.path, "it has no hash of its clips")
        if self._expected not in (None, metadata["ids_sha256"]):
            raise _broken(self.path, "it holds other clips than the index says")


def write_shard(path: str | Path, clips: Iterable[PackedClip]) -> None:
    """Write clips to one shard, holding one clip at a time in memory; none are allowed.

    Samples go to nameless temporary files first, because the header with all sizes stands before
    them; `path` appears only when complete. Raises DataError for a repeated id, a wrong dtype or a
    wrong number of pitch values.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tables = _Tables()
    with (
        tempfile.TemporaryFile(dir=path.parent) as audio,
        tempfile.TemporaryFile(dir=path.parent) as f0,
    ):
        for clip in clips:
            tables.add(clip)
            audio.write(np.ascontiguousarray(clip.pcm_T, dtype="<i2").data)
            f0.write(np.ascontiguousarray(clip.f0_F, dtype="<f2").data)

        def write(place: Path) -> None:
            """Join header, tables and samples."""
            with place.open("wb") as whole:
                whole.write(tables.header())
                whole.write(tables.small_arrays())
                for part in (audio, f0):
                    part.seek(0)
                    shutil.copyfileobj(part, whole, _COPY_BYTES)
                whole.write(tables.infos())

        write_atomically(path, write)


class _Tables:
    """What the writer keeps in memory: offsets, speakers and the description of each clip."""

    def __init__(self) -> None:
        """Start with no clips."""
        self._infos: list[bytes] = []
        self._ids: dict[str, None] = {}
        self._speakers: dict[str, int] = {}
        self._speaker_N: list[int] = []
        self._audio_offsets_N1 = [0]
        self._f0_offsets_N1 = [0]

    def add(self, clip: PackedClip) -> None:
        """Take note of a clip; raises DataError where it does not fit the format."""
        info = clip.info
        name = info["id"]
        if name in self._ids:
            raise DataError(f"Two clips are called '{name}'; ids must differ.")
        if clip.pcm_T.dtype != np.int16:
            raise DataError(f"Clip '{name}' has {clip.pcm_T.dtype} samples instead of int16.")
        samples, frames = clip.pcm_T.shape[0], clip.f0_F.shape[0]
        if frames not in (f0_frames(samples), 0):
            raise DataError(f"Clip '{name}' has {frames} pitch values for {samples} samples.")
        if samples and self._audio_offsets_N1[-1] and (frames > 0) != (self._f0_offsets_N1[-1] > 0):
            raise DataError(
                f"Clip '{name}' and those before it do not agree on whether pitch is known: pack "
                "them with it or without."
            )
        self._ids[name] = None
        self._infos.append(json.dumps(info).encode())
        self._speaker_N.append(self._speakers.setdefault(info["speaker"], len(self._speakers)))
        self._audio_offsets_N1.append(self._audio_offsets_N1[-1] + samples)
        self._f0_offsets_N1.append(self._f0_offsets_N1[-1] + frames)

    def header(self) -> bytes:
        """Return the safetensors header, padded so that every array is aligned."""
        clips = len(self._infos)
        lengths = {
            "audio_offsets_N1": clips + 1,
            "f0_offsets_N1": clips + 1,
            "infos_offsets_N1": clips + 1,
            "speaker_N": clips,
            "audio_S": self._audio_offsets_N1[-1],
            "f0_G": self._f0_offsets_N1[-1],
            "infos_U": sum(map(len, self._infos)),
        }
        table: dict[str, Any] = {
            "__metadata__": {
                "format": SHARD_FORMAT,
                "speakers": json.dumps(list(self._speakers)),
                "ids_sha256": ids_hash(self._ids),
            }
        }
        position = 0
        for name, length in lengths.items():
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
        """Return the bytes of the offset tables and the speakers, in the header's order."""
        infos_offsets_N1 = np.cumsum([0, *map(len, self._infos)])
        arrays: Sequence[tuple[Any, str]] = (
            (self._audio_offsets_N1, "<i8"),
            (self._f0_offsets_N1, "<i8"),
            (infos_offsets_N1, "<i8"),
            (self._speaker_N, "<i4"),
        )
        return b"".join(np.asarray(values, dtype=dtype).tobytes() for values, dtype in arrays)

    def infos(self) -> bytes:
        """Return all descriptions, end to end."""
        return b"".join(self._infos)


def _broken(path: Path, why: str) -> DataError:
    """Return the error for a file that cannot be used."""
    return DataError(f"'{path}' is not a usable shard: {why}. Make the corpus again with prepare.")


def _map_file(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return metadata and read-only views of one memory map of the file."""
    try:
        with path.open("rb") as stream:
            table, data_start = read_header(stream, path)
    except OSError as error:
        raise DataError(f"There is no shard at '{path}': make the corpus with prepare.") from error
    metadata = table.get("__metadata__")
    if not isinstance(metadata, dict) or metadata.get("format") != SHARD_FORMAT:
        raise _broken(path, f"its format is not {SHARD_FORMAT}")
    # One map for all arrays: a process can have some ten thousands.
    whole_U = np.memmap(path, dtype=np.uint8, mode="r")
    data_bytes = len(whole_U) - data_start
    arrays: dict[str, Array] = {}
    for name, dtype in _DTYPES.items():
        begin, end = _entry(table.get(name), dtype, data_bytes, name, path)
        arrays[name] = whole_U[data_start + begin : data_start + end].view(_NUMPY_DTYPES[dtype])
    return metadata, arrays


def read_header(stream: BinaryIO, path: Path) -> tuple[dict[str, Any], int]:
    """Return the safetensors header and the position of the first byte behind it.

    Raises DataError where the file has none.
    """
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
    """Return the first byte of one array and the one behind it, after checking its entry."""
    if not isinstance(entry, dict) or entry.get("dtype") != dtype:
        raise _broken(path, f"{name} is missing or not {dtype}")
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    numbers = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else []
    if len(numbers) != 3 or not all(type(number) is int and number >= 0 for number in numbers):
        raise _broken(path, f"{name} has no sensible shape")
    length, begin, end = numbers
    if end - begin != length * np.dtype(_NUMPY_DTYPES[dtype]).itemsize or end > data_bytes:
        raise _broken(path, f"{name} is cut short")
    return begin, end


def _speaker_names(text: Any, path: Path) -> tuple[str, ...]:
    """Return the speaker names; raises DataError where one is not text."""
    try:
        names = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise _broken(path, "its speakers are not JSON") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _broken(path, "a speaker has no name")
    return tuple(names)
