"""Bit rates: order is worth bits, chaos costs none, and training codes are of this codec."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.data.codes import ClipCodes, write_codes
from speechkit.data.packed import ClipInfo, PackedClip, Shard, write_packed
from speechkit.evaluate.codec.rate import (
    code_bits,
    code_lengths,
    measure_rate,
    payload_bytes,
    training_codes,
)


def _random(codebook_size: int, frames: int, codebooks: int = 2, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, codebook_size, (codebooks, frames), generator=rng)


def test_skewed_codes_cost_less_and_even_ones_no_more_than_they_hold() -> None:
    even_KF = _random(16, 3000)
    skewed_KF = torch.where(_random(8, 3000, seed=1) > 0, 3, even_KF)
    nominal = 2 * 3000 * 4
    assert 0.99 * nominal < sum(code_lengths([even_KF], (16, 16), 1)) < 1.03 * nominal
    skewed = code_lengths([skewed_KF], (16, 16), 0)
    # 7 in 8 are a 3, the others even over all 16.
    shares = [7 / 8 + 1 / 128] + 15 * [1 / 128]
    entropy = -sum(share * math.log2(share) for share in shares)
    assert sum(skewed) == pytest.approx(2 * 3000 * entropy, rel=0.1)


def test_order_one_learns_both_contexts() -> None:
    first_F = _random(16, 2000, codebooks=1)[0]
    walk_F = torch.arange(2000) % 16
    clips = [torch.stack([first_F, first_F, walk_F])]
    order0 = code_lengths(clips, (16,) * 3, 0)
    order1 = code_lengths(clips, (16,) * 3, 1)
    assert order1[0] > 0.95 * order0[0]
    # The second codebook repeats the one below, the third follows from its own last code.
    assert order1[1] < 0.4 * order0[1]
    assert order1[2] < 0.4 * order0[2]


def test_known_counts_help_from_the_first_code() -> None:
    rng = torch.Generator().manual_seed(0)
    train = torch.multinomial(torch.tensor([0.9, 0.05, 0.03, 0.02]), 4000, True, generator=rng)
    clip_KF = train[None, :40]
    known = code_lengths([clip_KF], (4,), 0, before=[train[None]])[0]
    assert known < 0.8 * code_lengths([clip_KF], (4,), 0)[0]


def test_one_clip_does_not_run_on_into_the_next() -> None:
    halves = code_lengths(30 * [torch.tensor([[0, 1]])], (4,), 1)
    joined = code_lengths([torch.tensor([30 * [0, 1]])], (4,), 1)
    # Within one clip a 1 tells that a 0 follows, as does the start of each of many clips.
    assert halves == pytest.approx(joined, rel=0.02)
    assert halves != joined


def test_codes_take_whole_bits_and_clips_whole_bytes() -> None:
    assert [code_bits(v) for v in (2, 3, 4, 1000, 1024, 1025)] == [1, 2, 2, 10, 10, 11]
    assert payload_bytes(torch.zeros(2, 3), (1024, 2)) == math.ceil(3 * 11 / 8)


def test_rate_report_counts_bits_from_bytes() -> None:
    clips = [_random(16, 100), _random(16, 60, seed=2)]
    report = measure_rate(
        clips,
        (16, 16),
        names=("a", "b"),
        frames_a_second=50,
        timbre_channels=10,
        trained_on=[_random(16, 50)],
    )
    assert report.seconds == pytest.approx(3.2)
    assert [rate.name for rate in report.rates] == [
        "nominal",
        "adaptive, order 0",
        "adaptive, order 1",
        "trained, order 0",
        "trained, order 1",
    ]
    assert report.rates[0].kbps == pytest.approx(0.4)
    assert report.rates[0].bits_a_code == (4.0, 4.0)
    assert report.timbre_kbps == pytest.approx(160 * 2 / 3.2 / 1000)
    assert report.text().startswith("nominal: 0.400 kb/s (bits a code: a 4.00")
    assert report.to_json()["codebooks"] == ("a", "b")
    with pytest.raises(DataError, match="no codes"):
        measure_rate([clips[0][:, :0]], (16, 16), names="ab", frames_a_second=50, timbre_channels=1)


def as_clip(codes_KF: Tensor) -> ClipCodes:
    return ClipCodes(
        codes_KF=codes_KF,
        phone_F=torch.zeros(codes_KF.shape[-1], dtype=torch.long),
        timbre_D=torch.zeros(4),
    )


def test_training_codes_are_those_of_this_codec(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.safetensors"
    clips = [
        PackedClip(
            info=ClipInfo(
                id=name, text=None, speaker="a", language="en", license="x", split="x", source="x"
            ),
            pcm_T=np.zeros(320, np.int16),
            f0_F=np.zeros(2, np.float16),
        )
        for name in ("one", "two")
    ]
    write_packed(corpus, clips)
    codes_KF = _random(16, 5)
    both = [as_clip(codes_KF), as_clip(codes_KF[:, :0])]
    write_codes(Shard(corpus), both, "mine")
    (found,) = training_codes(corpus, "mine")
    assert torch.equal(found, codes_KF)
    with pytest.raises(DataError, match="another codec"):
        training_codes(corpus, "yours")
