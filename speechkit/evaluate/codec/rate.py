"""Bit rate: nominal, and what is left when codes are predicted from those before them.

Nothing is coded: the rates are sums of -log2 p, which a range coder reaches to within a byte.

Legend: K codebooks, F frames.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.data.codes import CorpusCodes
from speechkit.data.packed import PackedCorpus

BACKOFF = 100.0
"""Imaginary observations in every context: of order 0, and in order 0 of an even use."""
FORGET = 0.01
"""How fast the mixing weights forget."""
_ALL = ("all", 0)


@dataclass(frozen=True, kw_only=True)
class CodingRate:
    """One way to send the codes."""

    name: str
    """What predicts them."""
    kbps: float
    """Kilobits a second over all clips."""
    bits_a_code: tuple[float, ...]
    """Bits that a code of each codebook takes."""


@dataclass(frozen=True, kw_only=True)
class RateReport:
    """Bit rates of a codec on some clips."""

    codebooks: tuple[str, ...]
    """Names of the codebooks."""
    seconds: float
    """Speech measured."""
    rates: tuple[CodingRate, ...]
    """Nominal first."""
    timbre_bits: int
    """The timbre vector in half precision, sent once for a recording."""
    timbre_kbps: float
    """What that adds on these clips."""

    def text(self) -> str:
        """A line for each way to send the codes."""
        lines = []
        for rate in self.rates:
            bits = ", ".join(
                f"{name} {bits:.2f}"
                for name, bits in zip(self.codebooks, rate.bits_a_code, strict=True)
            )
            lines.append(f"{rate.name}: {rate.kbps:.3f} kb/s (bits a code: {bits})")
        lines.append(
            f"the timbre vector, once a recording: {self.timbre_bits} bits, "
            f"{self.timbre_kbps:.2f} kb/s on these clips of {self.seconds:.0f} s in all"
        )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def code_bits(codebook_size: int) -> int:
    """Whole bits that a code takes."""
    return max(1, math.ceil(math.log2(codebook_size)))


def payload_bytes(codes_KF: Tensor, codebook_sizes: Sequence[int]) -> int:
    """Bytes of codes at whole bits a code, filled up to whole bytes."""
    return -(-sum(map(code_bits, codebook_sizes)) * codes_KF.shape[1] // 8)


def training_codes(corpus: str | Path, codec_sha256: str) -> list[Tensor]:
    """Codes `[K, F]` of a packed corpus, from what `speechkit encode` puts beside its shards.

    Raises DataError where they are missing or were made by another codec.
    """
    codes = CorpusCodes(PackedCorpus(corpus))
    if codes.codec_sha256 != codec_sha256:
        raise DataError(f"The codes beside {corpus} are another codec's: run speechkit encode.")
    return [codes.clip(i).codes_KF for i in range(len(codes)) if codes.has(i)]


def measure_rate(
    clips: Sequence[Tensor],
    codebook_sizes: Sequence[int],
    *,
    names: Sequence[str],
    frames_a_second: float,
    timbre_channels: int,
    trained_on: Sequence[Tensor] = (),
) -> RateReport:
    """Rates of clips of codes `[K, F]`; `names` those of the codebooks.

    The predictions learn on through all clips; with `trained_on` there are also rates of
    predictions that have seen those clips before. Raises DataError without codes.
    """
    frames = sum(codes_KF.shape[1] for codes_KF in clips)
    if not frames:
        raise DataError("There are no codes to measure: give clips that are not empty.")
    seconds = frames / frames_a_second
    packed = sum(payload_bytes(codes_KF, codebook_sizes) for codes_KF in clips)
    rates = [
        CodingRate(
            name="nominal",
            kbps=8 * packed / seconds / 1000,
            bits_a_code=tuple(torch.tensor(codebook_sizes).log2().tolist()),
        )
    ]
    for name, before in (("adaptive", ()), ("trained", trained_on)):
        for order in (0, 1) if name == "adaptive" or before else ():
            bits_K = code_lengths(clips, codebook_sizes, order, before)
            rates.append(
                CodingRate(
                    name=f"{name}, order {order}",
                    kbps=sum(bits_K) / seconds / 1000,
                    bits_a_code=tuple(bits / frames for bits in bits_K),
                )
            )
    return RateReport(
        codebooks=tuple(names),
        seconds=seconds,
        rates=tuple(rates),
        timbre_bits=16 * timbre_channels,
        timbre_kbps=16 * timbre_channels * len(clips) / seconds / 1000,
    )


def code_lengths(
    clips: Sequence[Tensor],
    codebook_sizes: Sequence[int],
    order: int,
    before: Sequence[Tensor] = (),
) -> list[float]:
    """Bits `-sum log2 p` of each codebook's codes over clips `[K, F]`, predicted as they come.

    Order 0 counts how often a code came. Order 1 adds what came after the last code of the codebook
    and beside the code of the codebook below in the same frame, both backed off to order 0 (MacKay
    and Peto 1995); weights that move to whichever predicts best mix the three. The codes of
    `before` are counted first and cost nothing.
    """
    totals = []
    for k, size in enumerate(codebook_sizes):
        seen: Counter[tuple[str, int]] = Counter()
        counts: Counter[tuple[tuple[str, int], int]] = Counter()
        contexts_used = order * (1 + (k > 0))
        weights = [1 / (1 + contexts_used)] * (1 + contexts_used)
        bits = 0.0
        for number, codes_KF in enumerate([*before, *clips]):
            last = -1
            below_F = codes_KF[max(0, k - 1)].tolist()
            for code, below in zip(codes_KF[k].tolist(), below_F, strict=True):
                share = (counts[_ALL, code] + BACKOFF / size) / (seen[_ALL] + BACKOFF)
                contexts = [("last", last), ("below", below)][:contexts_used]
                shares = [share] + [
                    (counts[context, code] + BACKOFF * share) / (seen[context] + BACKOFF)
                    for context in contexts
                ]
                weighted = [w * one for w, one in zip(weights, shares, strict=True)]
                share = sum(weighted)
                weights = [(1 - FORGET) * w / share + FORGET / len(weights) for w in weighted]
                if number >= len(before):
                    bits -= math.log2(share)
                for context in (_ALL, *contexts):
                    seen[context] += 1
                    counts[context, code] += 1
                last = code
        totals.append(bits)
    return totals
