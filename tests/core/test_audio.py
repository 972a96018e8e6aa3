"""Audio files of every kind, and broken and hostile ones."""

from __future__ import annotations

import contextlib
import io
import math
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.audio import (
    AudioLimits,
    encode_audio,
    read_audio,
    write_audio,
)
from speechkit.core.errors import AudioError

RATE_HZ = 16_000


def tone(seconds: float, sample_rate_hz: int = RATE_HZ, level: float = 0.5) -> Tensor:
    times = torch.arange(round(seconds * sample_rate_hz)) / sample_rate_hz
    return level * torch.sin(2 * math.pi * 440 * times)


def put(path: Path, wave: Any, sample_rate_hz: int = RATE_HZ, subtype: str | None = None) -> Path:
    soundfile.write(path, np.asarray(wave), sample_rate_hz, subtype=subtype)
    return path


@pytest.mark.parametrize(
    ("suffix", "subtype", "error"),
    [
        ("wav", "PCM_U8", 0.02),
        ("wav", "PCM_16", 1e-4),
        ("wav", "PCM_24", 1e-6),
        ("wav", "PCM_32", 1e-6),
        ("wav", "FLOAT", 0.0),
        ("wav", "DOUBLE", 0.0),
        ("wav", "ULAW", 0.05),
        ("flac", "PCM_S8", 0.02),
        ("flac", "PCM_16", 1e-4),
        ("flac", "PCM_24", 1e-6),
        ("ogg", "VORBIS", 0.05),
        ("ogg", "OPUS", 0.05),
        ("mp3", "MPEG_LAYER_III", 0.05),
        ("aiff", "PCM_16", 1e-4),
    ],
)
def test_every_format_and_depth_is_read(
    tmp_path: Path, suffix: str, subtype: str, error: float
) -> None:
    wave_T = tone(1.0)
    path = put(tmp_path / f"a.{suffix}", wave_T, subtype=subtype)
    read_T = read_audio(path)
    assert read_T.dtype == torch.float32
    assert read_T.shape == wave_T.shape
    # The middle: lossy formats smear the sudden start and end of the tone.
    assert float((read_T - wave_T)[2000:-2000].abs().max()) <= error
    with path.open("rb") as file:
        assert torch.equal(read_audio(file), read_T)
    assert torch.equal(read_audio(str(path)), read_T)


@pytest.mark.parametrize("sample_rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_other_sample_rates_are_resampled(tmp_path: Path, sample_rate_hz: int) -> None:
    read_T = read_audio(put(tmp_path / "a.wav", tone(3.1, sample_rate_hz), sample_rate_hz, "FLOAT"))
    assert abs(len(read_T) - 3.1 * RATE_HZ) <= 1
    assert float((read_T - tone(3.2)[: len(read_T)])[2000:-2000].abs().max()) < 1e-3


@pytest.mark.parametrize("channels", range(1, 7))
def test_channels_are_averaged(tmp_path: Path, channels: int) -> None:
    wave_TC = torch.stack([tone(0.2, level=0.1 * (c + 1)) for c in range(channels)], dim=1)
    read_T = read_audio(put(tmp_path / "a.wav", wave_TC, subtype="FLOAT"))
    torch.testing.assert_close(read_T, wave_TC.mean(dim=1), atol=1e-6, rtol=0)


def test_a_path_need_not_be_ascii_nor_its_suffix_true(tmp_path: Path) -> None:
    folder = tmp_path / "Ünïcødé 語 🎙"
    folder.mkdir()
    write_audio(folder / "голос.flac", tone(0.1), RATE_HZ)
    for name in ("mislabelled.wav", "a.raw", "no suffix"):
        (folder / name).write_bytes((folder / "голос.flac").read_bytes())
        assert len(read_audio(folder / name)) == 1600


@pytest.mark.parametrize("samples", [1, 2, 3, 100])
def test_a_few_samples_are_enough(tmp_path: Path, samples: int) -> None:
    assert len(read_audio(put(tmp_path / "a.wav", np.full(samples, 0.5)))) == samples


def test_no_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="holds no sound"):
        read_audio(put(tmp_path / "a.wav", np.zeros(0)))
    with pytest.raises(AudioError, match="holds no sound"):
        read_audio(put(tmp_path / "b.wav", np.zeros(1), 192_000))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("sample_rate_hz", [RATE_HZ, 48_000])
