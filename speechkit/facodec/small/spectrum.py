"""What the decoder misses: how its spectra differ from the recording's, on average and by shape.

A timbre vector is learnt from a few hundred speakers, and half of what sets the mean spectrum of a
new one apart from the mean voice is not in it. But a recording of that voice can be decoded from
its own codes, and what the log-mel of the recording has more is added to whatever is decoded in
the voice from then on: an equaliser that is measured, not learnt (as the global variance of
statistical synthesis is put right, Toda & Tokuda 2007). Frames of silence have their mean
difference. Unvoiced and voiced ones have a linear map each of the shape of what was decoded, its
first cepstral coefficients, by regression on the frames of the recording (as maximum likelihood
linear regression adapts a model of many speakers to one, Leggetter & Woodland 1995): vowels of a
voice are not all off by the same.

Shapes: B batch, G mel frames (100/s), M mel bands, C classes of frames, K cepstral coefficients,
X = 1 + K regressors, S numbers of a spectrum.
"""

from __future__ import annotations

import math
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

PRIOR_SHAPES = 100.0
"""The same for each cepstral coefficient."""

CENTRES = (
    *(-54.0, 9.0, 0.4, 2.8, -0.6, -0.4, -1.1, -0.7),
    *(-0.7, -0.4, -0.5, -0.4, -0.3, -0.1, -0.6, -0.3),
)
SPREADS = (
    *(8.7, 6.2, 3.3, 3.1, 2.4, 1.8, 1.7, 1.5),
    *(1.3, 1.2, 1.0, 1.0, 1.0, 0.9, 0.8, 0.7),
)
"""Mean and standard deviation of the cepstral coefficients of decoded log-mel where it sounds, in
60 clips of the training: inputs of the regression count from the one in units of the other."""

MOST_SHAPES = len(CENTRES)
"""More cepstral coefficients are not known."""

FURTHEST = 3.0
"""How far an input of the regression reaches, in those units."""

SMOOTH = 32
"""Cepstral coefficients that the maps give: finer differences depend on chance."""

QUIETER = 1.0
"""How much lower, in the same units, pauses are in a voice that speaks than in its recording (about
9 dB): what is heard of a room between words is no part of a voice."""

BLURRED_FROM = 0.6
"""Share of the bands, from the lowest on, that `sharpen` leaves alone: those below 2.3 kHz."""

BLURRED_BANDS = 5
"""Neighbouring bands over which `sharpen` takes the smooth spectrum that it keeps."""


@dataclass(frozen=True, kw_only=True)
class Missed:
    """Normal equations of what recorded log-mel has more than decoded, by classes of frames."""

    gram_BCXX: Tensor
    """Products of the regressors, summed up over frames."""

    sums_BCXM: Tensor
    """Products of regressors and differences."""

    def __add__(self, other: Missed) -> Missed:
        return Missed(
            gram_BCXX=self.gram_BCXX + other.gram_BCXX, sums_BCXM=self.sums_BCXM + other.sums_BCXM
        )

    def spectrum(self) -> Tensor:
        """`spectrum_BS`: maps of the cepstra of the classes that sound, then the offset of each
        class, drawn towards none by the priors."""
        prior_X = self.gram_BCXX.new_full(self.gram_BCXX.shape[-1:], PRIOR_SHAPES)
        prior_X[0] = PRIOR_FRAMES
        found_BCXM = torch.linalg.solve(self.gram_BCXX + prior_X.diag(), self.sums_BCXM)
        maps = found_BCXM[:, 1:, 1:] @ cosines(found_BCXM.shape[-1], SMOOTH, found_BCXM.device)
        return torch.cat([maps.flatten(1), found_BCXM[:, :, 0].flatten(1)], dim=-1)


def spectrum_channels(bands: int, shapes: int) -> int:
    """Numbers of a spectrum, S, with so many cepstral coefficients."""
    return bands * CLASSES + (CLASSES - 1) * shapes * min(SMOOTH, bands)


