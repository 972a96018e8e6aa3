"""Phone alignment learned from speech and transcripts alone."""

from __future__ import annotations

from speechkit.data.align.align import AlignReport, align, align_corpus, align_report
from speechkit.data.align.model import Aligner, AlignerConfig, load_aligner, save_aligner

__all__ = [
    "AlignReport",
    "Aligner",
    "AlignerConfig",
    "align",
    "align_corpus",
    "align_report",
    "load_aligner",
    "save_aligner",
]
