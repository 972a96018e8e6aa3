"""Long recordings in pieces: the same wave and the same codes as in one go, wherever it is cut."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.results import Codes
from speechkit.core.rng import generator
from speechkit.core.spans import spans
from speechkit.facodec import stream
from speechkit.facodec.small import source
from speechkit.facodec.small.codec import FACodec, build_codec
from speechkit.facodec.small.config import FACodecConfig, VocoderConfig
from speechkit.facodec.small.source import (
    RunningSource,
    between_frames,
    exact_lines,
    excitation,
)
from speechkit.facodec.small.stream import decode_context_frames
from speechkit.facodec.stream import decode_stream, encode_long
from tests.facodec.builders import syllables
from tests.facodec.paper import builders as paper
from tests.tiny import CODEBOOK_SIZE, TINY_CODEC

TOLERANCE = 1e-4
LONG_FRAMES = 1550
"""31 s: longer than what the codec reads in one go."""

INVERSE_STFT = replace(
    TINY_CODEC, vocoder=VocoderConfig(kind="inverse_stft", channels=16, blocks=1)
)


def built(config: FACodecConfig) -> FACodec:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codec = build_codec(config).eval()
        for name, parameter in codec.named_parameters():
            # Wake gates and the vocoder's correction, which start at 0, so that context matters.
            if "modulation" in name or name.startswith("vocoder.out"):
                parameter.data.add_(0.05 * torch.randn_like(parameter))
    return codec


@pytest.fixture(scope="module", params=[TINY_CODEC, INVERSE_STFT], ids=["source", "stft"])
def codec(request: pytest.FixtureRequest) -> FACodec:
    config: FACodecConfig = request.param
    return built(config)


def random_codes(frames: int, seed: int = 0) -> Codes:
    codebooks = torch.randint(CODEBOOK_SIZE, (6, frames), generator=generator(seed))
    return Codes(prosody_KF=codebooks[:1], content_KF=codebooks[1:3], detail_KF=codebooks[3:])


def timbre(seed: int = 1) -> Tensor:
    return torch.randn(TINY_CODEC.timbre_channels, generator=generator(seed))


@settings(max_examples=50)
@given(st.integers(1, 400), st.integers(1, 90), st.integers(0, 50))
def test_spans_cover_everything_once(length: int, piece: int, context: int) -> None:
    found = list(spans(length, piece, context))
    assert [i for span in found for i in range(span.start, span.end)] == list(range(length))
    for span in found:
        assert 0 <= span.low <= span.start < span.end <= span.high <= length
        assert span.low in (0, span.start - context)
        assert span.high in (length, span.end + context)
        assert list(range(length))[span.seen][span.own] == list(range(span.start, span.end))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(40, 700), min_size=1, max_size=30), st.sampled_from([8, 160]))
def test_exact_lines_are_straight_lines(values: list[float], hop: int) -> None:
    x_BF = torch.tensor([values])
    # Single precision is off by up to 4e-5 on a steep line; half a sample would be 1e-3 and more.
    assert torch.allclose(exact_lines(x_BF, hop).float(), between_frames(x_BF, hop), rtol=1e-4)


def test_short_recordings_are_decoded_in_one_go(codec: FACodec) -> None:
    codes = random_codes(40)
    pieces = list(decode_stream(codec, codes, timbre(), generator(3)))
    assert len(pieces) == 1
    assert torch.equal(pieces[0], codec.decode(codes, timbre(), generator(3)))


def pieces(codec: FACodec, codes: Codes, block_seconds: float, **options: Any) -> list[Tensor]:
    rng = generator(3)
    return list(
        decode_stream(
            codec, codes, timbre(), rng, whole_seconds=0, block_seconds=block_seconds, **options
        )
    )


@pytest.mark.parametrize("without", [(), ("detail",)])
def test_pieces_are_the_whole(
    codec: FACodec, without: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As of a long recording, whose pitch is read in double precision.
    monkeypatch.setattr(source, "LONG_FRAMES", 0)
    codes = random_codes(90)
    whole_T = codec.decode(codes, timbre(), generator(3), without=without)
    assert float(whole_T.std()) > 1e-3
    for frames in (9, 40, 89, 90):
        waves = pieces(codec, codes, frames / 50, without=without)
        assert [len(wave_T) for wave_T in waves[:-1]] == [320 * frames] * (len(waves) - 1)
        torch.testing.assert_close(torch.cat(waves), whole_T, atol=TOLERANCE, rtol=0)


def test_a_long_recording_is_the_whole_without_further_ado() -> None:
    codec, codes = built(TINY_CODEC), random_codes(LONG_FRAMES)
    waves = list(decode_stream(codec, codes, timbre(), generator(3)))
    assert len(waves) == 2
    whole_T = codec.decode(codes, timbre(), generator(3))
    torch.testing.assert_close(torch.cat(waves), whole_T, atol=TOLERANCE, rtol=0)


@settings(deadline=None, max_examples=6)
@given(st.integers(1, 90), st.integers(6, 60), st.integers(0, 99))
def test_no_cut_matters(frames: int, block_frames: int, seed: int) -> None:
    codec, codes = built(TINY_CODEC), random_codes(frames, seed)
    (one_piece_T,) = pieces(codec, codes, 1000)
    assert len(one_piece_T) == 320 * frames
    cut_T = torch.cat(pieces(codec, codes, block_frames / 50))
    torch.testing.assert_close(cut_T, one_piece_T, atol=TOLERANCE, rtol=0)


def test_less_context_would_be_heard() -> None:
    # The stated reach is needed: a change just within it is heard, one beyond it is not.
    codec = built(replace(TINY_CODEC, decoder_blocks=4))
    codes, reach = random_codes(140), decode_context_frames(codec)
    plain_T = codec.decode(codes, timbre(), generator(0))

    def changed_at(frame: int) -> Tensor:
        content_KF = codes.content_KF.clone()
        content_KF[:, frame] = (content_KF[:, frame] + 5) % CODEBOOK_SIZE
        other = replace(codes, content_KF=content_KF)
        return codec.decode(other, timbre(), generator(0))[70 * 320 : 71 * 320]

    mine_T = plain_T[70 * 320 : 71 * 320]
    assert torch.equal(changed_at(70 - reach), mine_T)
    assert torch.equal(changed_at(70 + reach), mine_T)
    assert not torch.equal(changed_at(70 - reach + 6), mine_T)


def test_the_running_phase_is_that_of_the_whole() -> None:
    f0_F = 80 + 300 * torch.rand(4000, generator=generator(0))
    whole = excitation(f0_F[None], torch.ones(1, 4000), generator(1), 160, 16_000)
    running = RunningSource(generator(1), 160, 16_000, context_frames=60)
    for span in spans(4000, 777, 60):
        part = running.advance(f0_F[span.seen], torch.ones(span.high - span.low), span)
        own = span.times(160).own
        for name in ("phase_BT", "noise_BT", "gate_BT"):
            expected = getattr(whole, name)[:, 160 * span.start : 160 * span.end]
            assert torch.equal(getattr(part, name)[:, own], expected)


def speech(seconds: float) -> Tensor:
    rng = np.random.default_rng(0)
    pieces: list[Tensor] = []
    while sum(map(len, pieces)) < seconds * 16_000:
        pieces.append(syllables(rng, float(rng.uniform(90, 220)))[0] * float(rng.uniform(0.3, 1)))
    return torch.cat(pieces)[: round(seconds * 16_000)]


def test_codes_and_timbre_of_a_long_wave_are_those_of_the_whole() -> None:
    codec, wave_T = built(TINY_CODEC), speech(9.01)
    whole, whole_D = codec.encode(wave_T)
    codes, timbre_D = encode_long(codec, wave_T, whole_seconds=4, block_seconds=4)
    assert codes.frames == whole.frames == 451
    same_K = (codes.stacked() == whole.stacked()).float().mean(-1)
    assert float(same_K.min()) > 0.99
    torch.testing.assert_close(timbre_D, whole_D, atol=1e-3, rtol=0)
    short, short_D = encode_long(codec, wave_T[:16_000])
    expected, expected_D = codec.encode(wave_T[:16_000])
    assert torch.equal(short.stacked(), expected.stacked())
    assert torch.equal(short_D, expected_D)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_paper_codec_overlaps(
    version: Literal["v1", "v2"], monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = paper.codec(replace(paper.TINY, version=version))
    # The 80 frames that a second is of the codec at its own size.
    monkeypatch.setattr(stream, "CONTEXT_SECONDS", 80 * codec.hop_samples / 16_000)
    wave_T = paper.noise(12_077)
    whole, whole_D = codec.encode(wave_T)

    def encoded() -> tuple[float, Tensor]:
        codes, timbre_D = encode_long(codec, wave_T, whole_seconds=0, block_seconds=0.3)
        # The prosody of V2 comes from a transformer over the whole recording.
        same_KF = (codes.stacked() == whole.stacked())[int(version == "v2") :]
        return float(same_KF.float().mean()), timbre_D

    def off(*without: str) -> float:
        expected_T = codec.decode(whole, whole_D, generator(0), without=without)
        given = (codec, whole, whole_D, generator(0))
        waves = list(decode_stream(*given, without=without, whole_seconds=0, block_seconds=0.3))
        return float((torch.cat(waves) - expected_T).abs().max())

    same, timbre_D = encoded()
    assert same > 0.99
    assert float(torch.cosine_similarity(timbre_D, whole_D, dim=0)) > 0.95
    # Random weights enlarge the rounding of convolutions over another length.
    assert max(off(), off("detail")) < 1e-3
    monkeypatch.setattr(stream, "CONTEXT_SECONDS", 0.0)
    assert encoded()[0] < same
    assert off() > 0.01


def test_the_context_is_wider_than_the_paper_codec_looks() -> None:
    strides = (2, 4, 5, 5)
    codec = paper.codec(replace(paper.TINY, strides=strides, encoder_channels=2))
    reach = round(stream.CONTEXT_SECONDS * codec.sample_rate_hz / codec.hop_samples)
    assert reach == 80
    codes = torch.randint(CODEBOOK_SIZE, (6, 100), generator=generator(0))
    timbre_D = torch.ones(codec.timbre_channels)

    def wave_after(changed: int) -> Tensor:
        codebooks = codes.clone()
        codebooks[1, changed] = (codebooks[1, changed] + 5) % CODEBOOK_SIZE
        given = Codes(prosody_KF=codebooks[:1], content_KF=codebooks[1:3], detail_KF=codebooks[3:])
        return codec.decode(given, timbre_D, generator(0))[90 * 200 : 91 * 200]

    assert torch.equal(wave_after(10), wave_after(9))
    assert not torch.equal(wave_after(10), wave_after(80))
    wave_T = paper.noise(100 * 200)
    louder_T = wave_T.clone()
    louder_T[: 10 * 200] *= 2
    same_KF = codec.encode(wave_T)[0].stacked() == codec.encode(louder_T)[0].stacked()
    assert bool(same_KF[:, 90:].all())
    assert not bool(same_KF[:, :12].all())
