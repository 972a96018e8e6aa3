"""Speed and memory of a synthesiser or a codec: real-time factor, stages apart.

T samples.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from speechkit.core.errors import ConfigError, DataError
from speechkit.core.results import Voice
from speechkit.core.rng import generator
from speechkit.facodec.codec import Codec
from speechkit.tts import ZeroShotTTS

BENCH_TEXTS: Mapping[str, str] = {
    "2 s": "The ferry leaves at noon.",
    "5 s": "The ferry leaves at noon, and we are already late because of the rain and the traffic.",
    "14 s": (
        "When the storm had passed, the fishermen walked down to the harbour, counted their boats, "
        "and found that every one of them was still tied to the wall where they had left it, but "
        "two had lost their masts and one its rudder."
    ),
}
"""Texts that last about as long as their name says at a usual rate of speech."""

LONG_TEXT = " ".join([*BENCH_TEXTS.values()] * 2)
"""What is streamed until its first sound."""

BATCH_TEXTS = tuple(f"{BENCH_TEXTS['5 s']} Number {number}." for number in range(8))
"""What is spoken in one batch."""

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
class FirstSound:
    """Figures of the first piece of a stream."""

    seconds_p50: float
    """Wall time until it is there, median run."""
    cpu_seconds_p50: float
    """CPU time of all threads until then."""
    lasts_seconds: float
    """How long it plays."""


@dataclass(frozen=True, kw_only=True)
class BatchBench:
    """Figures of texts that are spoken together."""

    texts: int
    """How many."""
    seconds: float
    """How long they last in all."""
    hours_per_hour: float
    """Speech made in an hour of wall time."""
    hours_per_cpu_hour: float
    """Speech made in an hour of CPU time of all threads."""
    alone_hours_per_hour: float
    """Speech made in an hour of wall time where each text is spoken alone, in the same run."""
    alone_hours_per_cpu_hour: float
    """The same by CPU time."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Figures of one synthesiser."""

    threads: int
    """Threads torch uses."""
    peak_memory_mib: float
    """Largest resident size of the process so far, all libraries included."""
    lengths: tuple[LengthBench, ...]
    """One for each text."""
    device_memory_mib: float | None = None
    """Largest memory that tensors took on the GPU; None on a CPU."""
    first_sound: FirstSound | None = None
    """Of a stream, where one was timed."""
    batch: BatchBench | None = None
    """Of a batch, where one was timed."""

    def text(self) -> str:
        """A few lines for people."""
        lines = [f"threads {self.threads}, peak memory {self.peak_memory_mib:.0f} MiB"]
        if self.device_memory_mib is not None:
            lines[0] += f", on the GPU {self.device_memory_mib:.0f} MiB"
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
        if self.first_sound is not None:
            first = self.first_sound
            lines.append(
                f"first sound of a stream after {first.seconds_p50:.3f} s "
                f"(CPU {first.cpu_seconds_p50:.3f} s), it plays {first.lasts_seconds:.1f} s"
            )
        if self.batch is not None:
            batch = self.batch
            lines.append(
                f"{batch.texts} texts, {batch.seconds:.1f} s: {batch.hours_per_hour:.2f} hours of "
                f"speech an hour together, {batch.alone_hours_per_hour:.2f} one by one; "
                f"an hour of CPU {batch.hours_per_cpu_hour:.2f} and "
                f"{batch.alone_hours_per_cpu_hour:.2f}"
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


def bench_model(
    tts: ZeroShotTTS,
    voice: Voice,
    *,
    runs: int = 5,
    seed: int = 0,
    steps: int | None = None,
    candidates: int | None = None,
) -> Bench:
    """`bench_tts` of a model in a voice, the first sound of a stream, and a batch.

    Waves end on the CPU, so what a GPU still computes is waited for. Errors as of `bench_tts`.
    """
    cuda = tts.device.type == "cuda"
    how: dict[str, Any] = {"steps": steps, "candidates": candidates}
    if cuda:
        torch.cuda.reset_peak_memory_stats(tts.device)
    bench = bench_tts(
        lambda text, seed: tts.synthesize(text, voice, seed=seed, **how),
        runs=runs,
        seed=seed,
    )

    def first_piece(seed: int) -> float:
        return len(next(tts.stream(LONG_TEXT, voice, seed=seed, steps=steps))) / rate_hz

    def together(seed: int) -> float:
        spoken = tts.synthesize_batch(BATCH_TEXTS, voice, seeds=seed, **how)
        return sum(speech.seconds for speech in spoken)

    def alone(seed: int) -> float:
        return sum(tts.synthesize(text, voice, seed=seed, **how).seconds for text in BATCH_TEXTS)

    rate_hz = tts.sample_rate_hz
    first = _times(first_piece, runs, seed)
    batch, single = (_times(call, max(1, runs // 2), seed) for call in (together, alone))
    return replace(
        bench,
        device_memory_mib=torch.cuda.max_memory_allocated(tts.device) / (1 << 20) if cuda else None,
        peak_memory_mib=peak_memory_mib(),
        first_sound=FirstSound(
            seconds_p50=first.wall, cpu_seconds_p50=first.cpu, lasts_seconds=first.seconds
        ),
        batch=BatchBench(
            texts=len(BATCH_TEXTS),
            seconds=batch.seconds,
            hours_per_hour=batch.seconds / batch.wall,
            hours_per_cpu_hour=batch.seconds / batch.cpu,
            alone_hours_per_hour=single.seconds / single.wall,
            alone_hours_per_cpu_hour=single.seconds / single.cpu,
        ),
    )


@dataclass(frozen=True, kw_only=True)
class _Times:
    """Medians over some runs."""

    seconds: float
    wall: float
    cpu: float


def _times(call: Callable[[int], float], runs: int, seed: int) -> _Times:
    """Time a call that takes a seed and gives the seconds of what it spoke; it must be warm."""
    found = []
    for run in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        seconds = call(seed + run)
        found.append((seconds, time.perf_counter() - wall, time.process_time() - cpu))
    seconds, wall, cpu = (float(value) for value in np.median(np.array(found), axis=0))
    return _Times(seconds=seconds, wall=wall, cpu=cpu)


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
            timbre_D.cpu()  # waits for a GPU
            encoded = time.perf_counter()
            codec.decode(codes, timbre_D, generator(seed)).cpu()
            decoded = time.perf_counter()
        return _Pass(
            seconds=samples / codec.sample_rate_hz,
            stages_seconds={"encode": encoded - began, "decode": decoded - encoded},
        )

    return bench_tts(
        there_and_back, texts={name: name for name in CODED_SECONDS}, runs=runs, seed=seed
    )
