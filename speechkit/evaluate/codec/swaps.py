"""Swap tests: one part of a clip is replaced by another speaker's, and what moves is measured.

Clip A keeps its words and its length; the donor B is a clip of another speaker that is at least as
long, cut to A's frames. Whatever a part is said to carry should go over to B, and nothing else.

Legend: T samples at 16 kHz, G frames of 10 ms, H frames of 20 ms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.rng import derive, generator
from speechkit.data.f0 import extract_f0
from speechkit.evaluate.codec.labels import SILENT_CLASS, PhoneReader
from speechkit.evaluate.codec.material import CodedClip
from speechkit.evaluate.codec.parts import PARTS, cut, exchange
from speechkit.evaluate.pairs import spread
from speechkit.evaluate.scorers import Scorers, Wave
from speechkit.evaluate.scoring import (
    RowBook,
    Scored,
    context_of,
    digest_of,
    file_name,
    score_speech,
    stored_wave,
)
from speechkit.evaluate.speaker import similarity
from speechkit.evaluate.table import ClipRow, summarise
from speechkit.facodec.codec import Codec

NOTHING = "nothing"
SWAPPED = (NOTHING, *PARTS)
"""What is replaced; `nothing` is plain resynthesis."""

SWAP_PREFIX = "swap "
"""What names of swap rows begin with."""

_FEWEST_VOICED = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class SwapPair:
    """A clip and its donor."""

    a: CodedClip
    """Who gives the words."""
    b: CodedClip
    """Who gives the part."""

    @property
    def name(self) -> str:
        """Both clips."""
        return f"{self.a.clip.id} with {self.b.clip.id}"


def swap_pairs(sides: Sequence[CodedClip], limit: int | None) -> list[SwapPair]:
    """At most `limit` pairs, spread over the speakers of A.

    The donor is the shortest clip of another speaker that lasts as long as A; of each two speakers
    it is taken in turn, so that donors are not all one person. Clips without a donor are left out.
    """
    by_id = {side.clip.id: side for side in sides}
    uses: dict[str, int] = {}
    pairs = []
    for clip in spread([side.clip for side in sides], None):
        a = by_id[clip.id]
        fitting = [
            side
            for side in sides
            if side.clip.speaker != clip.speaker and side.codes.frames >= a.codes.frames
        ]
        if not fitting:
            continue
        b = min(
            fitting,
            key=lambda side: (uses.get(side.clip.speaker, 0), side.codes.frames, side.clip.id),
        )
        uses[b.clip.speaker] = uses.get(b.clip.speaker, 0) + 1
        pairs.append(SwapPair(a=a, b=b))
    chosen = {clip.id for clip in spread([pair.a.clip for pair in pairs], limit)}
    return [pair for pair in pairs if pair.a.clip.id in chosen]


def swapped(codec: Codec, pair: SwapPair, part: str, seed: int) -> Tensor:
    """`wave_T` of A with one part, or `nothing`, taken from B."""
    codes, timbre_D = pair.a.codes, pair.a.timbre_D
    if part == "timbre":
        timbre_D = pair.b.timbre_D
    elif part != NOTHING:
        codes = exchange(codes, cut(pair.b.codes, codes.frames), part)
    # The same noise for every part, so that only the part makes a difference.
    rng = generator(derive(seed, "swap", pair.name))
    return codec.decode(codes, timbre_D, rng)[: len(pair.a.clip.wave_T)]


def score_swap(wave: Wave, pair: SwapPair, scorers: Scorers, phones: PhoneReader) -> Scored:
    """Figures of a swapped clip beside both its sources.

    `pitch_a`, `pitch_b`: correlation of the pitch contours; `register_b`: 0 where the median pitch
    is A's, 1 where it is B's; `phone_a`, `phone_b`: share of speech frames in which the aligner
    hears that clip's phone; `sim_a`, `sim_b`; the word errors count A's words.
    """
    spoken, heard = score_speech(wave, pair.a.clip.text, replace(scorers, quality=None))
    values = dict(spoken)
    f0_G = torch.from_numpy(extract_f0(wave))
    heard_H = phones.heard(torch.from_numpy(wave))
    sources: dict[str, Tensor] = {}
    for name, clip in (("a", pair.a.clip), ("b", pair.b.clip)):
        sources[name] = torch.from_numpy(extract_f0(clip.wave_T.numpy()))
        if (correlation := contour_correlation(f0_G, sources[name])) is not None:
            values[f"pitch_{name}"] = correlation
        aligned_H = phones.aligned(clip.wave_T, clip.text)
        values[f"phone_{name}"] = phone_agreement(heard_H, aligned_H)
        if scorers.embed is not None:
            recorded = scorers.embed(clip.wave_T.numpy())
            values[f"sim_{name}"] = similarity(scorers.embed(wave), recorded)
    if (register := register_share(f0_G, sources["a"], sources["b"])) is not None:
        values["register_b"] = register
    return values, heard


def contour_correlation(first_G: Tensor, second_G: Tensor) -> float | None:
    """Correlation of log pitch where both are voiced; None where hardly anything is."""
    frames = min(len(first_G), len(second_G))
    first_G, second_G = first_G[:frames], second_G[:frames]
    both_G = (first_G > 0) & (second_G > 0)
    if int(both_G.sum()) < _FEWEST_VOICED:
        return None
    a, b = first_G[both_G].double().log().numpy(), second_G[both_G].double().log().numpy()
    if min(a.std(), b.std()) < 1e-6:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def register_share(f0_G: Tensor, a_G: Tensor, b_G: Tensor) -> float | None:
    """How far the median pitch moved from A's (0) to B's (1), on a log scale.

    None where a clip has no voice, or A and B are less than two semitones apart.
    """
    medians = []
    for one_G in (f0_G, a_G, b_G):
        voiced = one_G[one_G > 0]
        if len(voiced) < _FEWEST_VOICED:
            return None
        medians.append(float(voiced.log2().median()))
    ours, first, second = medians
    if abs(second - first) < 2 / 12:
        return None
    return (ours - first) / (second - first)


def phone_agreement(heard_H: Tensor, phone_H: Tensor) -> float:
    """Share of the frames in which `phone_H` has a phone, no silence, that `heard_H` agrees in."""
    frames = min(len(heard_H), len(phone_H))
    spoken_H = phone_H[:frames] > SILENT_CLASS
    if not bool(spoken_H.any()):
        return 0.0
    return float((heard_H[:frames] == phone_H[:frames])[spoken_H].float().mean())


SWAP_COLUMNS: Mapping[str, str] = {
    "sim_a": "SIM to A",
    "sim_b": "SIM to B",
    "pitch_a": "pitch as A",
    "pitch_b": "pitch as B",
    "register_b": "register",
    "phone_a": "phones as A",
    "phone_b": "phones as B",
    "wer": "WER% of A",
}
"""Figures of the swap matrix."""


@dataclass(frozen=True, kw_only=True)
class Swaps:
    """What moved."""

    figures: dict[str, dict[str, float]]
    """By what was replaced and by column: means over the pairs (word errors: over all words)."""
    pairs: int
    """Pairs behind them."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dict(vars(self))


