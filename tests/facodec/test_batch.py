"""Items of a batch come out of every codec as they do alone, whatever stands beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from speechkit.core.results import Codes
from speechkit.core.rng import generator
from speechkit.facodec.codec import Codec
from speechkit.facodec.lengths import held, kept, lengths_of, padded, silenced
from speechkit.facodec.pretrained import load_pretrained
from tests.facodec.paper import builders as paper
from tests.facodec.test_stream import INVERSE_STFT, built, random_codes, speech
from tests.tiny import TINY_CODEC

FRAMES = (41, 7, 1, 60, 60, 23, 38, 52)
"""Eight items, one of a single frame and two of the longest length."""

TOLERANCE = 1e-5


def paper_codec(version: Literal["v1", "v2"], *, index_position: bool) -> Codec:
    config = replace(paper.TINY, version=version, batch_index_position=index_position)
    return paper.codec(config)


CODECS: dict[str, Callable[[], Codec]] = {
    "source": lambda: built(TINY_CODEC),
    "stft": lambda: built(INVERSE_STFT),
    "v1": lambda: paper_codec("v1", index_position=True),
    "v2": lambda: paper_codec("v2", index_position=False),
}


@pytest.fixture(scope="module", params=CODECS)
def codec(request: pytest.FixtureRequest) -> Codec:
    return CODECS[request.param]()


def items(codec: Codec) -> tuple[list[Codes], Tensor]:
    rng = generator(5)
    timbre_BD = torch.randn(len(FRAMES), codec.timbre_channels, generator=rng)
    return [random_codes(frames, seed) for seed, frames in enumerate(FRAMES)], timbre_BD


@pytest.mark.parametrize("without", [(), ("prosody",), ("content", "detail")])
def test_a_batch_of_eight_is_decoded_as_each_is_alone(
    codec: Codec, without: tuple[str, ...]
) -> None:
    codes, timbre_BD = items(codec)
    rngs = [generator(seed) for seed in range(len(codes))]
    waves = codec.decode_batch(codes, timbre_BD, rngs, without=without)
    for n, wave_T in enumerate(waves):
        alone_T = codec.decode(codes[n], timbre_BD[n], generator(n), without=without)
        assert len(wave_T) == FRAMES[n] * codec.hop_samples
        torch.testing.assert_close(wave_T, alone_T, atol=TOLERANCE, rtol=0)


def test_a_batch_of_eight_is_encoded_as_each_is_alone(codec: Codec) -> None:
    whole_T = speech(1.0)
    lengths = [4_000, 3_001, 320, 7_111, 7_111, 999, 2_345, 700]
    waves = [whole_T[100 * n : 100 * n + length] for n, length in enumerate(lengths)]
    for wave_T, (codes, timbre_D) in zip(waves, codec.encode_batch(waves), strict=True):
        alone, alone_D = codec.encode(wave_T)
        assert torch.equal(codes.stacked(), alone.stacked())
        torch.testing.assert_close(timbre_D, alone_D, atol=TOLERANCE, rtol=0)


def test_no_items_are_no_waves(codec: Codec) -> None:
    assert codec.decode_batch([], torch.zeros(0, codec.timbre_channels), []) == []
    assert codec.encode_batch([]) == []


@pytest.mark.slow
def test_the_shipped_codec_decodes_and_encodes_batches_as_single_items() -> None:
    codec, wave_T = load_pretrained().codec, speech(9.0)
    waves = [wave_T[: 16_000 * seconds] for seconds in (9, 3, 1, 5, 7, 2, 8, 4)]
    found = codec.encode_batch(waves)
    timbre_BD = torch.stack([timbre_D for _, timbre_D in found])
    rngs = [generator(n) for n in range(8)]
    made = codec.decode_batch([codes for codes, _ in found], timbre_BD, rngs)
    for n, (codes, timbre_D) in enumerate(found):
        alone, alone_D = codec.encode(waves[n])
        assert torch.equal(codes.stacked(), alone.stacked())
        torch.testing.assert_close(timbre_D, alone_D, atol=TOLERANCE, rtol=0)
        alone_T = codec.decode(codes, timbre_D, generator(n))
        torch.testing.assert_close(made[n], alone_T, atol=TOLERANCE, rtol=0)


def test_what_stands_beyond_the_end_of_an_item() -> None:
    x_BDL = torch.arange(12.0).reshape(2, 1, 6)
    lengths_B = torch.tensor([2, 6])
    assert kept(lengths_B, 6).sum(1).tolist() == [2, 6]
    assert silenced(x_BDL, lengths_B)[0, 0].tolist() == [0, 1, 0, 0, 0, 0]
    assert held(x_BDL, lengths_B)[0, 0].tolist() == [0, 1, 1, 1, 1, 1]
    assert torch.equal(held(x_BDL, lengths_B)[1], x_BDL[1])
    assert held(x_BDL[:, 0], lengths_B)[0].tolist() == [0, 1, 1, 1, 1, 1]
    short, long = torch.ones(2, 3), torch.ones(2, 5)
    assert padded([short, long])[0].sum(0).tolist() == [2, 2, 2, 0, 0]
    assert lengths_of([short, short]) is None
    found = lengths_of([short, long])
    assert found is not None
    assert found.tolist() == [3, 5]
