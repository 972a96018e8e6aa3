"""The range coder and its predictions: everything comes back, and order is worth bits."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.data.codes import codes_path, write_codes
from speechkit.data.packed import ClipInfo, PackedClip, write_packed
from speechkit.evaluate.codec.contexts import build_models, train_models
from speechkit.evaluate.codec.entropy import code_bits, decode, encode, information, pack
from speechkit.evaluate.codec.range_coder import TOTAL, RangeDecoder, RangeEncoder, frequencies
from speechkit.evaluate.codec.rate import measure_rate, rate_lines, training_codes

ENTRIES = (7, 4, 16)


@st.composite
def _clips(draw: st.DrawFn) -> list[Tensor]:
    lengths = draw(st.lists(st.integers(0, 20), min_size=1, max_size=3))
    return [
        torch.tensor(
            [draw(st.lists(st.integers(0, v - 1), min_size=n, max_size=n)) for v in ENTRIES],
            dtype=torch.int64,
        ).reshape(len(ENTRIES), n)
        for n in lengths
    ]


@settings(deadline=None, max_examples=40)
@given(_clips(), st.sampled_from([0, 1]))
def test_codes_come_back(clips: list[Tensor], order: int) -> None:
    data = encode(clips, build_models(ENTRIES, order))
    back = decode(data, [clip.shape[1] for clip in clips], build_models(ENTRIES, order))
    assert all(torch.equal(a, b) for a, b in zip(clips, back, strict=True))
    bits = sum(information(clips, build_models(ENTRIES, order)))
    assert bits - 1e-6 <= 8 * len(data) <= 1.001 * bits + 16


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 2**20), st.integers(0, 3)), min_size=1, max_size=80))
def test_range_coder_takes_any_distribution(steps: list[tuple[int, int]]) -> None:
    # Shares from next to nothing to next to all, which is where carries run far.
    coder = RangeEncoder()
    tables = []
    for weight, symbol in steps:
        table = frequencies(np.array([1.0, weight, 1.0 / weight, 3.0]))
        tables.append(table)
        coder.put(int(table[symbol]), int(table[symbol + 1] - table[symbol]))
    reader = RangeDecoder(coder.finish())
    assert [reader.get(table) for table in tables] == [symbol for _, symbol in steps]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=300).filter(lambda p: sum(p) > 0.01))
def test_frequencies_add_up_and_leave_nothing_impossible(probability: list[float]) -> None:
    table = frequencies(np.array(probability))
    assert (table[0], table[-1]) == (0, TOTAL)
    assert (np.diff(table) >= 1).all()


def _random(entries: int, frames: int, books: int = 2, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, entries, (books, frames), generator=rng)


def test_skewed_codes_cost_less_and_even_ones_no_more_than_they_hold() -> None:
    even_KF = _random(16, 3000)
    skewed_KF = torch.where(_random(8, 3000, seed=1) > 0, 3, even_KF)
    nominal = 2 * 3000 * 4
    assert 0.99 * nominal < sum(information([even_KF], build_models((16, 16), 1))) < 1.03 * nominal
    skewed = information([skewed_KF], build_models((16, 16), 0))
    # 7 in 8 are a 3, the others even over all 16.
    shares = [7 / 8 + 1 / 128] + 15 * [1 / 128]
    entropy = -sum(share * math.log2(share) for share in shares)
    assert sum(skewed) == pytest.approx(2 * 3000 * entropy, rel=0.1)


def test_order_one_learns_both_contexts() -> None:
    first_F = _random(16, 2000, books=1)[0]
    walk_F = torch.arange(2000) % 16
    clips = [torch.stack([first_F, first_F, walk_F])]
    order0 = information(clips, build_models((16,) * 3, 0))
    order1 = information(clips, build_models((16,) * 3, 1))
    assert order1[0] > 0.95 * order0[0]
    # The second book repeats the one below, the third follows from its own last code.
    assert order1[1] < 0.4 * order0[1]
    assert order1[2] < 0.4 * order0[2]


def test_trained_counts_help_from_the_first_code_and_stay_as_they_are() -> None:
    rng = torch.Generator().manual_seed(0)
    train = [torch.multinomial(torch.tensor([0.9, 0.05, 0.03, 0.02]), 4000, True, generator=rng)]
    clip_KF = train[0][None, :40]
    models = build_models((4,), 0)
    train_models(models, [train[0][None]])
    known = information([clip_KF], models)[0]
    assert known < 0.8 * information([clip_KF], build_models((4,), 0))[0]
    again = build_models((4,), 0)
    train_models(again, [train[0][None]])
    context = (-1, -1)
    assert models[0].chances(context) == pytest.approx(again[0].chances(context))


def test_packing_takes_whole_bits_a_code() -> None:
    assert [code_bits(v) for v in (2, 3, 4, 1000, 1024, 1025)] == [1, 2, 2, 10, 10, 11]
    codes_KF = torch.tensor([[0, 1023, 5], [1, 0, 1]])
    packed = pack(codes_KF, (1024, 2))
    assert len(packed) == math.ceil(3 * 11 / 8)
    bits = "".join(f"{byte:08b}" for byte in packed)[:33]
    assert bits == "0000000000" + "1" + "1111111111" + "0" + "0000000101" + "1"


def test_rate_report_counts_bits_from_bytes() -> None:
    clips = [_random(16, 100), _random(16, 60, seed=2)]
    report = measure_rate(
        clips, (16, 16), frames_a_second=50, timbre_channels=10, trained_on=[_random(16, 50)]
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
    assert abs(8 * report.checked_bytes - report.checked_bits) < 24
    assert report.timbre_kbps == pytest.approx(160 * 2 / 3.2 / 1000)
    assert rate_lines(report, ["a", "b"])[0].startswith("nominal: 0.400 kb/s (bits a code: a 4.00")
    with pytest.raises(DataError, match="no codes"):
        measure_rate([clips[0][:, :0]], (16, 16), frames_a_second=50, timbre_channels=1)


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
    write_codes(codes_path(corpus), [codes_KF, codes_KF[:, :0]], ["one", "two"], "mine")
    (found,) = training_codes(corpus, "mine")
    assert torch.equal(found, codes_KF)
    with pytest.raises(DataError, match="another codec"):
        training_codes(corpus, "yours")