def test_values_that_are_not_finite_are_refused(
    tmp_path: Path, bad: float, sample_rate_hz: int
) -> None:
    wave_T = tone(0.5)
    wave_T[100] = bad
    with pytest.raises(AudioError, match="not finite"):
        read_audio(put(tmp_path / "a.wav", wave_T, sample_rate_hz, "FLOAT"))
    with pytest.raises(AudioError, match="not finite"):
        write_audio(tmp_path / "b.wav", wave_T, RATE_HZ)
    assert not (tmp_path / "b.wav").exists()


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("keep_bytes", [0, 1, 4, 10, 30, 43])
def test_a_cut_header_is_refused(tmp_path: Path, suffix: str, keep_bytes: int) -> None:
    path = put(tmp_path / f"a.{suffix}", tone(0.5))
    path.write_bytes(path.read_bytes()[:keep_bytes])
    with pytest.raises(AudioError, match="not an audio file|holds no sound"):
        read_audio(path)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_a_cut_body_gives_its_start_or_an_error(tmp_path: Path, suffix: str) -> None:
    path = put(tmp_path / f"a.{suffix}", tone(2.0))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with contextlib.suppress(AudioError):
        assert 0 < len(read_audio(path)) < 2 * RATE_HZ


@pytest.mark.parametrize(
    ("claimed_bytes", "samples"),
    [(2**32 - 1, 1600), (2**31 - 16, 1600), (10**8, 1600), (1000, 500), (1, 0), (0, 0)],
)
def test_a_header_that_lies_about_the_length_is_not_believed(
    tmp_path: Path, claimed_bytes: int, samples: int
) -> None:
    path = put(tmp_path / "a.wav", tone(0.1), subtype="PCM_16")
    data = bytearray(path.read_bytes())
    assert data[36:40] == b"data"
    data[40:44] = struct.pack("<I", claimed_bytes)
    path.write_bytes(data)
    if samples:
        assert len(read_audio(path)) == samples
    else:
        with pytest.raises(AudioError):
            read_audio(path)


@pytest.mark.parametrize("sample_rate_hz", [0, 1, 3_999, 400_000, 2**31 - 1])
def test_absurd_sample_rates_are_refused(tmp_path: Path, sample_rate_hz: int) -> None:
    path = put(tmp_path / "a.wav", tone(0.1), subtype="PCM_16")
    data = bytearray(path.read_bytes())
    data[24:28] = struct.pack("<I", sample_rate_hz)
    path.write_bytes(data)
    with pytest.raises(AudioError):
        read_audio(path)


@given(
    data=st.binary(max_size=200), magic=st.sampled_from([b"", b"RIFF", b"fLaC", b"OggS", b"ID3"])
)
def test_noise_is_an_audio_error_or_audio(data: bytes, magic: bytes) -> None:
    with contextlib.suppress(AudioError):
        assert read_audio(io.BytesIO(magic + data)).ndim == 1