def cosines(bands: int, count: int, device: torch.device) -> Tensor:
    """The first `count` rows of the orthonormal discrete cosine transform, as columns of
    `[M, count]`; no more than there are bands."""
    band_M1 = torch.arange(bands, device=device)[:, None] + 0.5
    row_K = torch.arange(min(count, bands), device=device)
    basis = torch.cos(torch.pi / bands * band_M1 * row_K)
    basis[:, :1] /= math.sqrt(2)
    return basis * math.sqrt(2 / bands)


def membership(mel_BMG: Tensor, voiced_BG: Tensor) -> Tensor:
    """How much of each frame belongs to each class, `[B, C, G]`, sums to 1."""
    loud_BG = torch.sigmoid((mel_BMG.float().mean(1) - SILENT_LOG_MEL) / EDGE)
    voiced_BG = voiced_BG.to(loud_BG.dtype)
    return torch.stack([1 - loud_BG, loud_BG * (1 - voiced_BG), loud_BG * voiced_BG], dim=1)


def regressors(mel_BMG: Tensor, shapes: int) -> Tensor:
    """`[B, X, G]`: one, and the first cepstral coefficients of log-mel."""
    mel_BMG = mel_BMG.float()
    centres_K1, spreads_K1 = (
        torch.tensor(values[:shapes], device=mel_BMG.device)[:, None]
        for values in (CENTRES, SPREADS)
    )
    cepstra_BKG = cosines(mel_BMG.shape[1], shapes, mel_BMG.device).T @ mel_BMG
    cepstra_BKG = ((cepstra_BKG - centres_K1) / spreads_K1).clamp(-FURTHEST, FURTHEST)
    return torch.cat([torch.ones_like(mel_BMG[:, :1]), cepstra_BKG], dim=1)


def missed(
    recorded_BMG: Tensor,
    decoded_BMG: Tensor,
    voiced_BG: Tensor,
    keep_BG: Tensor | None = None,
    *,
    shapes: int = 0,
) -> Missed:
    """What decoded log-mel lacks of recorded, by its first `shapes` cepstral coefficients; frames
    where `keep_BG` is 0 do not count."""
    share_BCG = membership(recorded_BMG, voiced_BG)
    if keep_BG is not None:
        share_BCG = share_BCG * keep_BG[:, None]
    told_BXG = regressors(decoded_BMG, shapes)
    told_BCXG = share_BCG[:, :, None] * told_BXG[:, None]
    difference_BMG = recorded_BMG.float() - decoded_BMG.float()
    gram_BCXX = told_BCXG @ told_BXG[:, None].transpose(2, 3)
    if shapes:
        # Silence has an offset alone.
        gram_BCXX[:, 0, 0, 1:] = gram_BCXX[:, 0, 1:, 0] = 0
    return Missed(
        gram_BCXX=gram_BCXX, sums_BCXM=told_BCXG @ difference_BMG[:, None].transpose(2, 3)
    )


def equalise(mel_BMG: Tensor, voiced_BG: Tensor, spectrum_BS: Tensor) -> Tensor:
    """Decoded log-mel with what the decoder misses of the voice."""
    bands = mel_BMG.shape[1]
    offsets_BS = spectrum_BS[:, -CLASSES * bands :].to(mel_BMG.dtype)
    offsets_BCM = offsets_BS.reshape(-1, CLASSES, bands)
    share_BCG = membership(mel_BMG, voiced_BG).to(mel_BMG.dtype)
    equalised_BMG: Tensor = mel_BMG + offsets_BCM.transpose(1, 2) @ share_BCG
    maps_BS = spectrum_BS[:, : -CLASSES * bands].to(mel_BMG.dtype)
    if not maps_BS.shape[1]:
        return equalised_BMG
    smooth_MO = cosines(bands, SMOOTH, mel_BMG.device).to(mel_BMG.dtype)
    maps = maps_BS.reshape(len(maps_BS), CLASSES - 1, -1, smooth_MO.shape[1])
    told_BKG = regressors(mel_BMG, maps.shape[2])[:, 1:].to(mel_BMG.dtype)
    found = smooth_MO @ (maps.transpose(2, 3) @ told_BKG[:, None])
    return equalised_BMG + (share_BCG[:, 1:, None] * found).sum(1)


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
