"""What a report says in words: whether the codec is above others, and what its parts move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from speechkit.evaluate.codec.differences import Difference, column_of
from speechkit.evaluate.codec.leaks import find_leaks
from speechkit.evaluate.codec.probes import Probes
from speechkit.evaluate.codec.rate import RateReport
from speechkit.evaluate.codec.swaps import NOTHING, SWAP_COLUMNS, Swaps
from speechkit.evaluate.usage import BookUsage

SPEECH_MEASURES = ("wer", "cer", "sim", "ovrl", "pesq", "stoi")
"""Measures that mean the same for a band-limited codec; log-mel distance and MCD do not."""
CLAIMS: Mapping[str, tuple[str, ...]] = {
    "codec2 3.2": SPEECH_MEASURES,
    "opus 6": ("wer", "sim", "stoi", "ovrl"),
}
"""Another codec, and the measures in which ours is to be above it."""

MOVES = 0.5
"""Share of the way from A to B from which something goes over."""
STAYS = 0.2
"""Share, either way, up to which it stays."""
HARM = 0.1
"""Rise in A's word errors above which a swap harms words that it does not replace."""
REGISTER = "register"
"""The median pitch, which one figure tells: 0 where it is A's, 1 where it is B's."""
ASPECTS: Mapping[str, tuple[str, str]] = {
    "voice": ("sim_a", "sim_b"),
    "melody": ("pitch_a", "pitch_b"),
    "words": ("phone_a", "phone_b"),
    REGISTER: ("register_b", "register_b"),
}
"""What a swap may move, by the figures that tell it."""
EXPECTED: Mapping[str, tuple[str, ...]] = {
    "timbre": ("voice", REGISTER),
    "prosody": ("melody",),
    "content": ("words",),
    "detail": (),
}
"""What each part is there to carry; detail nothing of these."""


def claim_lines(differences: Sequence[Difference]) -> list[str]:
    """Each of CLAIMS that was measured, and whether it holds."""
    lines = []
    for other, measures in CLAIMS.items():
        found = [d for d in differences if d.other == other and d.measure in measures]
        if not found:
            continue
        names = ", ".join(column_of(d.measure).title for d in found)
        behind = [d for d in found if not d.better]
        chance = [d for d in found if not d.sure]
        if behind:
            verdict = "does not hold: behind in " + ", ".join(map(_place, behind))
        elif chance:
            verdict = "holds on these clips"
        else:
            verdict = "holds, every interval clear of 0"
        if chance:
            verdict += "; within chance: " + ", ".join(column_of(d.measure).title for d in chance)
        lines.append(f"above {other} in {names}: {verdict}")
    return lines


def _place(one: Difference) -> str:
    """A measure and both figures."""
    column = column_of(one.measure)
    ours, theirs = one.ours * column.scale, one.theirs * column.scale
    return f"{column.title} ({ours:.{column.digits}f} to {theirs:.{column.digits}f})"


def moved(swaps: Swaps) -> dict[str, dict[str, float]]:
    """By replaced part and aspect: the way it went from A (0) to B (1).

    The figure beside B less the figure beside A turns from what plain resynthesis has into its
    opposite when an aspect goes over completely.
    """
    base = swaps.figures.get(NOTHING, {})
    table: dict[str, dict[str, float]] = {}
    for part, row in swaps.figures.items():
        if part == NOTHING:
            continue
        table[part] = {}
        for aspect, (to_a, to_b) in ASPECTS.items():
            if not {to_a, to_b} <= row.keys() & base.keys():
                continue
            if aspect == REGISTER:
                table[part][aspect] = row[to_b] - base[to_b]
                continue
            gap = base[to_a] - base[to_b]
            if gap > 1e-6:
                table[part][aspect] = (row[to_b] - row[to_a] + gap) / (2 * gap)
    return table


@dataclass(frozen=True, kw_only=True)
class SwapVerdict:
    """Whether one swap does what it should."""

    part: str
    """What was replaced."""
    good: bool
    """Whether what it carries goes over and everything else stays."""
    words: str
    """What moved."""


