"""Speed and memory of a synthesiser or a codec: real-time factor, stages apart.

T samples.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from speechkit.core.errors import ConfigError, DataError
from speechkit.core.rng import generator
from speechkit.facodec.codec import Codec

BENCH_TEXTS: Mapping[str, str] = {
    "3 s": "The ferry leaves at noon, and we are already late.",
    "10 s": (
        "When the storm had passed, the fishermen walked down to the harbour, counted their boats, "
        "and found that every one of them was still tied to the wall where they had left it."
    ),
}
"""Texts that last about as long as their name says at a usual rate of speech."""

CODED_SECONDS = {"3 s": 3, "30 s": 30}
"""Lengths that are coded: a prompt, and a recording long enough to hide fixed costs."""


class Timed(Protocol):
    """What a synthesiser hands back, as far as the bench looks."""

    @property
    def seconds(self) -> float:
        """Length of the speech."""

    @property
    def stages_seconds(self) -> Mapping[str, float]:
        """Wall time of each stage."""


@dataclass(frozen=True, kw_only=True)
class _Pass:
    """One recording, coded and decoded."""

    seconds: float
    stages_seconds: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class LengthBench:
    """Figures for one text."""

    name: str
    """Which text."""
    runs: int
    """Runs counted; warm-up runs are not."""
    seconds: float
    """Median length of the speech."""
    real_time_factor_p50: float
    """Wall time over speech time, median run."""
    real_time_factor_p95: float
    """The same, 95th percentile."""
    cpu_factor_p50: float
    """CPU time of all threads over speech time: what is left when other programs are discounted."""
    stages_seconds_p50: dict[str, float]
    """Median wall time of each stage."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Figures of one synthesiser."""

    threads: int
    """Threads torch uses."""
    peak_memory_mib: float
    """Largest resident size of the process so far, all libraries included."""
    lengths: tuple[LengthBench, ...]
    """One for each text."""

    def text(self) -> str:
        """A few lines for people."""
        lines = [f"threads {self.threads}, peak memory {self.peak_memory_mib:.0f} MiB"]
        for one in self.lengths:
            stages = ", ".join(
                f"{stage} {spent:.3f} (factor {spent / max(one.seconds, 1e-6):.4f})"
                for stage, spent in one.stages_seconds_p50.items()
            )
            lines.append(
                f"{one.name} ({one.seconds:.1f} s, {one.runs} runs): real-time factor "
                f"p50 {one.real_time_factor_p50:.3f}, p95 {one.real_time_factor_p95:.3f}, "
                f"CPU {one.cpu_factor_p50:.3f}; stages in seconds: {stages}"
            )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        return asdict(self)


def peak_memory_mib() -> float:
    """Largest resident size of this process since its start; NaN where the system counts none."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts kibibytes, macOS bytes.
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024


def bench_tts(
    speak: Callable[[str, int], Timed],
    *,
    texts: Mapping[str, str] = BENCH_TEXTS,
    runs: int = 5,
    warm_up: int = 1,
    seed: int = 0,
) -> Bench:
    """Time ``speak(text, seed)`` on each text; ``warm_up`` runs come first and do not count.

    Each run has its own seed. Threads are left as they are. Raises ConfigError for no runs.
    """
    if runs < 1 or warm_up < 0 or not texts:
        raise ConfigError("The bench wants at least one text, one run and no negative warm-up.")
    lengths = tuple(
        _bench_text(speak, name, text, runs, warm_up, seed) for name, text in texts.items()
    )
    return Bench(
        threads=torch.get_num_threads(), peak_memory_mib=peak_memory_mib(), lengths=lengths
    )


def _bench_text(
    speak: Callable[[str, int], Timed], name: str, text: str, runs: int, warm_up: int, seed: int
) -> LengthBench:
    """Time one text."""
    for run in range(warm_up):
        speak(text, seed + runs + run)
    factors, cpu_factors, seconds = [], [], []
    stages: dict[str, list[float]] = {}
    for run in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        speech = speak(text, seed + run)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        length = max(speech.seconds, 1e-6)
        factors.append(wall / length)
        cpu_factors.append(cpu / length)
        seconds.append(length)
        for stage, spent in speech.stages_seconds.items():
            stages.setdefault(stage, []).append(spent)
    return LengthBench(
        name=name,
        runs=runs,
        seconds=float(np.median(seconds)),
        real_time_factor_p50=float(np.percentile(factors, 50)),
        real_time_factor_p95=float(np.percentile(factors, 95)),
        cpu_factor_p50=float(np.median(cpu_factors)),
        stages_seconds_p50={stage: float(np.median(spent)) for stage, spent in stages.items()},
    )


def bench_codec(codec: Codec, wave_T: Tensor, *, runs: int = 5, seed: int = 0) -> Bench:
    """Time `codec` on a recording cut or repeated to each of `CODED_SECONDS`.

    The stages are "encode", with the analysis of pitch, and "decode". Threads are left as they
    are. Raises DataError for an empty recording, ConfigError for no runs.
    """
    if not len(wave_T):
        raise DataError("The recording is empty: give one with speech in it.")

    def there_and_back(name: str, seed: int) -> _Pass:
        samples = CODED_SECONDS[name] * codec.sample_rate_hz
        cut_T = wave_T.repeat(-(-samples // len(wave_T)))[:samples]
        with torch.no_grad():
            began = time.perf_counter()
            codes, timbre_D = codec.encode(cut_T)
            encoded = time.perf_counter()
            codec.decode(codes, timbre_D, generator(seed))
            decoded = time.perf_counter()
        return _Pass(
            seconds=samples / codec.sample_rate_hz,
            stages_seconds={"encode": encoded - began, "decode": decoded - encoded},
        )

    return bench_tts(
        there_and_back, texts={name: name for name in CODED_SECONDS}, runs=runs, seed=seed
    )
