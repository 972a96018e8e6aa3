"""Probes of frozen features, small enough for one core. After SUPERB (Yang et al. 2021), but none
is one of its tasks: corpora, heads and metrics are others, and so are the names.

`run_probes` asks encoders about phones, speakers and words, beside encoders with random weights,
log-mel and MFCCs, and chance.
"""

from speechkit.ssl.probes.config import TASKS, ProbeConfig
from speechkit.ssl.probes.program import run_probes
from speechkit.ssl.probes.report import ProbeReport, SourceFigures

__all__ = ["TASKS", "ProbeConfig", "ProbeReport", "SourceFigures", "run_probes"]