@given(st.data())
def test_a_wav_with_damaged_bytes_is_an_audio_error_or_finite_audio(data: st.DataObject) -> None:
    file = bytearray(encode_audio(tone(0.05), RATE_HZ))
    for at in data.draw(st.lists(st.integers(0, 60), max_size=6)):
        file[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(AudioError):
        assert bool(torch.isfinite(read_audio(io.BytesIO(bytes(file)))).all())


def test_text_folders_devices_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("This is a text file.\n" * 100)
    with pytest.raises(AudioError, match="not an audio file"):
        read_audio(tmp_path / "a.wav")
    with pytest.raises(AudioError, match="not a regular file"):
        read_audio(tmp_path)
    with pytest.raises(AudioError, match="not a regular file"):
        read_audio("/dev/zero")
    with pytest.raises(AudioError, match="No such file"):
        read_audio(tmp_path / "none.wav")
    with pytest.raises(AudioError, match="null"):
        read_audio("a\0.wav")


def test_a_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(AudioError, match="not a regular file"):
        read_audio(tmp_path / "a.wav")


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("decoded"))


def test_more_than_an_hour_is_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path / "a.wav", np.zeros(1), 8_000, "PCM_U8")
    data_bytes = 8_000 * 3_601
    with path.open("r+b") as file:
        file.seek(40)
        file.write(struct.pack("<I", data_bytes))
        file.truncate(44 + data_bytes)
    forbid_decoding(monkeypatch)
    with pytest.raises(AudioError, match="3601 s long: the limit is 3600 s"):
        read_audio(path)


def test_a_short_file_that_unpacks_to_hours_is_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.flac"
    with soundfile.SoundFile(path, "w", 8_000, 1, "PCM_16") as file:
        for _ in range(61):
            file.write(np.zeros(8_000 * 60, np.int16))
    assert path.stat().st_size < 1024**2
    forbid_decoding(monkeypatch)
    with pytest.raises(AudioError, match="3660 s long"):
        read_audio(path)


def test_too_many_bytes_or_channels_are_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path / "a.wav", tone(1.0))
    wide = put(tmp_path / "b.wav", np.zeros((10, 100)))
    forbid_decoding(monkeypatch)
    limits = AudioLimits(max_bytes=1024)
    with pytest.raises(AudioError, match="larger than"):
        read_audio(path, limits=limits)
    with path.open("rb") as file, pytest.raises(AudioError, match="larger than"):
        read_audio(file, limits=limits)
    with pytest.raises(AudioError, match="0 s long: the limit is 0.5 s|1 s long"):
        read_audio(path, limits=AudioLimits(max_seconds=0.5))
    with pytest.raises(AudioError, match="100 channels"):
        read_audio(wide)


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=50))
def test_sixteen_bits_survive_bit_for_bit(pcm: list[int]) -> None:
    wave_T = torch.tensor(pcm) / 32768
    for suffix in (".wav", ".flac"):
        assert torch.equal(read_audio(io.BytesIO(encode_audio(wave_T, RATE_HZ, suffix))), wave_T)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".WAV"])
def test_long_sound_is_written_and_too_loud_is_clipped(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_audio(path, tone(60.0, level=3.0), RATE_HZ)
    assert len(read_audio(path)) == 60 * RATE_HZ
    assert float(read_audio(path).abs().max()) < 1.3
    assert list(tmp_path.iterdir()) == [path]


def test_wav_and_flac_bytes_do_not_vary() -> None:
    for suffix in (".wav", ".flac"):
        assert encode_audio(tone(0.5), RATE_HZ, suffix) == encode_audio(tone(0.5), RATE_HZ, suffix)


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_audio(path, tone(0.1), RATE_HZ)
    before = path.read_bytes()
    for wave_T in (torch.zeros(0), torch.zeros(2, 5), torch.tensor([math.nan])):
        with pytest.raises(AudioError):
            write_audio(path, wave_T, RATE_HZ)
    with pytest.raises(AudioError, match="Cannot write .wav at -1 Hz"):
        write_audio(path, tone(0.1), -1)
    with pytest.raises(AudioError, match=r"use one of \.wav"):
        write_audio(tmp_path / "a.m4a", tone(0.1), RATE_HZ)
    with pytest.raises(AudioError, match="No such file"):
        write_audio(tmp_path / "none" / "a.wav", tone(0.1), RATE_HZ)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
