"""Speed of a codec: encoding and decoding apart.

T samples.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.rng import generator
from speechkit.evaluate.bench import Bench, bench_tts
from speechkit.facodec.codec import Codec

LENGTHS_SECONDS = {"3 s": 3, "30 s": 30}
"""Lengths that are coded: a prompt, and a recording long enough to hide fixed costs."""


@dataclass(frozen=True, kw_only=True)
class _Pass:
    """One recording, there and back."""

    seconds: float
    stages_seconds: Mapping[str, float]


def bench_codec(codec: Codec, wave_T: Tensor, *, runs: int = 5, seed: int = 0) -> Bench:
    """Time `codec` on a recording cut or repeated to each of `LENGTHS_SECONDS`.

    The stages are "encode", with the analysis of pitch, and "decode". Threads are left as they
    are. Raises DataError for an empty recording, ConfigError for no runs.
    """
    if not len(wave_T):
        raise DataError("The recording is empty: give one with speech in it.")

    def there_and_back(name: str, seed: int) -> _Pass:
        samples = LENGTHS_SECONDS[name] * codec.sample_rate_hz
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
        there_and_back, texts={name: name for name in LENGTHS_SECONDS}, runs=runs, seed=seed
    )
