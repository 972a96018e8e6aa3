"""Training segments of a packed corpus: a crop, a reference for timbre, pitch and phones.

Shapes: B batch, T samples, G pitch frames (100/s), F code frames (50/s), N clips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from speechkit.data.alignment import Alignment
from speechkit.data.packed import PackedCorpus
from speechkit.data.split import HELD_OUT_SHARE, split_clips
from speechkit.facodec.small.features import Pitch, speech_gain, split_pitch
from speechkit.text.frames import FrameClasses

HOP = 320
UNLABELLED = -100
LEAST_DEVIATION = 0.1
"""Smallest deviation of a contour; a clip on one note must not turn rounding into an F0 contour."""


@dataclass(frozen=True, kw_only=True)
class SegmentBatch:
    """One batch of crops at the codec's level."""

    wave_BT: Tensor
    """The crops."""

    reference_BT: Tensor
    """Other crops of the same recordings, for timbre."""

    contour_BG: Tensor
    """Normalised pitch contour of the crops."""

    voiced_BG: Tensor
    """Voicing of the crops."""

    median_B: Tensor
    """Log median pitch of the recordings over the reference pitch."""

    contour_mean_B: Tensor
    """Mean of the contour over the voiced frames of the whole recordings."""

    contour_deviation_B: Tensor
    """Standard deviation of the same, at least `LEAST_DEVIATION`."""

    phone_BF: Tensor
    """Frame classes, `UNLABELLED` where no alignment exists."""

    speaker_B: Tensor
    """Speaker indices."""


class SegmentSampler:
    """Draws segments; a share `held_out` of the speakers is for validation only.

    Clips are brought to the level `level_rms`; None leaves them at their own.
    """

    def __init__(
        self,
        corpus: PackedCorpus,
        classes: FrameClasses,
        alignment: Alignment | None,
        *,
        crop_frames: int,
        reference_frames: int,
        level_rms: float | None,
        held_out: float = HELD_OUT_SHARE,
        validation: bool = False,
    ) -> None:
        self.corpus, self.alignment = corpus, alignment
        self.crop_frames, self.reference_frames = crop_frames, reference_frames
        self.level_rms = level_rms
        self._class_of = torch.tensor(classes.of_phone)
        self.clips_N = split_clips(corpus, validation=validation, held_out=held_out)
        self._cumulative_N = torch.from_numpy(np.cumsum(self._weights()))
        self._pitch: dict[int, Pitch] = {}
        self._gain: dict[int, float] = {}

    def _weights(self) -> np.ndarray:
        """Chance of each clip: by its length, with large speakers taken less often a second."""
        samples = np.array([self.corpus.samples(int(n)) for n in self.clips_N], dtype=np.float64)
        speaker = np.array([self.corpus.speaker(int(n)) for n in self.clips_N])
        totals = np.bincount(speaker, weights=samples, minlength=len(self.corpus.speakers))
        weight = samples / np.sqrt(totals[speaker])
        return np.asarray(weight / weight.sum())

    def draw(self, batch: int, rng: torch.Generator) -> SegmentBatch:
        """A batch; all choices come from `rng`."""
        places = torch.rand(batch, generator=rng, dtype=torch.float64)
        picks = torch.searchsorted(self._cumulative_N, places).clamp_max(len(self.clips_N) - 1)
        items = [self._item(int(self.clips_N[int(p)]), rng) for p in picks]
        fields = SegmentBatch.__dataclass_fields__
        return SegmentBatch(**{k: torch.stack([item[k] for item in items]) for k in fields})

    def _item(self, clip: int, rng: torch.Generator) -> dict[str, Tensor]:
        frames = -(-self.corpus.samples(clip) // HOP)
        start = _start(frames, self.crop_frames, rng)
        other = _start(frames, self.reference_frames, rng)
        pitch, gain = self._known(clip)
        gain = gain * 10 ** ((float(torch.rand((), generator=rng)) - 0.5) * 0.2)
        mean, deviation = _moments(pitch)
        span = slice(2 * start, 2 * (start + self.crop_frames))
        return {
            "wave_BT": self._wave(clip, start, self.crop_frames) * gain,
            "reference_BT": self._wave(clip, other, self.reference_frames) * gain,
            "contour_BG": _pad(pitch.contour_G[span], 2 * self.crop_frames),
            "voiced_BG": _pad(pitch.voiced_G[span], 2 * self.crop_frames),
            "median_B": torch.tensor(pitch.median),
            "contour_mean_B": torch.tensor(mean),
            "contour_deviation_B": torch.tensor(deviation),
            "phone_BF": self._phones(clip, start),
            "speaker_B": torch.tensor(self.corpus.speaker(clip)),
        }

    def _known(self, clip: int) -> tuple[Pitch, float]:
        if clip not in self._pitch:
            self._pitch[clip] = split_pitch(self.corpus.f0(clip).numpy())
            if self.level_rms is None:
                self._gain[clip] = 1.0
            else:
                self._gain[clip] = speech_gain(self.corpus.wave(clip), self.level_rms)
        return self._pitch[clip], self._gain[clip]

    def _wave(self, clip: int, start: int, frames: int) -> Tensor:
        return _pad(self.corpus.wave(clip, start * HOP, (start + frames) * HOP), frames * HOP)

    def _phones(self, clip: int, start: int) -> Tensor:
        if self.alignment is None or not self.alignment.has(clip):
            return torch.full((self.crop_frames,), UNLABELLED)
        ids = self.alignment.phones(clip).long()
        phone_F = torch.repeat_interleave(self._class_of[ids], self.alignment.frames(clip).long())
        cut = phone_F[start : start + self.crop_frames]
        return nn.functional.pad(cut, (0, self.crop_frames - len(cut)), value=UNLABELLED)


def _moments(pitch: Pitch) -> tuple[float, float]:
    """Mean and deviation of the voiced part of a contour."""
    voiced = pitch.contour_G[pitch.voiced_G > 0]
    if len(voiced) < 2:
        return 0.0, 1.0
    return float(voiced.mean()), max(LEAST_DEVIATION, float(voiced.std()))


def _start(frames: int, wanted: int, rng: torch.Generator) -> int:
    return int(torch.randint(max(1, frames - wanted + 1), (), generator=rng))


def _pad(x_T: Tensor, length: int) -> Tensor:
    return nn.functional.pad(x_T, (0, length - len(x_T)))
