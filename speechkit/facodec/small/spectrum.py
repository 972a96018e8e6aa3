"""What the decoder misses: how its spectra differ from the recording's, on average and in detail.

A timbre vector is learnt from a few hundred speakers, and half of what sets the mean spectrum of a
new one apart from the mean voice is not in it. But a recording of that voice can be decoded from
its own codes, and the mean difference of the two log-mels, apart for silence, unvoiced and voiced
frames, is added to whatever is decoded in the voice from then on: an equaliser that is measured,
not learnt (as the global variance of statistical synthesis is put right, Toda & Tokuda 2007).

Shapes: B batch, G mel frames (100/s), M mel bands, C classes of frames, S = C · M.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

CLASSES = 3
"""Silence, unvoiced, voiced."""

SILENT_LOG_MEL = -8.2
"""Mean log-mel, at the codec's level, of a frame that is half silence and half sound."""

EDGE = 0.4
"""How soft the border between the two is, in the same natural-log units."""

PRIOR_FRAMES = 20.0
"""Frames without any difference that each class has seen beforehand: short prompts change less."""

QUIETER = 1.0
"""How much lower, in the same units, pauses are in a voice that speaks than in its recording (about
9 dB): what is heard of a room between words is no part of a voice."""

BLURRED_FROM = 0.6
"""Share of the bands, from the lowest on, that `sharpen` leaves alone: those below 2.3 kHz."""

BLURRED_BANDS = 5
"""Neighbouring bands over which `sharpen` takes the smooth spectrum that it keeps."""


@dataclass(frozen=True, kw_only=True)
class Missed:
    """Differences of recorded and decoded log-mel, summed up over frames of each class."""

    sums_BCM: Tensor
    """The sums."""

    frames_BC: Tensor
    """How many frames they are of."""

    def __add__(self, other: Missed) -> Missed:
        return Missed(
            sums_BCM=self.sums_BCM + other.sums_BCM, frames_BC=self.frames_BC + other.frames_BC
        )

    def spectrum(self) -> Tensor:
        """The mean differences `spectrum_BS`, drawn towards none by `PRIOR_FRAMES`."""
        return (self.sums_BCM / (self.frames_BC + PRIOR_FRAMES)[..., None]).flatten(1)


def membership(mel_BMG: Tensor, voiced_BG: Tensor) -> Tensor:
    """How much of each frame belongs to each class, `[B, C, G]`, sums to 1."""
    loud_BG = torch.sigmoid((mel_BMG.float().mean(1) - SILENT_LOG_MEL) / EDGE)
    voiced_BG = voiced_BG.to(loud_BG.dtype)
    return torch.stack([1 - loud_BG, loud_BG * (1 - voiced_BG), loud_BG * voiced_BG], dim=1)


def missed(
    recorded_BMG: Tensor, decoded_BMG: Tensor, voiced_BG: Tensor, keep_BG: Tensor | None = None
) -> Missed:
    """What decoded log-mel lacks of recorded; frames where `keep_BG` is 0 do not count."""
    share_BCG = membership(recorded_BMG, voiced_BG)
    if keep_BG is not None:
        share_BCG = share_BCG * keep_BG[:, None]
    difference_BMG = recorded_BMG.float() - decoded_BMG.float()
    return Missed(sums_BCM=share_BCG @ difference_BMG.transpose(1, 2), frames_BC=share_BCG.sum(-1))


def equalise(mel_BMG: Tensor, voiced_BG: Tensor, spectrum_BS: Tensor) -> Tensor:
    """Decoded log-mel with what the decoder misses of the voice."""
    spectrum_BCM = spectrum_BS.to(mel_BMG.dtype).reshape(-1, CLASSES, mel_BMG.shape[1])
    share_BCG = membership(mel_BMG, voiced_BG).to(mel_BMG.dtype)
    equalised_BMG: Tensor = mel_BMG + spectrum_BCM.transpose(1, 2) @ share_BCG
    return equalised_BMG


def sharpen(mel_BMG: Tensor, voiced_BG: Tensor, strength: float) -> Tensor:
    """Decoded log-mel with more contrast along frequency, in frames that sound.

    What a decoder learns by distances is a mean of what may be, and formants of the mean are
    blurred: the bands above 2.3 kHz have two thirds of a recording's contrast. What sets each band
    apart from the mean over its neighbours is raised by `strength`, 0 for none: a formant
    postfilter (Ramamoorthy & Jayant 1984), where speakers differ and words hardly do.
    """
    lowest = int(BLURRED_FROM * mel_BMG.shape[1])
    wide_BMG = nn.functional.pad(mel_BMG, (0, 0, *[BLURRED_BANDS // 2] * 2), mode="replicate")
    smooth_BMG = nn.functional.avg_pool2d(wide_BMG, (BLURRED_BANDS, 1), stride=1)
    sounds_B1G = 1 - membership(mel_BMG, voiced_BG)[:, :1].to(mel_BMG.dtype)
    fine_BMG = strength * sounds_B1G * (mel_BMG - smooth_BMG)
    return torch.cat([mel_BMG[:, :lowest], (mel_BMG + fine_BMG)[:, lowest:]], dim=1)