def swap_verdicts(swaps: Swaps) -> list[SwapVerdict]:
    """One for each part that was replaced."""
    verdicts = []
    base = swaps.figures.get(NOTHING, {})
    for part, shares in moved(swaps).items():
        good = True
        told = []
        for aspect, share in shares.items():
            good &= share >= MOVES if aspect in EXPECTED[part] else abs(share) <= STAYS
            told.append(f"{aspect} {_movement(share)} ({round(100 * share)} %)")
        row = swaps.figures[part]
        if "words" not in EXPECTED[part] and {"wer"} <= row.keys() & base.keys():
            before, after = base["wer"], row["wer"]
            if after - before > HARM:
                good = False
                told.append(f"words suffer (WER {100 * before:.0f} to {100 * after:.0f} %)")
        verdicts.append(SwapVerdict(part=part, good=good, words=", ".join(told)))
    return verdicts


def _movement(share: float) -> str:
    """What an aspect did that went this share of the way."""
    if share >= MOVES:
        return "goes over"
    if share > STAYS:
        return "is torn"
    return "stays" if share >= -STAYS else "goes astray"


def swap_lines(swaps: Swaps) -> list[str]:
    """The matrix, then what moved in words."""
    columns = [c for c in SWAP_COLUMNS if any(c in row for row in swaps.figures.values())]
    titles = [SWAP_COLUMNS[c] for c in columns]
    lines = [" ".join(["swapped ", *(title.rjust(11) for title in titles)])]
    for part, row in swaps.figures.items():
        cells = [
            f"{100 * row[c] if c == 'wer' else row[c]:11.3f}" if c in row else "          -"
            for c in columns
        ]
        lines.append(" ".join([part.ljust(8), *cells]))
    lines.append(
        f"{swaps.pairs} pairs; A gives all but the swapped part, B is another speaker. pitch: "
        "correlation of the contours; register: median pitch, 0 is A's, 1 is B's; phones: share "
        "of frames in which the aligner hears that clip's phone."
    )
    lines += [f"{one.part}: {one.words}" for one in swap_verdicts(swaps)]
    return lines


def usage_lines(usage: Sequence[BookUsage], names: Sequence[str]) -> list[str]:
    """A line for each book."""
    return [
        f"{name}: {one.used} of {one.entries} entries used, {one.entries - one.used} dead, "
        f"perplexity {one.perplexity:.0f}"
        for name, one in zip(names, usage, strict=True)
    ]


def summary_lines(
    differences: Sequence[Difference],
    probes: Probes | None,
    swaps: Swaps | None,
    usage: Sequence[BookUsage],
    rate: RateReport | None,
) -> list[str]:
    """Where the codec stands, a line for each question that was measured."""
    lines = claim_lines(differences)
    if probes is not None:
        strong = [leak for leak in find_leaks(probes) if leak.size == "strong"]
        told = ", ".join(f"{leak.target} in {leak.part}" for leak in strong)
        lines.append(f"parts apart by probes: {f'no, strong leaks: {told}' if told else 'yes'}")
    if swaps is not None and (verdicts := swap_verdicts(swaps)):
        wrong = [f"{one.part} ({one.words})" for one in verdicts if not one.good]
        good = [one.part for one in verdicts if one.good]
        lines.append(
            f"swaps move what they should and nothing else: {', '.join(good) or 'none'}"
            + (f"; not: {'; '.join(wrong)}" if wrong else "")
        )
    if usage:
        worst = min(usage, key=lambda one: one.used_share)
        lines.append(
            f"books in use: at least {100 * worst.used_share:.0f} % of the entries of each, "
            f"perplexity {min(one.perplexity for one in usage):.0f} and more"
        )
    if rate is not None:
        nominal, least = rate.rates[0], min(rate.rates[1:], key=lambda one: one.kbps)
        lines.append(
            f"bit rate: {nominal.kbps:.2f} kb/s nominal, {least.kbps:.2f} kb/s coded ({least.name})"
        )
    return lines
