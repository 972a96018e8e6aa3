"""Quality without a reference: DNSMOS P.835 and P.808.

Reddy et al. 2021, arXiv:2110.01763; the ``speechmos`` package carries code and weights (MIT). It
is a guard against noise and not a measure of naturalness: published synthesisers that differ
clearly to the ear lie between 3.2 and 3.5, and recordings are not on top.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechkit.core.timebase import SAMPLE_RATE_HZ

_SHORTEST_SAMPLES = SAMPLE_RATE_HZ // 10


@dataclass(frozen=True, kw_only=True)
class Quality:
    """DNSMOS scores, 1 (bad) to 5."""

    ovrl: float
    """Overall quality (P.835)."""
    sig: float
    """Quality of the speech itself (P.835)."""
    bak: float
    """Freedom from background noise (P.835)."""
    p808: float
    """Overall quality by the P.808 model."""


class Dnsmos:
    """DNSMOS over overlapping windows of 9 s."""

    def __init__(self, threads: int = 1) -> None:
        """Load both networks; raises ImportError where speechmos is missing."""
        import onnxruntime
        from speechmos import dnsmos

        folder = Path(dnsmos.__file__).parent / "dnsmos_models"
        primary, p808 = str(folder / "sig_bak_ovr.onnx"), str(folder / "model_v8.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._networks = dnsmos.DNSMOS(primary, p808)
        # The package's own sessions take every core, whatever else runs there.
        self._networks.onnx_sess = onnxruntime.InferenceSession(primary, options)
        self._networks.p808_onnx_sess = onnxruntime.InferenceSession(p808, options)

    def __call__(self, wave_T: NDArray[np.float32]) -> Quality:
        """Scores of a 16 kHz recording; the worst ones where it lasts under 0.1 s."""
        if len(wave_T) < _SHORTEST_SAMPLES:
            return Quality(ovrl=1.0, sig=1.0, bak=1.0, p808=1.0)
        peak = float(np.abs(wave_T).max())
        loud_T = wave_T / peak if peak > 1 else wave_T
        got = self._networks(np.clip(loud_T, -1, 1), SAMPLE_RATE_HZ, False)
        return Quality(
            ovrl=float(got["ovrl_mos"]),
            sig=float(got["sig_mos"]),
            bak=float(got["bak_mos"]),
            p808=float(got["p808_mos"]),
        )
