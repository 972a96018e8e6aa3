"""Probes of frozen features in the manner of SUPERB (Yang et al. 2021), small enough for one core.

`run_probes` asks encoders about phones, speakers and words, beside encoders with random weights,
log-mel and MFCCs, and chance.
"""

from speechkit.ssl.probes.config import TASKS, ProbeConfig
from speechkit.ssl.probes.program import run_probes
from speechkit.ssl.probes.report import ProbeReport, SourceFigures

__all__ = ["TASKS", "ProbeConfig", "ProbeReport", "SourceFigures", "run_probes"]
