"""Bit rate: nominal, and what is left when codes are predicted from those before them.

Legend: K code books, F frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.data.codes import CorpusCodes, codes_path
from speechkit.data.packed import PackedCorpus
from speechkit.evaluate.codec.contexts import BookModel, build_models, train_models
from speechkit.evaluate.codec.entropy import decode, encode, information, pack

_CHECKED_FRAMES = 500


@dataclass(frozen=True, kw_only=True)
class CodingRate:
    """One way to send the codes."""

    name: str
    """What predicts them."""
    kbps: float
    """Kilobits a second over all clips."""
    bits_a_code: tuple[float, ...]
    """Bits that a code of each book takes."""


@dataclass(frozen=True, kw_only=True)
class RateReport:
    """Bit rates of a codec on some clips."""

    seconds: float
    """Speech coded."""
    rates: tuple[CodingRate, ...]
    """Nominal first."""
    timbre_bits: int
    """The timbre vector in half precision, sent once for a recording."""
    timbre_kbps: float
    """What that adds on these clips."""
    checked_bytes: int
    """Size of some clips really coded, and found the same after decoding."""
    checked_bits: float
    """Information of the same clips, which the rates above are sums of."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def training_codes(corpus: str | Path, codec_sha256: str) -> list[Tensor]:
    """Codes `[K, F]` of a packed corpus, from the file that `speechkit encode` puts beside it.

    Raises DataError where they are missing or were made by another codec.
    """
    ids = [clip["id"] for clip in PackedCorpus(corpus).clips]
    codes = CorpusCodes(codes_path(corpus), ids)
    if codes.codec_sha256 != codec_sha256:
        raise DataError(f"The codes beside {corpus} are another codec's: run speechkit encode.")
    return [codes.codes(i) for i in range(len(ids)) if codes.has(i)]


def measure_rate(
    clips: Sequence[Tensor],
    entries: Sequence[int],
    *,
    frames_a_second: float,
    timbre_channels: int,
    trained_on: Sequence[Tensor] = (),
) -> RateReport:
    """Rates of clips of codes `[K, F]`; `trained_on` gives the static models their counts.

    The adaptive models know nothing at the first clip and learn on through all of them. Raises
    DataError where what was coded does not come back.
    """
    frames = sum(codes_KF.shape[1] for codes_KF in clips)
    if not frames:
        raise DataError("There are no codes to measure: give clips that are not empty.")
    seconds = frames / frames_a_second
    packed = sum(len(pack(codes_KF, entries)) for codes_KF in clips)
    rates = [
        CodingRate(
            name="nominal",
            kbps=8 * packed / seconds / 1000,
            bits_a_code=tuple(torch.tensor(entries).log2().tolist()),
        )
    ]
    for order in (0, 1):
        rates.append(
            _rate(f"adaptive, order {order}", clips, build_models(entries, order), seconds)
        )
    for order in (0, 1) if trained_on else ():
        models = build_models(entries, order)
        train_models(models, trained_on)
        rates.append(_rate(f"trained, order {order}", clips, models, seconds))
    few = _first_frames(clips)
    coded = _checked(few, entries)
    return RateReport(
        seconds=seconds,
        rates=tuple(rates),
        timbre_bits=16 * timbre_channels,
        timbre_kbps=16 * timbre_channels * len(clips) / seconds / 1000,
        checked_bytes=len(coded),
        checked_bits=sum(information(few, build_models(entries, 1))),
    )


def _rate(
    name: str, clips: Sequence[Tensor], models: Sequence[BookModel], seconds: float
) -> CodingRate:
    """Rate under these models."""
    frames = sum(codes_KF.shape[1] for codes_KF in clips)
    bits_K = information(clips, models)
    return CodingRate(
        name=name,
        kbps=sum(bits_K) / seconds / 1000,
        bits_a_code=tuple(bits / frames for bits in bits_K),
    )


def _first_frames(clips: Sequence[Tensor]) -> list[Tensor]:
    """The first frames of the first clips, few enough to be coded for real in a second or two."""
    few: list[Tensor] = []
    left = _CHECKED_FRAMES
    for codes_KF in clips:
        if left <= 0:
            break
        few.append(codes_KF[:, :left])
        left -= few[-1].shape[1]
    return few


def _checked(clips: Sequence[Tensor], entries: Sequence[int]) -> bytes:
    """Coded clips, after a look at whether they come back."""
    data = encode(clips, build_models(entries, 1))
    lengths = [codes_KF.shape[1] for codes_KF in clips]
    back = decode(data, lengths, build_models(entries, 1))
    if not all(torch.equal(a, b) for a, b in zip(clips, back, strict=True)):
        raise DataError("The coded codes do not come back the same: this machine's sums differ.")
    return data


def rate_lines(report: RateReport, names: Sequence[str]) -> list[str]:
    """A line for each way to send the codes."""
    lines = []
    for rate in report.rates:
        books = ", ".join(f"{n} {b:.2f}" for n, b in zip(names, rate.bits_a_code, strict=True))
        lines.append(f"{rate.name}: {rate.kbps:.3f} kb/s (bits a code: {books})")
    lines.append(
        f"code lengths over {report.seconds:.0f} s; really coded and decoded again: "
        f"{8 * report.checked_bytes} bits where the sum says {report.checked_bits:.0f}"
    )
    lines.append(
        f"the timbre vector, once a recording: {report.timbre_bits} bits, "
        f"{report.timbre_kbps:.2f} kb/s on these clips"
    )
    return lines