def collect_swaps(rows: Sequence[ClipRow]) -> Swaps:
    """The matrix of scored rows."""
    figures: dict[str, dict[str, float]] = {}
    pairs = 0
    for part in SWAPPED:
        own = [row for row in rows if row.system == swap_system(part)]
        if not own:
            continue
        pairs = len(own)
        row: dict[str, float] = {}
        for column in SWAP_COLUMNS:
            values = [one.values[column] for one in own if column in one.values]
            if column == "wer" and values:
                row[column] = next(iter(summarise(own).values())).values["wer"]
            elif values:
                row[column] = sum(values) / len(values)
        figures[part] = row
    return Swaps(figures=figures, pairs=pairs)


def swap_system(part: str) -> str:
    """Name of a swap's rows and folder."""
    return f"{SWAP_PREFIX}{part}"


def run_swaps(
    codec: Codec,
    coded: Sequence[CodedClip],
    folder: Path,
    *,
    limit: int,
    seed: int,
    scorers: Scorers,
    phones: PhoneReader,
    book: RowBook,
) -> Swaps:
    """Swap every part of at most `limit` pairs, write the waves and score them; rows go to `book`.

    Raises DataError where no clip has a donor.
    """
    pairs = swap_pairs(coded, limit)
    if not pairs:
        raise DataError("No clip has a donor of another speaker: leave the swaps out.")
    context = context_of(scorers, ("words", "embed")) + phones.digest
    own: list[ClipRow] = []
    for pair in pairs:
        for part in SWAPPED:
            path = folder / swap_system(part).replace(" ", "-") / file_name(pair.name)
            wave = stored_wave(path, swapped(codec, pair, part, seed))

            def score(pair: SwapPair = pair, wave: Wave = wave) -> Scored:
                return score_swap(wave, pair, scorers, phones)

            sources = (pair.a.clip.wave_T.numpy(), pair.b.clip.wave_T.numpy())
            digest = digest_of(context, pair.a.clip.text, pair.b.clip.text, *sources, wave)
            speaker = pair.a.clip.speaker
            own.append(book.add(swap_system(part), pair.name, speaker, digest, score))
    return collect_swaps(own)
