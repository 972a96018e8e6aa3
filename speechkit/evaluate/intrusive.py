"""Measures against a reference recording of the same utterance, for codecs and resynthesis.

STOI (Taal et al. 2011), ESTOI (Jensen and Taal 2016), PESQ wide band (ITU-T P.862.2), and on WORLD
analyses (Morise et al. 2016) mel-cepstral distortion, F0 error and voicing error. All but WORLD's
compare sample by sample, so the two recordings must share their timing.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechkit.core.timebase import SAMPLE_RATE_HZ

_SHORTEST_SAMPLES = SAMPLE_RATE_HZ // 2


def warping_matrix(bins: int, order: int, alpha: float) -> NDArray[np.float64]:
    """[order + 1, bins] matrix from cepstral to mel-cepstral coefficients (all-pass warping).

    The frequency transform of Oppenheim and Johnson 1972, applied to each unit cepstrum.
    """
    matrix = np.zeros((order + 1, bins))
    for k in range(bins):
        warped = np.zeros(order + 1)
        for i in range(k, -1, -1):
            previous = warped.copy()
            warped[0] = (1.0 if i == k else 0.0) + alpha * previous[0]
            if order >= 1:
                warped[1] = (1 - alpha * alpha) * previous[0] + alpha * previous[1]
            for m in range(2, order + 1):
                warped[m] = previous[m - 1] + alpha * (previous[m] - warped[m - 1])
        matrix[:, k] = warped
    return matrix


@dataclass(frozen=True, kw_only=True)
class _Analysis:
    """WORLD analysis of one recording, a value each 5 ms."""

    f0_hz_F: NDArray[np.float64]
    cepstrum_FD: NDArray[np.float64]
    energy_db_F: NDArray[np.float64]


class World:
    """Mel-cepstral distortion, F0 error and voicing error."""

    def __init__(
        self, order: int = 24, alpha: float = 0.42, fft: int = 1024, period_ms: float = 5.0
    ) -> None:
        """Prepare the warping; raises ImportError where pyworld is missing."""
        import pyworld

        self._world = pyworld
        self._fft = fft
        self._period_ms = period_ms
        self._warp = warping_matrix(fft // 2 + 1, order, alpha)

    def analyse(self, wave_T: NDArray[np.float32]) -> _Analysis:
        """F0 (dio and stonemask), mel-cepstrum and energy of a 16 kHz recording."""
        wave = wave_T.astype(np.float64)
        f0, times = self._world.dio(
            wave, SAMPLE_RATE_HZ, f0_floor=60, f0_ceil=600, frame_period=self._period_ms
        )
        f0 = self._world.stonemask(wave, f0, times, SAMPLE_RATE_HZ)
        power = self._world.cheaptrick(wave, f0, times, SAMPLE_RATE_HZ, fft_size=self._fft)
        cepstrum = np.fft.irfft(np.log(np.maximum(power, 1e-12)), axis=1)
        cepstrum = cepstrum[:, : self._fft // 2 + 1]
        cepstrum[:, 0] /= 2
        cepstrum[:, -1] /= 2
        return _Analysis(
            f0_hz_F=f0,
            cepstrum_FD=cepstrum @ self._warp.T,
            energy_db_F=np.log10(power.sum(1) + 1e-12) * 10,
        )

    def __call__(
        self, wave_T: NDArray[np.float32], reference_T: NDArray[np.float32], aligned: bool
    ) -> dict[str, float]:
        """``mcd`` in dB, ``vuv`` as a share, and where enough frames are voiced ``f0_rmse`` in Hz,
        ``f0_cent`` (root mean square) and ``f0_corr``.

        Frames 50 dB under the loudest do not count. Without ``aligned`` the frames are paired by
        dynamic time warping (needs librosa). Empty where either recording lasts under 0.5 s.
        """
        if min(len(wave_T), len(reference_T)) < _SHORTEST_SAMPLES:
            return {}
        ours, theirs = self.analyse(wave_T), self.analyse(reference_T)
        if aligned:
            at_ours = at_theirs = np.arange(min(len(ours.f0_hz_F), len(theirs.f0_hz_F)))
        else:
            import librosa

            _, path = librosa.sequence.dtw(
                theirs.cepstrum_FD[:, 1:].T, ours.cepstrum_FD[:, 1:].T, metric="euclidean"
            )
            at_theirs, at_ours = path[::-1, 0], path[::-1, 1]
        loud = theirs.energy_db_F[at_theirs] > theirs.energy_db_F.max() - 50
        at_ours, at_theirs = at_ours[loud], at_theirs[loud]
        apart = ours.cepstrum_FD[at_ours, 1:] - theirs.cepstrum_FD[at_theirs, 1:]
        distance_db = 10 / np.log(10) * np.sqrt(2 * (apart**2).sum(1))
        f0_ours, f0_theirs = ours.f0_hz_F[at_ours], theirs.f0_hz_F[at_theirs]
        out = {
            "mcd": float(np.mean(distance_db)),
            "vuv": float(np.mean((f0_ours > 0) != (f0_theirs > 0))),
        }
        voiced = (f0_ours > 0) & (f0_theirs > 0)
        if voiced.sum() > 5:
            a, b = f0_ours[voiced], f0_theirs[voiced]
            out["f0_rmse"] = float(np.sqrt(np.mean((a - b) ** 2)))
            out["f0_cent"] = float(np.sqrt(np.mean((1200 * np.log2(a / b)) ** 2)))
            out["f0_corr"] = float(np.corrcoef(np.log(a), np.log(b))[0, 1])
        return out


class SampleBySample:
    """STOI, ESTOI and PESQ-WB of two recordings that share their timing."""

    def __init__(self) -> None:
        """Raises ImportError where pystoi is missing; without pesq its column stays empty."""
        from pystoi import stoi

        self._stoi = stoi
        self.notes: list[str] = []
        try:
            importlib.import_module("pesq")
            self._has_pesq = True
        except ImportError:
            self._has_pesq = False
            self.notes.append("PESQ is off: install pesq.")

    def __call__(
        self, wave_T: NDArray[np.float32], reference_T: NDArray[np.float32]
    ) -> dict[str, float]:
        """``stoi``, ``estoi`` and ``pesq`` over the common length; empty under 0.5 s."""
        samples = min(len(wave_T), len(reference_T))
        if samples < _SHORTEST_SAMPLES:
            return {}
        wave_T, reference_T = wave_T[:samples], reference_T[:samples]
        out = {
            "stoi": float(self._stoi(reference_T, wave_T, SAMPLE_RATE_HZ)),
            "estoi": float(self._stoi(reference_T, wave_T, SAMPLE_RATE_HZ, extended=True)),
        }
        if self._has_pesq:
            score = pesq_wide_band(wave_T, reference_T)
            if score is not None:
                out["pesq"] = score
            else:
                self.notes.append("PESQ left a clip out: it heard no speech in it.")
        return out


def pesq_wide_band(wave_T: NDArray[np.float32], reference_T: NDArray[np.float32]) -> float | None:
    """PESQ-WB; None where it hears no speech. Raises ImportError where pesq is missing."""
    from pesq import pesq

    # It finds no utterance in (near) silence and gives an error code below zero.
    score = float(pesq(SAMPLE_RATE_HZ, reference_T, wave_T, "wb", on_error=1))
    return score if score >= 1 else None
