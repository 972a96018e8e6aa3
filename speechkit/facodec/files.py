"""Codec files (`.skc`): a recording as its codes and its timbre, in one small, checked file.

Layout, little endian, nothing between the parts, nothing behind the last:

| bytes | type | what |
| --- | --- | --- |
| 0 – 3 | 4 bytes | magic `SKC` and the byte 0x1A, at which a terminal stops printing |
| 4 – 5 | u16 | version, 1 |
| 6 – 7 | u16 | flags: 1 = a gain is stored, 2 = the timbre is float32 and not float16; rest 0 |
| 8 – 11 | u32 | samples a second |
| 12 – 15 | u32 | samples a frame (hop) |
| 16 – 23 | u64 | samples of the recording; decoding returns that many |
| 24 – 27 | u32 | frames F, which is samples / hop, rounded up |
| 28 – 31 | 4 × u8 | codebooks of prosody, content and detail; bits a code, ceil(log2(entries)) |
| 32 – 35 | u32 | entries of each codebook |
| 36 – 39 | u32 | numbers D of the timbre vector |
| 40 – 43 | f32 | gain back to the recording's own level; 0 where none is stored |
| 44 – 59 | 16 bytes | first half of the SHA-256 of the codec's weights file |
| 60 – | D × f16 or f32 | timbre vector |
| then | ceil(F · K · bits / 8) | codes by frame, then codebook, lowest bit first; the rest 0 |
| last 4 | u32 | CRC-32 (that of zlib) of all bytes before it |

A reader learns the file's exact size from the first 60 bytes and refuses any other before it looks
further. The CRC finds every change within 32 neighbouring bits, so every changed byte.

Shapes: T samples, F frames, K codebooks, D channels, N codes.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechkit.core.errors import CodecFileError
from speechkit.core.files import open_regular, write_bytes
from speechkit.core.results import Codes
from speechkit.core.timebase import frame_count
from speechkit.facodec.codec import Codec
from speechkit.facodec.quantizer import code_usage

SUFFIX = ".skc"
MAGIC = b"SKC\x1a"
VERSION = 1
MAX_FILE_BYTES = 64 * 1024**2
"""Largest file that is read: two days of the shipped codec."""
HASH_BYTES = 16

_HEADER = struct.Struct("<4sHHIIQIBBBBIIf16s")
_HAS_GAIN, _WIDE_TIMBRE = 1, 2
_CRC_BYTES = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class CodecFile:
    """What a codec file holds."""

    codes: Codes
    """Codes of every frame."""
    timbre_D: Tensor
    """Timbre vector, float16 or float32: stored as it is."""
    samples: int
    """Samples T of the recording."""
    sample_rate_hz: int
    """Samples a second."""
    hop_samples: int
    """Samples a frame."""
    codebook_size: int
    """Entries of each codebook."""
    model_hash: bytes
    """First 16 bytes of the SHA-256 of the codec's weights."""
    gain: float | None = None
    """Factor from the codec's level to the recording's own; None for a codec that keeps levels."""

    @property
    def frames(self) -> int:
        """Frames F."""
        return self.codes.frames

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return self.samples / self.sample_rate_hz

    @property
    def payload_kbps(self) -> float:
        """Thousand bits a second that the codes take, without header and timbre."""
        codebooks = len(self.codes.stacked())
        return (
            codebooks
            * code_bits(self.codebook_size)
            * self.sample_rate_hz
            / self.hop_samples
            / 1000
        )

    @property
    def file_bytes(self) -> int:
        """Size of the file."""
        codes = -(-self.codes.stacked().numel() * code_bits(self.codebook_size) // 8)
        timbre = len(self.timbre_D) * self.timbre_D.element_size()
        return _HEADER.size + timbre + codes + _CRC_BYTES

    def to_json(self) -> dict[str, Any]:
        """What the file says, without the codes themselves, as plain JSON values."""
        return {
            "sample_rate_hz": self.sample_rate_hz,
            "hop_samples": self.hop_samples,
            "samples": self.samples,
            "seconds": self.seconds,
            "frames": self.frames,
            "codebooks": {
                "prosody": len(self.codes.prosody_KF),
                "content": len(self.codes.content_KF),
                "detail": len(self.codes.detail_KF),
            },
            "codebook_size": self.codebook_size,
            "payload_kbps": self.payload_kbps,
            "file_bytes": self.file_bytes,
            "file_kbps": 8 * self.file_bytes / self.seconds / 1000,
            "codec": self.model_hash.hex(),
            "gain": self.gain,
            "timbre_channels": len(self.timbre_D),
            "timbre_type": str(self.timbre_D.dtype).removeprefix("torch."),
            "usage": code_usage(self.codes.stacked(), self.codebook_size),
        }

    def text(self) -> str:
        """A few lines for people."""
        facts = self.to_json()
        names = [name for name, count in facts["codebooks"].items() for _ in range(count)]
        used = [
            f"{name} {round(one['used'] * self.codebook_size)} (perplexity {one['perplexity']:.0f})"
            for name, one in zip(names, facts["usage"], strict=True)
        ]
        return (
            f"rate     {self.sample_rate_hz} Hz, "
            f"{self.sample_rate_hz / self.hop_samples:g} frames/s\n"
            f"length   {self.frames} frames, {self.seconds:.2f} s\n"
            f"payload  {self.payload_kbps:.2f} kb/s, with timbre and header "
            f"{facts['file_kbps']:.2f} kb/s ({self.file_bytes} bytes)\n"
            f"timbre   {facts['timbre_channels']} numbers, {facts['timbre_type']}\n"
            f"gain     {'none stored' if self.gain is None else f'{self.gain:.4g}'}\n"
            f"codec    {self.model_hash.hex()}\n"
            f"codes    used of {self.codebook_size}: {', '.join(used)}"
        )


def code_bits(codebook_size: int) -> int:
    """Bits that a code of a codebook of so many entries takes."""
    return max(1, (codebook_size - 1).bit_length())


def model_hash(sha256: str) -> bytes:
    """What a codec file remembers of a codec: the first half of its weights' hash."""
    return bytes.fromhex(sha256)[:HASH_BYTES]


def check_codec(file: CodecFile, codec: Codec, codec_hash: bytes, name: str) -> None:
    """Raise CodecFileError, naming both hashes, unless the file was made with this codec."""
    quantizer, codes = codec.quantizer, file.codes
    fits = (
        file.model_hash == codec_hash
        and (file.sample_rate_hz, file.hop_samples) == (codec.sample_rate_hz, codec.hop_samples)
        and file.codebook_size == quantizer.codebook_size
        and len(file.timbre_D) in codec.voice_widths
        and len(codes.prosody_KF) == quantizer.prosody_codebooks
        and len(codes.content_KF) == quantizer.content_codebooks
        and len(codes.detail_KF) == quantizer.detail_codebooks
    )
    if not fits:
        raise CodecFileError(
            f"{name} was made with codec {file.model_hash.hex()}, and this is {codec_hash.hex()}: "
            "give the codec it was made with."
        )


def write_codec_file(path: str | Path, file: CodecFile) -> None:
    """Write the file, whole or not at all.

    Raises CodecFileError for contents that the format cannot hold, and when the disk refuses.
    """
    data = pack_codec_file(file)
    try:
        write_bytes(path, data)
    except OSError as error:
        raise CodecFileError(f"Cannot write {path}: {error.strerror}.") from error


def read_codec_file(path: str | Path) -> CodecFile:
    """The contents of a file; raises CodecFileError for one that is not whole and sound."""
    try:
        file = open_regular(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CodecFileError(f"Cannot open {path}: {reason}.") from error
    try:
        with file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CodecFileError(f"Cannot read {path}: {error.strerror}.") from error
    if len(data) > MAX_FILE_BYTES:
        raise CodecFileError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB: no codec file is.")
    return parse_codec_file(data, str(path))


def pack_codec_file(file: CodecFile) -> bytes:
    """The bytes of a file; raises CodecFileError for contents that the format cannot hold."""
    header = _header(file)
    codes_N = file.codes.stacked().T.reshape(-1).cpu().numpy()
    if len(codes_N) and not 0 <= int(codes_N.min()) <= int(codes_N.max()) < file.codebook_size:
        raise CodecFileError(f"A code lies outside its codebook of {file.codebook_size} entries.")
    timbre = file.timbre_D.detach().cpu().numpy()
    body = header + timbre.astype(timbre.dtype.newbyteorder("<")).tobytes()
    body += _packed(codes_N, code_bits(file.codebook_size))
    data = body + struct.pack("<I", zlib.crc32(body))
    # What cannot be read again is not written.
    parse_codec_file(data, "The file to write")
    return data


def _header(file: CodecFile) -> bytes:
    """The first 60 bytes."""
    flags = (_HAS_GAIN if file.gain is not None else 0) | (
        _WIDE_TIMBRE if file.timbre_D.dtype == torch.float32 else 0
    )
    if file.timbre_D.dtype not in (torch.float16, torch.float32) or file.timbre_D.ndim != 1:
        raise CodecFileError("The timbre must be one vector of float16 or float32.")
    if len(file.model_hash) != HASH_BYTES:
        raise CodecFileError(f"The hash of the codec must have {HASH_BYTES} bytes.")
    codes = file.codes
    codebooks = (len(codes.prosody_KF), len(codes.content_KF), len(codes.detail_KF))
    try:
        return _HEADER.pack(
            *(MAGIC, VERSION, flags, file.sample_rate_hz, file.hop_samples, file.samples),
            *(
                codes.frames,
                *codebooks,
                code_bits(file.codebook_size),
                file.codebook_size,
                len(file.timbre_D),
            ),
            *(0.0 if file.gain is None else file.gain, file.model_hash),
        )
    except (struct.error, OverflowError, ValueError) as error:
        raise CodecFileError(f"A codec file cannot hold this: {error}.") from error


class _Header(NamedTuple):
    """The first 60 bytes, field by field."""

    magic: bytes
    version: int
    flags: int
    rate_hz: int
    hop: int
    samples: int
    frames: int
    prosody: int
    content: int
    detail: int
    bits: int
    codebook_size: int
    channels: int
    gain: float
    weights: bytes

    @property
    def codebooks(self) -> int:
        return self.prosody + self.content + self.detail

    @property
    def timbre_bytes(self) -> int:
        return self.channels * (4 if self.flags & _WIDE_TIMBRE else 2)

    @property
    def code_bytes(self) -> int:
        return -(-self.frames * self.codebooks * self.bits // 8)

    def possible(self) -> bool:
        """Whether the fields can belong to a file."""
        has_gain = bool(self.flags & _HAS_GAIN)
        return (
            self.version == VERSION
            and self.flags <= _HAS_GAIN | _WIDE_TIMBRE
            and 1000 <= self.rate_hz <= 384_000
            and 1 <= self.hop <= 65_536
            and self.frames >= 1
            and self.frames == frame_count(self.samples, self.hop)
            and all(1 <= codebooks <= 16 for codebooks in (self.prosody, self.content, self.detail))
            and 2 <= self.codebook_size <= 65_536
            and self.bits == code_bits(self.codebook_size)
            and 1 <= self.channels <= 65_536
            and (self.gain > 0 and math.isfinite(self.gain) if has_gain else self.gain == 0)
        )


def parse_codec_file(data: bytes, name: str) -> CodecFile:
    """The contents of a file's bytes; raises CodecFileError, which calls the file `name`."""
    head = _checked_header(data, name)
    start = _HEADER.size + head.timbre_bytes
    codes_N = _unpacked(data[start:-_CRC_BYTES], head.frames * head.codebooks, head.bits, name)
    if int(codes_N.max()) >= head.codebook_size:
        raise CodecFileError(f"{name} is damaged: a code lies outside its codebook.")
    codes_KF = torch.from_numpy(codes_N.reshape(head.frames, head.codebooks).T.copy())
    content = head.prosody + head.content
    return CodecFile(
        codes=Codes(
            prosody_KF=codes_KF[: head.prosody],
            content_KF=codes_KF[head.prosody : content],
            detail_KF=codes_KF[content:],
        ),
        timbre_D=_timbre(data, head, name),
        samples=head.samples,
        sample_rate_hz=head.rate_hz,
        hop_samples=head.hop,
        codebook_size=head.codebook_size,
        model_hash=head.weights,
        gain=head.gain if head.flags & _HAS_GAIN else None,
    )


def _checked_header(data: bytes, name: str) -> _Header:
    """The header of a file whose size and checksum are right; nothing large is allocated."""
    if len(data) < _HEADER.size or data[: len(MAGIC)] != MAGIC:
        raise CodecFileError(f"{name} is not a codec file: make one with speechkit codec encode.")
    head = _Header(*_HEADER.unpack_from(data))
    if head.version > VERSION:
        raise CodecFileError(
            f"{name} has version {head.version} of the format, and this program knows {VERSION}: "
            "use a newer one."
        )
    if not head.possible():
        raise CodecFileError(f"{name} is damaged: its header makes no sense. Make it again.")
    size = _HEADER.size + head.timbre_bytes + head.code_bytes + _CRC_BYTES
    if len(data) != size:
        raise CodecFileError(
            f"{name} has {len(data)} bytes and should have {size}: it was cut short or changed."
        )
    stored = int.from_bytes(data[-_CRC_BYTES:], "little")
    if zlib.crc32(memoryview(data)[:-_CRC_BYTES]) != stored:
        raise CodecFileError(f"{name} is damaged: its checksum is wrong. Copy or make it again.")
    return head


def _timbre(data: bytes, head: _Header, name: str) -> Tensor:
    """The timbre vector, which must be finite."""
    kind = "<f4" if head.flags & _WIDE_TIMBRE else "<f2"
    stored = np.frombuffer(data, kind, head.channels, _HEADER.size)
    if not np.isfinite(stored).all():
        raise CodecFileError(f"{name} is damaged: its timbre is not finite. Make it again.")
    return torch.from_numpy(stored.astype(stored.dtype.newbyteorder("=")))


def _packed(codes_N: NDArray[np.int64], bits: int) -> bytes:
    """Codes of `bits` bits one after the other, lowest bit first, padded with zeros to bytes."""
    planes = [((codes_N >> bit) & 1).astype(np.uint8) for bit in range(bits)]
    return np.packbits(np.stack(planes, axis=1), bitorder="little").tobytes()


def _unpacked(data: bytes, count: int, bits: int, name: str) -> NDArray[np.int64]:
    """The inverse of `_packed`; the padding must be zero."""
    flat = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    if flat[count * bits :].any():
        raise CodecFileError(f"{name} is damaged: something follows its last code.")
    planes = flat[: count * bits].reshape(count, bits)
    codes_N = np.zeros(count, np.int64)
    for bit in range(bits):
        codes_N |= planes[:, bit].astype(np.int64) << bit
    return codes_N
