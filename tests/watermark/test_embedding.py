"""Writing the watermark: deterministic, quiet, in pieces as in one, refused where it does not
fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.audio import read_audio
from speechkit.core.errors import AudioError, ConfigError
from speechkit.watermark import StreamingEmbedder, Watermark, apply_watermark, detect, embed
from speechkit.watermark.code import CHIPS, PAYLOADS, code_word
from speechkit.watermark.detection import MIN_SECONDS
from speechkit.watermark.embedding import QUIET_GAIN_DB

CLIP = Path(__file__).parents[2] / "speechkit" / "voices" / "synthetic_af_bella.flac"


@pytest.fixture(scope="module")
def speech() -> Tensor:
    return read_audio(CLIP)


@given(st.integers(0, PAYLOADS - 1), st.integers(0, PAYLOADS - 1))
def test_code_words_are_signs_and_far_apart(one: int, other: int) -> None:
    a, b = code_word(one).flatten(), code_word(other).flatten()
    assert bool((a.abs() == 1).all())
    product = float(a @ b)
    assert (product == CHIPS) == (one == other)
    if one != other:
        assert product < 0.25 * CHIPS


def test_the_first_code_word_is_the_same_for_ever() -> None:
    # Speech that is out there was watermarked with it.
    first = [-1, 1, 1, -1, -1, -1, 1, 1, -1, 1, 1, 1]
    assert code_word(0).flatten()[:12].tolist() == first


def test_same_bytes_same_length_and_small_change(speech: Tensor) -> None:
    watermarked_T = embed(speech, 16_000)
    assert torch.equal(watermarked_T, embed(speech, 16_000))
    assert watermarked_T.shape == speech.shape
    assert not torch.equal(watermarked_T, embed(speech, 16_000, payload=1))
    change = float((watermarked_T - speech).norm() / speech.norm())
    assert 0.02 < change < 10 ** (QUIET_GAIN_DB / 20) - 1
    change_R = torch.fft.rfft(watermarked_T - speech).abs().square()
    assert float(change_R[len(change_R) // 2 :].sum()) < 1e-2 * float(change_R.sum())


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=12), st.sampled_from([8_000, 16_000]))
def test_pieces_give_what_the_whole_gives(lengths: list[int], rate_hz: int) -> None:
    wave_T = 0.1 * torch.randn(sum(lengths), generator=torch.Generator().manual_seed(1))
    embedder = StreamingEmbedder(rate_hz, payload=77)
    pieces = [embedder.push(piece) for piece in torch.split(wave_T, lengths)]
    joined_T = torch.cat([*pieces, embedder.flush()])
    torch.testing.assert_close(joined_T, embed(wave_T, rate_hz, 77), atol=1e-6, rtol=0)
    assert len(joined_T) == len(wave_T)
    # After the end it starts afresh.
    again_T = torch.cat([embedder.push(wave_T), embedder.flush()])
    torch.testing.assert_close(again_T, joined_T, atol=1e-6, rtol=0)


@pytest.mark.parametrize("samples", [0, 1, 255, 256, 257, 5000])
def test_silence_stays_silence(samples: int) -> None:
    watermarked_T = embed(torch.zeros(samples), 16_000)
    assert torch.equal(watermarked_T, torch.zeros(samples))


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_other_rates_carry_the_watermark(speech: Tensor, rate_hz: int) -> None:
    wave_T = read_audio(CLIP, rate_hz)
    found = detect(embed(wave_T, rate_hz, payload=4242), rate_hz)
    assert found.payload == 4242


@pytest.mark.parametrize(
    ("wave_T", "rate_hz"),
    [
        (torch.zeros(2, 9), 16_000),
        (torch.zeros(9).long(), 16_000),
        (torch.full((9,), float("nan")), 16_000),
        (torch.zeros(9), 7_999),
        (torch.zeros(9), 400_000),
    ],
)
def test_what_is_no_wave_is_refused(wave_T: Tensor, rate_hz: int) -> None:
    with pytest.raises(AudioError):
        embed(wave_T, rate_hz)
    with pytest.raises(AudioError):
        detect(wave_T, rate_hz)


@pytest.mark.parametrize("payload", [-1, 65_536, 1.0, True])
def test_payloads_beyond_16_bits_are_refused(payload: int) -> None:
    with pytest.raises(ConfigError, match="65535"):
        Watermark(payload=payload)
    with pytest.raises(ConfigError, match="65535"):
        embed(torch.zeros(9), 16_000, payload)


@pytest.mark.parametrize("seconds", [0.1, 0.55, 0.65, 1.0, 1.5, 3.0])
def test_what_is_said_of_the_watermark_is_what_is_found(speech: Tensor, seconds: float) -> None:
    part_T = speech[8_000 : 8_000 + round(seconds * 16_000)]
    watermarked = apply_watermark(part_T, 16_000, Watermark(payload=4242))
    found = detect(watermarked.wave_T, 16_000)
    assert found.payload == watermarked.payload
    assert bool(watermarked.notes) == (watermarked.payload is None)
    if seconds < MIN_SECONDS:
        assert "Too short to carry a watermark" in watermarked.notes[0]
        assert "too short" in found.note
        assert torch.equal(watermarked.wave_T, part_T)
    elif seconds >= 1:
        assert watermarked.payload == 4242


def test_what_has_no_sound_is_not_said_to_be_watermarked() -> None:
    silence_T = torch.zeros(16_000)
    watermarked = apply_watermark(silence_T, 16_000, Watermark())
    assert watermarked.payload is None
    assert "too little sound" in watermarked.notes[0]
    assert apply_watermark(silence_T, 16_000, None).notes == ()
