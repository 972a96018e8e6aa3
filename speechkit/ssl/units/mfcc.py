"""39 MFCC features at 100 Hz: what HuBERT clusters first (Hsu et al. 2021, section IV-B).

Shapes: T samples, F frames, D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from speechkit.core.errors import DataError

SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = 400
"""25 ms: also what one frame of the convolutions of wav2vec 2.0 sees."""
MFCC_HOP_SAMPLES = 160
MFCC_RATE_HZ = 100
MFCC_CHANNELS = 39


def whole_frames(samples: int, hop_samples: int) -> int:
    """Number of whole 25 ms windows: 0 for a clip that is shorter than one."""
    return 0 if samples < WINDOW_SAMPLES else 1 + (samples - WINDOW_SAMPLES) // hop_samples


def mfcc(wave_T: Tensor) -> Tensor:
    """`mfcc_FD` float32, D = 39: 13 Kaldi MFCCs (C0, not energy), slopes, and slopes of slopes.

    `wave_T` is 16 kHz in [-1, 1), not scaled to 16 bits, and no mean is taken out, as in fairseq's
    k-means recipe. Dither is 0: Kaldi adds noise so that digital silence has a logarithm, but the
    same clip would then get other units each time; here the mel energies have a floor instead.
    Raises DataError for less than one window.
    """
    from torchaudio.compliance import kaldi
    from torchaudio.functional import compute_deltas

    if wave_T.ndim != 1 or wave_T.shape[0] < WINDOW_SAMPLES:
        raise DataError(
            f"MFCCs need one row of at least {WINDOW_SAMPLES} samples, not {tuple(wave_T.shape)}."
        )
    static_FD: Tensor = kaldi.mfcc(
        wave_T[None].float(), sample_frequency=SAMPLE_RATE_HZ, use_energy=False, dither=0.0
    )
    static_DF = static_FD.T
    slope_DF = compute_deltas(static_DF)
    return torch.cat([static_DF, slope_DF, compute_deltas(slope_DF)]).T.contiguous()
