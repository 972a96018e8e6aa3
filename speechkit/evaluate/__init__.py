"""Measuring: scorers, the test pairs, the two suites, the table and the bench."""

from __future__ import annotations

from speechkit.evaluate.bench import Bench, LengthBench, bench_tts
from speechkit.evaluate.codec import run_codec_suite
from speechkit.evaluate.pairs import EvalClip, Pair, eval_clips, pairs_from_clips, tts_pairs
from speechkit.evaluate.scorers import ScorerConfig, Scorers, build_scorers
from speechkit.evaluate.suites import run_tts_suite
from speechkit.evaluate.table import ClipRow, Report, Summary, bootstrap, render, summarise
from speechkit.evaluate.usage import BookUsage, code_usage

__all__ = [
    "Bench",
    "BookUsage",
    "ClipRow",
    "EvalClip",
    "LengthBench",
    "Pair",
    "Report",
    "ScorerConfig",
    "Scorers",
    "Summary",
    "bench_tts",
    "bootstrap",
    "build_scorers",
    "code_usage",
    "eval_clips",
    "pairs_from_clips",
    "render",
    "run_codec_suite",
    "run_tts_suite",
    "summarise",
    "tts_pairs",
]
