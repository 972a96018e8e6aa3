"""Audio that is sent while it is made."""

from __future__ import annotations

import io

import pytest
import torch

from speechkit.core.audio import encode_audio, read_audio
from speechkit.core.encoder import AudioEncoder
from speechkit.core.errors import AudioError

RATE_HZ = 16_000
WAVE = 0.3 * torch.sin(torch.arange(3 * RATE_HZ) * (2 * torch.pi * 220 / RATE_HZ))


@pytest.mark.parametrize("suffix", [".wav", ".ogg", ".opus", ".mp3"])
def test_pieces_joined_are_a_file_of_the_whole(suffix: str) -> None:
    encoder = AudioEncoder(RATE_HZ, suffix)
    pieces = [encoder.push(piece) for piece in (WAVE[:32000], WAVE[32000:32000], WAVE[32000:])]
    assert pieces[0], "nothing was ready after two seconds"
    heard = read_audio(io.BytesIO(b"".join([*pieces, encoder.flush()])))
    whole = read_audio(io.BytesIO(encode_audio(WAVE, RATE_HZ, suffix)))
    # MP3 has frames of 36 ms: one before the sound, and the tail of the coder.
    assert abs(len(heard) - len(whole)) <= (2304 if suffix == ".mp3" else 0)
    assert float(heard[8000:40000].square().mean()) == pytest.approx(0.045, rel=0.1)


def test_streamed_flac_leaves_its_length_open() -> None:
    encoder = AudioEncoder(RATE_HZ, ".flac")
    data = encoder.push(WAVE) + encoder.flush()
    assert data[:4] == b"fLaC"
    # The last 36 bits before the checksum are the number of samples, 0 for "unknown".
    assert int.from_bytes(data[21:26], "big") & (1 << 36) - 1 == 0
    with pytest.raises(AudioError, match="does not say how long"):
        read_audio(io.BytesIO(data))


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(AudioError, match=r"\.aac"):
        AudioEncoder(RATE_HZ, ".aac")
    with pytest.raises(AudioError, match="not finite"):
        AudioEncoder(RATE_HZ, ".wav").push(torch.tensor([float("nan")]))
