"""How much of a run is done, and what the learning rate is there."""

from __future__ import annotations

import time

from speechkit.ssl.training.config import RunConfig


class Budget:
    """Progress in updates and minutes, over all resumed parts of a run."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._before_seconds = 0.0
        self._since = time.monotonic()
        self.progress = 0.0
        """Share of the budget that is used, as last agreed by all processes."""

    @property
    def seconds(self) -> float:
        """Time spent so far."""
        return self._before_seconds + time.monotonic() - self._since

    def resume(self, seconds: float) -> None:
        """Take over the time that earlier parts spent."""
        self._before_seconds, self._since = seconds, time.monotonic()

    def used(self, update: int) -> float:
        """Return the share of the budget that is used once ``update`` updates are done."""
        shares = [0.0]
        if self._config.steps is not None:
            shares.append(update / self._config.steps)
        if self._config.minutes is not None:
            shares.append(self.seconds / (60 * self._config.minutes))
        return max(shares)


def learning_rate_factor(config: RunConfig, update: int, progress: float) -> float:
    """Return the factor on ``config.lr`` for the update numbered ``update``, from 0.

    Linear: Baevski et al. 2020, section 4.2 (polynomial decay of power 1). Tri-stage: the same,
    appendix B, with fairseq's initial and final scales 0.01 and 0.05.
    """
    progress = min(max(progress, 0.0), 1.0)
    if config.schedule == "tri-stage":
        if progress < 0.1:
            return float(0.01 + 0.99 * progress / 0.1)
        return 1.0 if progress < 0.5 else float(0.05 ** ((progress - 0.5) / 0.5))
    warmup = min((update + 1) / config.warmup_steps, 1.0) if config.warmup_steps else 1.0
    return warmup if config.schedule == "constant" else warmup * (1.0 - progress)
