"""Swap tests: one part of a clip is replaced by another speaker's, and what moves is measured.

Clip A keeps its words and its length; the donor B is a clip of another speaker that is at least as
long, cut to A's frames. Whatever a part is said to carry should go over to B, and nothing else.

Legend: T samples at 16 kHz, G frames of 10 ms, H frames of 20 ms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.f0 import extract_f0
from speechkit.core.rng import derive, generator
from speechkit.data.align.reader import SILENT_CLASS, PhoneReader
from speechkit.evaluate.codec.parts import PARTS, CodedClip, exchange
from speechkit.evaluate.pairs import spread
from speechkit.evaluate.scorers import Scorers, Wave
from speechkit.evaluate.scoring import (
    RowLog,
    Scored,
    context_of,
    digest_of,
    file_name,
    score_speech,
    stored_wave,
)
from speechkit.evaluate.speaker import similarity
from speechkit.evaluate.table import ClipRow, Figure
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
        codes = exchange(codes, pair.b.codes, part)
    # The same noise for every part, so that only the part makes a difference.
    rng = generator(derive(seed, "swap", pair.name))
    return codec.decode(codes, timbre_D, rng)[: len(pair.a.clip.wave_T)].cpu()


def score_swap(wave: Wave, pair: SwapPair, scorers: Scorers, phones: PhoneReader) -> Scored:
    """Figures of a swapped clip beside both its sources.

    `pitch_a`, `pitch_b`: correlation of the pitch contours; `register_b`: 0 where the median pitch
    is A's, 1 where it is B's; `phone_a`, `phone_b`: share of speech frames in which the aligner
    hears that clip's phone; `sim_a`, `sim_b`; the word errors count A's words.
    """
    spoken, heard = score_speech(
        wave, pair.a.clip.text, replace(scorers, quality=None, second_words=None)
    )
    values = dict(spoken)
    f0_G = torch.from_numpy(extract_f0(wave))
    heard_H = phones.heard(torch.from_numpy(wave))
    sources: dict[str, Tensor] = {}
    for name, clip in (("a", pair.a.clip), ("b", pair.b.clip)):
        sources[name] = torch.from_numpy(extract_f0(clip.wave_T.numpy()))
        if (correlation := contour_correlation(f0_G, sources[name])) is not None:
            values[f"pitch_{name}"] = correlation
        aligned_H = phones.classes(clip.wave_T, clip.text)
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
    "wer": "WER of A",
}
"""Figures of the swap matrix."""

ASPECTS: Mapping[str, tuple[str, str]] = {
    "voice": ("sim_a", "sim_b"),
    "f0": ("pitch_a", "pitch_b"),
    "words": ("phone_a", "phone_b"),
    "register": ("register_b", "register_b"),
}
"""What a swap may move, by the figures that tell it."""
EXPECTED: Mapping[str, tuple[str, ...]] = {
    "timbre": ("voice", "register"),
    "prosody": ("f0",),
    "content": ("words",),
    "detail": (),
}
"""What each part is there to carry; detail nothing of these."""


@dataclass(frozen=True, kw_only=True)
class SwapReport:
    """What moved."""

    figures: dict[str, dict[str, float]]
    """By what was replaced and by column: means over the pairs (word errors: over all words)."""
    pairs: int
    """Pairs behind them."""

    @property
    def moved(self) -> dict[str, dict[str, float]]:
        """By replaced part and aspect: the way it went from A (0) to B (1).

        The figure beside B less the figure beside A turns from what plain resynthesis has into
        its opposite when an aspect goes over completely.
        """
        base = self.figures.get(NOTHING, {})
        table: dict[str, dict[str, float]] = {}
        for part, row in self.figures.items():
            if part == NOTHING:
                continue
            table[part] = {}
            for aspect, (to_a, to_b) in ASPECTS.items():
                if not {to_a, to_b} <= row.keys() & base.keys():
                    continue
                if to_a == to_b:
                    table[part][aspect] = row[to_b] - base[to_b]
                elif (gap := base[to_a] - base[to_b]) > 1e-6:
                    table[part][aspect] = (row[to_b] - row[to_a] + gap) / (2 * gap)
        return table

    def text(self) -> str:
        """The matrix, and how far each aspect went over to B."""
        columns = [c for c in SWAP_COLUMNS if any(c in row for row in self.figures.values())]
        titles = (SWAP_COLUMNS[column].rjust(11) for column in columns)
        lines = [" ".join(["swapped ", *titles])]
        for part, row in self.figures.items():
            cells = ((f"{row[c]:.3f}" if c in row else "-").rjust(11) for c in columns)
            lines.append(" ".join([part.ljust(8), *cells]))
        for part, shares in self.moved.items():
            told = (f"{aspect} {100 * share:.0f} %" for aspect, share in shares.items())
            lines.append(f"{part} of B moves: {', '.join(told)}")
        lines.append(
            f"{self.pairs} pairs; A gives all but the swapped part, B is another speaker. pitch: "
            "correlation of the contours; register: median pitch, 0 is A's, 1 is B's; phones: "
            "share of frames in which the aligner hears that clip's phone."
        )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"moved": self.moved}


def collect_swaps(rows: Sequence[ClipRow]) -> SwapReport:
    """The matrix of scored rows."""
    figures: dict[str, dict[str, float]] = {}
    pairs = 0
    for part in SWAPPED:
        own = [row for row in rows if row.system == swap_system(part)]
        if own:
            pairs = len(own)
            found = {column: Figure.of(own, column) for column in SWAP_COLUMNS}
            figures[part] = {column: one.value for column, one in found.items() if one.tops}
    return SwapReport(figures=figures, pairs=pairs)


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
    log: RowLog,
) -> SwapReport:
    """Swap every part of at most `limit` pairs, write the waves and score them; rows go to `log`.

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
            own.append(log.add(swap_system(part), pair.name, speaker, digest, score))
    return collect_swaps(own)
