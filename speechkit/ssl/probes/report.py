"""What probes found, for people and for machines."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

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


@dataclass(frozen=True, kw_only=True)
class TaskFigures:
    """What one task found about one source."""

    figures: dict[str, float]
    """Shares and rates by the names of `COLUMNS`."""
    chance: dict[str, float]
    """The same for guessing."""
    layer_weights: dict[str, list[float]]
    """By task, what each layer weighs in the sum."""


@dataclass(frozen=True, kw_only=True)
class SourceFigures:
    """What all tasks found about one source."""

    name: str
    """Folder of the encoder, or what stands beside it."""
    figures: dict[str, float]
    """Shares and rates by the names of `COLUMNS`."""
    layer_weights: dict[str, list[float]]
    """By task, what each layer weighs in the sum."""
    seconds: float
    """How long it took."""


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
        lines += [
            f"layer weights, {task}, {source.name}: "
            + " ".join(f"{weight:.2f}" for weight in weights)
            for source in self.sources
            for task, weights in source.layer_weights.items()
            if len(weights) > 1
        ]
        if self.words:
            lines.append(f"words: {', '.join(self.words)}")
        for kind, counts in self.counts.items():
            parts = [f"{name.replace('_', ' ')} {round(n, 1):g}" for name, n in counts.items()]
            lines.append(f"{kind}: {', '.join(parts)}")
        return "\n".join(lines)
