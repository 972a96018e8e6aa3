"""What probes found, for people and for machines."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

from speechkit.core.metrics import bootstrap
from speechkit.ssl.ctc.score import FEWEST_GROUPS

COLUMNS = {
    "phone_accuracy": "phone%",
    "phone_error_rate": "PER%",
    "ctc_error_rate": "CTC-PER%",
    "speaker_accuracy": "speaker%",
    "eer_mean": "EER%",
    "eer_trained": "EER-tr%",
    "word_accuracy": "word%",
    "query_precision": "query-MAP%",
}
"""Headings by figure: share of frames right; phone error rate of the joined frames, and of CTC;
share of speakers right; equal error rate of the layers' plain mean, and of the trained speaker
embedding; share of words right; mean average precision of spoken queries."""


BASELINE = "log-mel"
"""Source that the others are compared with."""


@dataclass(frozen=True, kw_only=True)
class ClipRate:
    """Errors of each test clip; one entry a clip in every list."""

    errors: list[int]
    """Edits."""
    phones: list[int]
    """Phones of the truth."""
    speakers: list[str]
    """Who speaks."""

    @property
    def rate(self) -> float:
        """Errors a phone."""
        return sum(self.errors) / max(sum(self.phones), 1)

    @classmethod
    def joined(cls, rates: Sequence[ClipRate]) -> ClipRate:
        """Return the clips of all repeats."""
        return cls(
            errors=list(chain.from_iterable(rate.errors for rate in rates)),
            phones=list(chain.from_iterable(rate.phones for rate in rates)),
            speakers=list(chain.from_iterable(rate.speakers for rate in rates)),
        )


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A rate less that of `BASELINE` on the same clips."""

    value: float
    """Below 0 is better than the baseline."""
    low: float | None
    """Lower end of the paired 95 % bootstrap interval over speakers; None for fewer than five."""
    high: float | None
    """Upper end."""

    def text(self) -> str:
        """Return it in points, with its interval."""
        if self.low is None or self.high is None:
            return f"{100 * self.value:+.1f}"
        return f"{100 * self.value:+.1f} ({100 * self.low:+.1f} to {100 * self.high:+.1f})"


def difference(one: ClipRate, other: ClipRate, seed: int) -> Difference:
    """Return how much the first differs from the second; both have the same clips in order."""
    low = high = None
    if len(set(one.speakers)) >= FEWEST_GROUPS:
        interval = bootstrap(
            one.errors, one.phones, one.speakers, minus=(other.errors, other.phones), seed=seed
        )
        low, high = interval.low, interval.high
    return Difference(value=one.rate - other.rate, low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class TaskFigures:
    """What one task found about one source."""

    figures: dict[str, float]
    """Shares and rates by the names of `COLUMNS`."""
    chance: dict[str, float]
    """The same for guessing."""
    layer_weights: dict[str, list[float]]
    """By task, what each layer weighs in the sum."""
    rates: dict[str, ClipRate] = field(default_factory=dict)
    """Error rates among the figures, clip by clip."""
    dropout: dict[str, float] = field(default_factory=dict)
    """By task, the dropout that was chosen for its head."""


@dataclass(frozen=True, kw_only=True)
class SourceFigures:
    """What all tasks found about one source."""

    name: str
    """Folder of the encoder, or what stands beside it."""
    figures: dict[str, float]
    """Shares and rates by the names of `COLUMNS`: the mean of all repeats."""
    repeats: dict[str, list[float]]
    """The same of each repeat."""
    differences: dict[str, Difference]
    """Error rates less those of log-mel, over the clips of all repeats."""
    layer_weights: dict[str, list[float]]
    """By task, what each layer weighs in the sum, in the first repeat."""
    dropout: dict[str, list[float]]
    """By phone task, the dropout that was chosen for the head in each repeat."""
    seconds: float
    """How long it took."""


def source_figures(
    name: str,
    repeats: Sequence[Sequence[TaskFigures]],
    baseline: Sequence[Sequence[TaskFigures]],
    seconds: float,
    seed: int,
) -> SourceFigures:
    """Return what the repeats of all tasks say of a source, beside those of the baseline."""
    single: dict[str, list[float]] = {}
    for task in chain.from_iterable(repeats):
        for key, value in task.figures.items():
            single.setdefault(key, []).append(value)
    rates, others = _rates(repeats), _rates(baseline)
    return SourceFigures(
        name=name,
        figures={key: statistics.fmean(values) for key, values in single.items()},
        repeats=single,
        differences={
            key: difference(rate, others[key], seed)
            for key, rate in rates.items()
            if name != BASELINE
        },
        layer_weights={k: value for one in repeats[0] for k, value in one.layer_weights.items()},
        dropout={
            task: [one.dropout[task] for one in chain.from_iterable(repeats) if task in one.dropout]
            for task in dict.fromkeys(k for one in repeats[0] for k in one.dropout)
        },
        seconds=seconds,
    )


def _rates(repeats: Sequence[Sequence[TaskFigures]]) -> dict[str, ClipRate]:
    """Return the error rates over the clips of all repeats."""
    found: dict[str, list[ClipRate]] = {}
    for task in chain.from_iterable(repeats):
        for key, rate in task.rates.items():
            found.setdefault(key, []).append(rate)
    return {key: ClipRate.joined(rates) for key, rates in found.items()}


@dataclass(frozen=True, kw_only=True)
class ProbeReport:
    """All figures of a run."""

    sources: list[SourceFigures]
    """Encoders, then random weights, log-mel and MFCC."""
    chance: dict[str, float]
    """What guessing gives: the commonest class, no phones at all, one of the speakers, a coin."""
    counts: dict[str, dict[str, float]]
    """By kind of material: minutes, speakers, clips and what was left out."""
    words: list[str]
    """Classes of the word probe."""
    layers: list[int] | None
    """Levels that were used; None = all."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def text(self) -> str:
        """Return lines for a terminal."""
        keys = [key for key in COLUMNS if key in self.chance]
        rows = [(source.name, source.figures) for source in self.sources]
        width = max(len(name) for name, _ in [*rows, ("chance", {})])
        lines = [" ".join([" " * width, *(COLUMNS[key].rjust(10) for key in keys)])]
        for name, figures in [*rows, ("chance", self.chance)]:
            cells = [f"{100 * figures[key]:10.1f}" for key in keys]
            lines.append(" ".join([name.ljust(width), *cells]))
        for source in self.sources:
            for key, values in source.repeats.items():
                if len(values) > 1:
                    each = ", ".join(f"{100 * value:.1f}" for value in values)
                    spread = 100 * statistics.stdev(values)
                    lines.append(f"{COLUMNS[key]}, {source.name}: {each}; deviation {spread:.1f}")
            lines += [
                f"{COLUMNS[key]}, {source.name}: {found.text()} against {BASELINE}"
                for key, found in source.differences.items()
            ]
        lines += [
            f"layer weights, {task}, {source.name}: "
            + " ".join(f"{weight:.2f}" for weight in weights)
            for source in self.sources
            for task, weights in source.layer_weights.items()
            if len(weights) > 1
        ]
        lines += [
            f"dropout, {task}, {source.name}: " + " ".join(f"{one:g}" for one in values)
            for source in self.sources
            for task, values in source.dropout.items()
        ]
        if self.words:
            lines.append(f"words: {', '.join(self.words)}")
        for kind, counts in self.counts.items():
            parts = [f"{name.replace('_', ' ')} {round(n, 1):g}" for name, n in counts.items()]
            lines.append(f"{kind}: {', '.join(parts)}")
        return "\n".join(lines)
