from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
import torch

from speechkit.core.errors import ConfigError
from speechkit.evaluate import bench_tts
from speechkit.evaluate.bench import BENCH_TEXTS


@dataclass
class _Speech:
    seconds: float = 2.0
    stages_seconds: Mapping[str, float] = field(default_factory=lambda: {"codec": 0.5})


def test_bench_drops_the_warm_up_and_names_threads_and_memory() -> None:
    seeds: list[int] = []

    def speak(text: str, seed: int) -> _Speech:
        seeds.append(seed)
        return _Speech()

    bench = bench_tts(speak, texts={"short": "Hello."}, runs=3, warm_up=2)
    assert len(seeds) == 5
    assert len(set(seeds)) == 5
    (one,) = bench.lengths
    assert one.runs == 3
    assert 0 <= one.real_time_factor_p50 <= one.real_time_factor_p95 < 0.1
    assert one.stages_seconds_p50 == {"codec": 0.5}
    assert bench.threads == torch.get_num_threads()
    assert bench.peak_memory_mib > 10
    assert "peak memory" in bench.text()
    assert bench.to_json()["lengths"][0]["name"] == "short"


def test_bench_has_short_and_long_texts() -> None:
    assert list(BENCH_TEXTS) == ["2 s", "5 s", "14 s"]


def test_bench_without_runs_is_an_error() -> None:
    with pytest.raises(ConfigError):
        bench_tts(lambda text, seed: _Speech(), runs=0)
