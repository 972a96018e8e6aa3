"""Pitch of a recording on the 10 ms grid of the mel spectrogram.

Shapes: T samples, F frames of 10 ms.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from speechkit.core.errors import DataError
from speechkit.core.timebase import SAMPLE_RATE_HZ

F0_SAMPLE_RATE_HZ = SAMPLE_RATE_HZ
F0_HOP_SAMPLES = 160
F0_FLOOR_HZ = 60.0
F0_CEIL_HZ = 500.0

# DIO looks for events below 500 Hz, so half the rate is plenty: a third of the time, the same
# median to the cent, 1 % of voicing decisions differ (30 clips of held-out read speech).
_DIO_DECIMATION = 2


LengthT = TypeVar("LengthT", int, npt.NDArray[np.int64])


def f0_frames(samples: LengthT) -> LengthT:
    """Return the number of 10 ms frames of a clip, or of each of many: ceil(samples / 160)."""
    return -(-samples // F0_HOP_SAMPLES)


def extract_f0(
    wave_T: npt.NDArray[Any], sample_rate_hz: int = F0_SAMPLE_RATE_HZ
) -> npt.NDArray[np.float32]:
    """Return the pitch f0_F in Hz, 0 where unvoiced; value i is the pitch at sample 160 i + 80.

    DIO followed by StoneMask (Morise, Kawahara and Katayose, "Fast and reliable F0 estimation
    method based on the period extraction of vocal fold vibration", 2009; WORLD, 2016): about 3 ms
    of one CPU core per second of speech. Values outside 60 to 500 Hz count as unvoiced.

    Raises DataError for another sample rate, another number of dimensions, values that are not
    finite, and where pyworld cannot be imported.
    """
    if sample_rate_hz != F0_SAMPLE_RATE_HZ:
        raise DataError(
            f"Pitch is extracted at {F0_SAMPLE_RATE_HZ} Hz; resample the {sample_rate_hz} Hz wave."
        )
    wave_T = np.asarray(wave_T, dtype=np.float64)
    if wave_T.ndim != 1:
        raise DataError(f"Pitch needs one mono wave; got an array of shape {wave_T.shape}.")
    if not np.isfinite(wave_T).all():
        raise DataError("The wave holds NaN or infinite samples; repair the recording.")
    frames = f0_frames(wave_T.shape[0])
    if frames == 0:
        return np.zeros(0, dtype=np.float32)
    pyworld = import_pyworld()
    # WORLD puts frame j at sample 160 j. With 80 zeros in front, its frame i + 1 is our sample
    # 160 i + 80; the zeros behind make the last frame exist for every length.
    half = F0_HOP_SAMPLES // 2
    padded_T = np.concatenate([np.zeros(half), wave_T, np.zeros(2 * F0_HOP_SAMPLES)])
    period_ms = 1000.0 * F0_HOP_SAMPLES / F0_SAMPLE_RATE_HZ
    coarse_F, times_F = pyworld.dio(
        padded_T,
        F0_SAMPLE_RATE_HZ,
        f0_floor=F0_FLOOR_HZ,
        f0_ceil=F0_CEIL_HZ,
        frame_period=period_ms,
        speed=_DIO_DECIMATION,
    )
    fine_F = pyworld.stonemask(padded_T, coarse_F, times_F, F0_SAMPLE_RATE_HZ)[1 : frames + 1]
    voiced_F = (coarse_F[1 : frames + 1] > 0) & (fine_F >= F0_FLOOR_HZ) & (fine_F <= F0_CEIL_HZ)
    return np.where(voiced_F, fine_F, 0.0).astype(np.float32)


def import_pyworld() -> Any:
    """Return the pyworld module; raises DataError that says how to install it."""
    try:
        import pyworld
    except ImportError as error:
        raise DataError(
            f"Pitch extraction needs pyworld: pip install pyworld-prebuilt (import said: {error})."
        ) from error
    return pyworld
