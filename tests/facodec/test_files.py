"""Codec files: what goes in comes out, and nothing but a whole, sound file is read."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.checkpoint import load_checkpoint
from speechkit.core.errors import CodecFileError
from speechkit.core.results import Codes
from speechkit.core.rng import generator
from speechkit.facodec.files import (
    MAX_FILE_BYTES,
    CodecFile,
    check_codec,
    code_bits,
    model_hash,
    pack_codec_file,
    parse_codec_file,
    read_codec_file,
    write_codec_file,
)
from speechkit.facodec.small.codec import build_codec
from tests.tiny import TINY_CODEC, tiny_model

HASH = bytes(range(16))


def made(
    frames: int = 7,
    codebooks: tuple[int, int, int] = (1, 2, 3),
    codebook_size: int = 1024,
    **changed: Any,
) -> CodecFile:
    rng = generator(frames)
    codes = [torch.randint(codebook_size, (count, frames), generator=rng) for count in codebooks]
    contents: dict[str, Any] = {
        "codes": Codes(prosody_KF=codes[0], content_KF=codes[1], detail_KF=codes[2]),
        "timbre_D": torch.randn(12, generator=rng),
        "samples": 320 * frames - 3,
        "sample_rate_hz": 16_000,
        "hop_samples": 320,
        "codebook_size": codebook_size,
        "model_hash": HASH,
        "gain": 0.5,
    }
    return CodecFile(**{**contents, **changed})


@st.composite
def codec_files(draw: st.DrawFn) -> CodecFile:
    frames, hop = draw(st.integers(1, 40)), draw(st.integers(1, 500))
    gain = draw(st.none() | st.floats(2.0**-20, 2.0**20, width=32))
    kind = draw(st.sampled_from([torch.float16, torch.float32]))
    count = st.integers(1, 16)
    return made(
        frames,
        (draw(count), draw(count), draw(count)),
        draw(st.integers(2, 65_536)),
        hop_samples=hop,
        samples=draw(st.integers((frames - 1) * hop + 1, frames * hop)),
        sample_rate_hz=draw(st.integers(1000, 384_000)),
        timbre_D=torch.randn(draw(st.integers(1, 50)), generator=generator(0)).to(kind),
        gain=gain,
        model_hash=draw(st.binary(min_size=16, max_size=16)),
    )


@settings(deadline=None, max_examples=60)
@given(codec_files())
def test_everything_comes_back(file: CodecFile) -> None:
    data = pack_codec_file(file)
    back = parse_codec_file(data, "it")
    for name in ("samples", "sample_rate_hz", "hop_samples", "codebook_size", "model_hash", "gain"):
        assert getattr(back, name) == getattr(file, name), name
    for name in ("prosody_KF", "content_KF", "detail_KF"):
        assert torch.equal(getattr(back.codes, name), getattr(file.codes, name))
    assert back.timbre_D.dtype == file.timbre_D.dtype
    assert torch.equal(back.timbre_D, file.timbre_D)
    codes = file.codes.stacked()
    width = 4 if file.timbre_D.dtype == torch.float32 else 2
    payload = -(-codes.numel() * code_bits(file.codebook_size) // 8)
    assert len(data) == 60 + width * len(file.timbre_D) + payload + 4


def test_the_layout_is_the_one_in_the_docstring() -> None:
    codes = torch.tensor([[0b1000000001], [0], [0], [0], [0], [0b1100000000]])
    file = made(
        1,
        codes=Codes(prosody_KF=codes[:1], content_KF=codes[1:3], detail_KF=codes[3:]),
        samples=5,
        timbre_D=torch.tensor([1.0, -2.0], dtype=torch.float16),
    )
    data = pack_codec_file(file)
    assert data[:4] == b"SKC\x1a"
    assert struct.unpack_from("<HHIIQI", data, 4) == (1, 1, 16_000, 320, 5, 1)
    assert list(data[28:32]) == [1, 2, 3, 10]
    assert struct.unpack_from("<IIf", data, 32) == (1024, 2, 0.5)
    assert data[44:60] == HASH
    assert struct.unpack_from("<2e", data, 60) == (1.0, -2.0)
    # 60 bits: the first code's lowest bit is the first, the last code's two highest the last.
    assert data[64:72] == bytes([0b00000001, 0b10, 0, 0, 0, 0, 0, 0b00001100])
    assert struct.unpack_from("<I", data, 72) == (zlib.crc32(data[:72]),)
    assert len(data) == 76
    assert file.payload_kbps == 3.0


def test_every_truncation_is_refused() -> None:
    data = pack_codec_file(made())
    for size in range(len(data)):
        with pytest.raises(CodecFileError):
            parse_codec_file(data[:size], "it")
    for more in (b"\0", data):
        with pytest.raises(CodecFileError, match="should have"):
            parse_codec_file(data + more, "it")


def test_every_flipped_byte_is_refused() -> None:
    data = pack_codec_file(made())
    for place in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            changed = bytearray(data)
            changed[place] ^= flip
            with pytest.raises(CodecFileError):
                parse_codec_file(bytes(changed), "it")


def resealed(data: bytes) -> bytes:
    """The same with the right checksum, so that the other checks have to find what is wrong."""
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_changes_with_a_right_checksum_do_no_harm(data: st.DataObject) -> None:
    changed = bytearray(pack_codec_file(made()))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(4, len(changed) - 5))
        changed[place] = data.draw(st.integers(0, 255))
    harmless(resealed(bytes(changed)))


@settings(deadline=None, max_examples=80)
@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_do_harm(data: bytes, with_magic: bool) -> None:
    harmless(b"SKC\x1a\x01\x00" + data if with_magic else data)


def harmless(data: bytes) -> None:
    """Read or refuse the bytes, with little memory either way."""
    refusal = ""
    tracemalloc.start()
    try:
        file = parse_codec_file(data, "it")
        assert pack_codec_file(file) == data
    except CodecFileError as error:
        refusal = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert refusal.startswith("it ") or not refusal
    assert peak < 20_000 + 100 * len(data)


@pytest.mark.parametrize(
    ("place", "layout", "value", "words"),
    [
        (0, "4s", b"RIFF", "not a codec file"),
        (4, "H", 2, "version 2"),
        (4, "H", 0, "header"),
        (6, "H", 0x8001, "header"),
        (8, "I", 0, "header"),
        (12, "I", 0, "header"),
        (16, "Q", 0, "header"),
        (16, "Q", 2**64 - 1, "header"),
        (24, "I", 0, "header"),
        (28, "B", 0, "header"),
        (31, "B", 11, "header"),
        (32, "I", 1, "header"),
        (36, "I", 2**32 - 1, "header"),
        (40, "f", -1.0, "header"),
        (40, "f", float("nan"), "header"),
        (40, "f", float("inf"), "header"),
        (60, "f", float("nan"), "not finite"),
    ],
)
def test_impossible_fields_are_refused(place: int, layout: str, value: Any, words: str) -> None:
    data = bytearray(pack_codec_file(made()))
    struct.pack_into(f"<{layout}", data, place, value)
    with pytest.raises(CodecFileError, match=words):
        parse_codec_file(resealed(bytes(data)), "it")


def test_huge_promises_are_refused_at_once() -> None:
    data = bytearray(pack_codec_file(made()))
    frames = 2**32 - 1
    struct.pack_into("<QI", data, 16, frames * 320, frames)
    tracemalloc.start()
    with pytest.raises(CodecFileError, match="should have"):
        parse_codec_file(resealed(bytes(data)), "it")
    assert tracemalloc.get_traced_memory()[1] < 20_000
    tracemalloc.stop()


def test_codes_beyond_their_book_and_padding_are_refused() -> None:
    data = bytearray(pack_codec_file(made(1, codebook_size=1000)))
    data[-5] |= 0xF0
    with pytest.raises(CodecFileError, match="follows its last code"):
        parse_codec_file(resealed(bytes(data)), "it")
    data = bytearray(pack_codec_file(made(1, codebook_size=1000)))
    data[-12:-4] = b"\xff" * 7 + b"\x0f"
    with pytest.raises(CodecFileError, match="outside its codebook"):
        parse_codec_file(resealed(bytes(data)), "it")


@pytest.mark.parametrize(
    "changed",
    [
        {"codes": made(7, codebook_size=5000).codes},
        {"samples": 0},
        {"samples": 320 * 7 + 1},
        {"samples": -1},
        {"sample_rate_hz": 2**40},
        {"codebook_size": 1},
        {"gain": float("nan")},
        {"gain": 0.0},
        {"gain": 1e300},
        {"model_hash": b"short"},
        {"timbre_D": torch.zeros(3, dtype=torch.float64)},
        {"timbre_D": torch.zeros(3, 4)},
        {"timbre_D": torch.tensor([float("inf")])},
        {"timbre_D": torch.zeros(0)},
    ],
)
def test_what_could_not_be_read_is_not_written(changed: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "it.skc"
    with pytest.raises(CodecFileError):
        write_codec_file(path, made(**changed))
    assert not list(tmp_path.iterdir())


def test_files_are_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "it.skc"
    write_codec_file(path, made(5))
    write_codec_file(path, made(9))
    assert read_codec_file(path).frames == 9

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CodecFileError, match="No space left"):
        write_codec_file(path, made(5))
    assert [found.name for found in tmp_path.iterdir()] == ["it.skc"]
    assert read_codec_file(path).frames == 9


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CodecFileError, match="No such file"):
        read_codec_file(tmp_path / "none.skc")
    with pytest.raises(CodecFileError, match="not a regular file"):
        read_codec_file(tmp_path)
    os.mkfifo(tmp_path / "pipe.skc")
    with pytest.raises(CodecFileError, match="not a regular file"):
        read_codec_file(tmp_path / "pipe.skc")
    with (tmp_path / "huge.skc").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(CodecFileError, match="larger than 64 MiB"):
        read_codec_file(tmp_path / "huge.skc")


def test_another_codec_is_named(tmp_path: Path) -> None:
    codec = build_codec(TINY_CODEC)
    ours = model_hash(load_checkpoint(tiny_model(tmp_path) / "codec").sha256)
    fits = made(codebook_size=16, model_hash=ours)
    check_codec(fits, codec, ours, "it.skc")
    with pytest.raises(CodecFileError, match=f"{HASH.hex()}.*{ours.hex()}"):
        check_codec(replace(fits, model_hash=HASH), codec, ours, "it.skc")
    for wrong in (
        made(codebook_size=32, model_hash=ours),
        replace(fits, hop_samples=200, samples=1400),
        replace(fits, timbre_D=torch.zeros(4)),
        made(codebooks=(2, 1, 3), codebook_size=16, model_hash=ours),
    ):
        with pytest.raises(CodecFileError):
            check_codec(wrong, codec, ours, "it.skc")


def test_a_file_reports_itself(tmp_path: Path) -> None:
    file = made(codebook_size=16)
    write_codec_file(tmp_path / "it.skc", file)
    facts = file.to_json()
    assert facts["file_bytes"] == (tmp_path / "it.skc").stat().st_size
    assert len(facts["usage"]) == len(file.codes.stacked())
    assert json.loads(json.dumps(facts)) == facts
    assert HASH.hex() in file.text()


def test_a_code_takes_the_bits_it_needs() -> None:
    wanted = [int(np.ceil(np.log2(codebook_size))) for codebook_size in range(2, 3000)]
    assert [code_bits(codebook_size) for codebook_size in range(2, 3000)] == wanted
