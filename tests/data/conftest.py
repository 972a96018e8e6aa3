"""Tiny recordings and corpora, made in the test's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

WriteTone = Callable[..., Path]


@pytest.fixture(scope="session")
def write_tone() -> WriteTone:
    """A function that writes a buzz to a file and returns the path."""

    def write(path: Path, seconds: float = 1.5, f0_hz: float = 140.0, rate_hz: int = 16000) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        times_T = np.arange(round(seconds * rate_hz)) / rate_hz
        wave_T = sum(0.05 * np.sin(2 * np.pi * n * f0_hz * times_T) for n in range(1, 8))
        soundfile.write(path, wave_T, rate_hz)
        return path

    return write
