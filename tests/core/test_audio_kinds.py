"""Files of other kinds are named as such, padding is skipped, channels that cancel are heard."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from speechkit.core.audio import encode_audio, read_audio
from speechkit.core.errors import AudioError
from speechkit.core.rng import generator
from tests.facodec.builders import babble

RATE_HZ = 16_000
FOREIGN = {
    "M4A/AAC or MP4": b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom",
    "M4A/AAC or MP4 ": b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
    "AAC": b"\xff\xf1\x50\x80\x02\x1f\xfc",
    "AAC ": b"\xff\xf9\x50\x80\x02\x1f\xfc",
    "WebM or Matroska": b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01",
    "WMA": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
    "AMR": b"#!AMR\n\x3c",
    "Monkey's Audio": b"MAC \x96\x0f",
    "AVI video": b"RIFF\x10\x20\0\0AVI LIST",
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("suffix", ["wav", "m4a"])
def test_a_kind_that_is_not_read_is_named_and_to_be_converted(
    tmp_path: Path, kind: str, suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(FOREIGN[kind] + bytes(500))
    told = re.escape(f"{path} is of the kind {kind.strip()}")
    with pytest.raises(AudioError, match=rf"{told}.*which cannot be read: convert it to WAV"):
        read_audio(path)
    with path.open("rb") as file, pytest.raises(AudioError, match="^The voice is of the kind"):
        read_audio(file, name="The voice")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty and not an audio file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (b"PK\x03\x04\x14\0", "unpack it"),
        (bytes(5000), "is not an audio file"),
        (b"\xff\xfeT\0e\0x\0t\0", "is damaged or not an audio file"),
        (b"%PDF-1.7", "is not an audio file"),
    ],
)
def test_what_is_no_audio_is_told_what_it_is(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    with pytest.raises(AudioError, match=words) as caught:
        read_audio(path)
    assert str(caught.value).startswith(f"{path} ")


def speech() -> Tensor:
    return 0.1 * torch.randn(8_000, generator=generator(0))


@pytest.mark.parametrize("kind", ["mp3", "wav", "flac"])
@pytest.mark.parametrize("zeros", [1, 64, 65_536])
def test_zero_bytes_in_front_are_skipped(tmp_path: Path, kind: str, zeros: int) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, speech().numpy(), RATE_HZ, format=kind)
    expected_T = read_audio(io.BytesIO(buffer.getvalue()))
    path = tmp_path / f"a.{kind}"
    path.write_bytes(bytes(zeros) + buffer.getvalue())
    assert torch.equal(read_audio(path), expected_T)
    with path.open("rb") as file:
        assert torch.equal(read_audio(file), expected_T)


@pytest.mark.parametrize("other", [-1.0, -0.8])
@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate_hz", [RATE_HZ, 44_100])
def test_of_channels_that_cancel_the_loudest_is_heard(
    other: float, kind: str, rate_hz: int
) -> None:
    # Lossy formats keep the phase of voices, not of noise.
    wave = babble(5.0)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([wave, other * wave], axis=1), rate_hz, format=kind)
    buffer.seek(0)
    alone = io.BytesIO()
    soundfile.write(alone, wave, rate_hz, format=kind)
    alone.seek(0)
    heard_T, expected_T = read_audio(buffer), read_audio(alone)
    assert len(heard_T) == len(expected_T)
    assert float(heard_T.norm() / expected_T.norm()) == pytest.approx(1, abs=0.05)
    assert abs(float(torch.cosine_similarity(heard_T, expected_T, dim=0))) > 0.98


def test_channels_that_do_not_cancel_are_averaged() -> None:
    """One side alone, one side late, all different, six of them: the mean, as ever."""
    one, other = speech(), 0.1 * torch.randn(8_000, generator=generator(1))
    for channels in (
        [one, 0 * one],
        [one, -0.3 * one],
        [one, one.roll(40)],
        [one, other],
        [one] + [0 * one] * 5,
    ):
        buffer = io.BytesIO()
        wave_TC = torch.stack(channels, dim=1)
        soundfile.write(buffer, wave_TC.numpy(), RATE_HZ, format="WAV", subtype="FLOAT")
        buffer.seek(0)
        torch.testing.assert_close(read_audio(buffer), wave_TC.mean(dim=1), atol=1e-6, rtol=0)


def test_silence_in_stereo_is_silence() -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros((100, 2)), RATE_HZ, format="WAV")
    buffer.seek(0)
    assert torch.equal(read_audio(buffer), torch.zeros(100))


def test_damage_is_told_with_the_file_and_never_a_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    good = encode_audio(speech(), RATE_HZ)
    for data in (good[:44], good[:22] + b"\0\0" + good[24:], good[:12]):
        path.write_bytes(data)
        with pytest.raises(AudioError) as caught:
            read_audio(path)
        told = str(caught.value)
        assert told.startswith(f"{path} ")
        assert not re.search(r"opening \d|<_io|BytesIO", told), told


def test_a_header_that_leads_nowhere_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Lengths near 2**32 make libsndfile seek to before the file."""
    path = tmp_path / "a.wav"
    good = encode_audio(speech(), RATE_HZ, ".wav")
    aiff = io.BytesIO()
    soundfile.write(aiff, speech().numpy(), RATE_HZ, format="AIFF", subtype="PCM_16")
    for data in (good, aiff.getvalue()):
        for at in range(4, 60, 2):
            for number in (0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
                path.write_bytes(data[:at] + number.to_bytes(4, "little") + data[at + 4 :])
                with contextlib.suppress(AudioError):
                    read_audio(path)
    assert "Traceback" not in capfd.readouterr().err
