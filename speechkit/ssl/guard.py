"""Guards that see a pre-training run collapse.

wav2vec 2.0 collapses when the quantiser uses few entries: then distractors equal the target. HuBERT
and BEST-RQ collapse when they name one class always. Both show in the figures long before the loss
says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from speechkit.core.config import require_range
from speechkit.core.errors import SpeechkitError


class CollapseError(SpeechkitError):
    """A model has stopped learning in a way that more training does not mend."""

    exit_code = 3


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """When a run has collapsed."""

    after_steps: int = 1000
    """Updates before the guard begins: at first all models look collapsed."""
    patience_steps: int = 200
    """Updates in a row that must look collapsed, in the means that are logged."""
    min_perplexity: float = 4.0
    """Entries (wav2vec 2.0, both groups together) or predicted classes (HuBERT, BEST-RQ)
    in use."""
    max_distractor_hits: float = 0.5
    """Share of distractors equal to the target (wav2vec 2.0)."""
    max_loss: float = 1e4
    """Loss of a target above which, or not a number, the run has blown up."""

    def __post_init__(self) -> None:
        require_range(
            self,
            after_steps=(0, 10**9),
            patience_steps=(1, 10**9),
            min_perplexity=(0, 1e9),
            max_distractor_hits=(0, 1),
            max_loss=(0, 1e30),
        )


@dataclass(kw_only=True)
class CollapseGuard:
    """Counts updates in a row that look collapsed."""

    config: GuardConfig
    """When."""
    _bad: int = field(default=0, init=False)

    def watch(self, update: int, updates: int, figures: Mapping[str, float]) -> None:
        """Look at the means of the last ``updates`` up to ``update``.

        Raises CollapseError, which says why, where the run has collapsed.
        """
        if not math.isfinite(figures["loss"]) or figures["loss"] > self.config.max_loss:
            raise CollapseError(
                f"Training stopped at update {update}: the loss is {figures['loss']:g}; lower the "
                "learning rate or set clip_norm."
            )
        sign = self._sign(figures)
        self._bad = self._bad + updates if sign and update > self.config.after_steps else 0
        if self._bad >= self.config.patience_steps:
            raise CollapseError(
                f"Training stopped at update {update}: {sign} for {self._bad} updates."
            )

    def _sign(self, figures: Mapping[str, float]) -> str | None:
        """Return what looks collapsed."""
        hits = figures.get("figure/distractor_hits", 0.0)
        if hits > self.config.max_distractor_hits:
            return (
                f"{hits:.0%} of the distractors equal the target, so the quantiser has collapsed; "
                "raise diversity_weight or lower the learning rate"
            )
        for name in ("figure/hard_perplexity", "figure/prediction_perplexity"):
            used = figures.get(name, math.inf)
            if used < self.config.min_perplexity:
                what = "codebook entries" if "hard" in name else "classes"
                return f"only {used:.1f} {what} are in use; lower the learning rate"
        return None
