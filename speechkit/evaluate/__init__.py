"""Measuring: scorers, the test pairs, the suites, the table and the bench."""

from __future__ import annotations

from speechkit.core.metrics import Interval, bootstrap
from speechkit.data.align.reader import PhoneReader
from speechkit.evaluate.bench import Bench, LengthBench, bench_codec, bench_model, bench_tts
from speechkit.evaluate.codec import run_codec_suite
from speechkit.evaluate.pairs import EvalClip, Pair, eval_clips, pairs_from_clips, tts_pairs
from speechkit.evaluate.pauses import PauseReport, measure_pauses
from speechkit.evaluate.scorers import ScorerConfig, Scorers, build_scorers
from speechkit.evaluate.stages import stage_systems
from speechkit.evaluate.suites import run_tts_suite
from speechkit.evaluate.table import ClipRow, Report, Summary, render, summarise

__all__ = [
    "Bench",
    "ClipRow",
    "EvalClip",
    "Interval",
    "LengthBench",
    "Pair",
    "PauseReport",
    "PhoneReader",
    "Report",
    "ScorerConfig",
    "Scorers",
    "Summary",
    "bench_codec",
    "bench_model",
    "bench_tts",
    "bootstrap",
    "build_scorers",
    "eval_clips",
    "measure_pauses",
    "pairs_from_clips",
    "render",
    "run_codec_suite",
    "run_tts_suite",
    "stage_systems",
    "summarise",
    "tts_pairs",
]
