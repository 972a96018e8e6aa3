"""The constant delay of a codec, found in what it makes of some clips.

Legend: T samples at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechkit.evaluate.pairs import SAMPLE_RATE_HZ

_LONGEST_SAMPLES = SAMPLE_RATE_HZ // 10
_SMOOTH_SAMPLES = 160


def envelope(wave_T: NDArray[np.floating]) -> NDArray[np.float64]:
    """Loudness of each sample's surroundings of 10 ms, less its mean."""
    power_T = np.convolve(
        wave_T.astype(np.float64) ** 2, np.full(_SMOOTH_SAMPLES, 1 / _SMOOTH_SAMPLES), "same"
    )
    loud_T = np.sqrt(power_T)
    centred: NDArray[np.float64] = loud_T - loud_T.mean()
    return centred


def signal_delay(wave_T: Tensor, sent_T: Tensor, longest: int = _LONGEST_SAMPLES) -> int:
    """Samples by which `wave_T` lags behind `sent_T`, at most `longest` either way.

    Found in the loudness and not in the waves: a codec that keeps no phase, such as Codec 2,
    correlates best at whichever whole pitch period its phases happen to fit.
    """
    ours, theirs = envelope(wave_T.numpy()), envelope(sent_T.numpy())
    size = 1 << (2 * max(len(ours), len(theirs)) - 1).bit_length()
    product = np.fft.irfft(np.fft.rfft(ours, size) * np.conj(np.fft.rfft(theirs, size)), size)
    around = np.concatenate([product[-longest:], product[: longest + 1]])
    return int(around.argmax()) - longest


def constant_delay(pairs: Sequence[tuple[Tensor, Tensor]]) -> int:
    """Median of `signal_delay` over pairs of a decoded wave and the wave that was sent.

    Held against STOI on held-out speech, the best delay of Codec 2 is 300 to 325 samples; this
    finds 302, the correlation of the waves anything from 140 to 400.
    """
    return round(float(np.median([signal_delay(ours, sent) for ours, sent in pairs])))


def shift(wave_T: Tensor, by_samples: int, length: int) -> Tensor:
    """`wave_T` moved later by `by_samples` (earlier where negative), cut or filled to `length`."""
    start = max(0, -by_samples)
    moved = torch.nn.functional.pad(wave_T[start:], (max(0, by_samples), 0))[:length]
    return torch.nn.functional.pad(moved, (0, length - len(moved)))
