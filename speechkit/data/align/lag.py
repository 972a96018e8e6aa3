"""How late phone times lie against the sound itself, without any aligner.

Hissing phones (S, SH, Z, CH, JH) have more energy above 4 kHz than below 2.5 kHz, and
hardly anything else has. Shifted by the right lag, their intervals cover the hiss best.
This tells a constant offset of an aligner from one of the truth it is measured against.

Shapes: H mel frames (100 Hz), M mel bands, P phones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from speechkit.core.mel import MelConfig, mel_centres_hz

HISSING = frozenset({"S", "SH", "Z", "CH", "JH"})
_STEP_MS = 10.0


def hiss_lag_ms(
    clips: Iterable[tuple[Sequence[str], Tensor, Tensor]], mel: MelConfig, reach_ms: float = 150.0
) -> float:
    """Lag in ms that the times of `clips` have against the hiss in them; positive is late.

    `clips` are phones, durations `[P]` in 20 ms frames and log-mels `[H, M]` at 100 Hz. The
    peak is refined by a parabola. NaN where there is no hissing phone.
    """
    centres_M = torch.from_numpy(mel_centres_hz(mel))
    high_M, low_M = centres_M > 4000.0, centres_M < 2500.0
    reach = int(reach_ms / _STEP_MS)
    totals = torch.zeros(2 * reach + 1, dtype=torch.float64)
    for phones, frames_P, mel_HM in clips:
        hiss_H = mel_HM[:, high_M].double().mean(dim=1) - mel_HM[:, low_M].double().mean(dim=1)
        running = torch.nn.functional.pad(hiss_H.cumsum(0), (1, 0))
        ends_P = 2 * frames_P.cumsum(0)
        for phone, end, frames in zip(phones, ends_P.tolist(), frames_P.tolist(), strict=True):
            start = end - 2 * frames
            inside = start >= reach and end + reach < len(running)
            if phone not in HISSING or not frames or not inside:
                continue
            stops = running[end - reach : end + reach + 1]
            starts = running[start - reach : start + reach + 1]
            totals += (stops - starts) / (2 * frames)
    if not bool(totals.any()):
        return float("nan")
    best = int(totals.argmax())
    shift = 0.0
    if 0 < best < len(totals) - 1:
        before, here, after = totals[best - 1 : best + 2].tolist()
        shift = 0.5 * (before - after) / (before - 2 * here + after)
    return -(best - reach + shift) * _STEP_MS
