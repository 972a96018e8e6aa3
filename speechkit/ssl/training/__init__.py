"""Training on fairseq2's trainer: budgets, exact resume, exports, and guards against collapse."""

from __future__ import annotations

from speechkit.ssl.training.config import RunConfig
from speechkit.ssl.training.job import Job
from speechkit.ssl.training.run import RunReport, run_training

__all__ = ["Job", "RunConfig", "RunReport", "run_training"]
