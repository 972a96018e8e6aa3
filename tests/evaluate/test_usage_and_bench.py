from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
import torch

from speechkit.core.errors import ConfigError, DataError
from speechkit.evaluate import bench_tts, code_usage
from speechkit.evaluate.bench import BENCH_TEXTS


def test_usage_counts_entries_over_all_clips() -> None:
    clips = [torch.tensor([[0, 1], [3, 3]]), torch.tensor([[2, 3], [3, 3]])]
    first, second = code_usage(clips, (4, 8))
    assert (first.used, first.used_share) == (4, 1.0)
    assert first.perplexity == pytest.approx(4.0)
    assert (second.used, second.used_share) == (1, 1 / 8)
    assert second.perplexity == pytest.approx(1.0)


@pytest.mark.parametrize("codes", [[[0, 1]], [[0], [8]], [0, 1]])
def test_usage_refuses_codes_of_another_codec(codes: list[list[int]]) -> None:
    with pytest.raises(DataError):
        code_usage([torch.tensor(codes)], (4, 8))


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


def test_bench_has_a_short_and_a_long_text() -> None:
    assert list(BENCH_TEXTS) == ["3 s", "10 s"]


def test_bench_without_runs_is_an_error() -> None:
    with pytest.raises(ConfigError):
        bench_tts(lambda text, seed: _Speech(), runs=0)
