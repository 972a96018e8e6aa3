"""Training segments of a packed corpus: a crop, a reference for timbre, pitch and phones.

Shapes: B batch, T samples, G pitch frames (100/s), F code frames (50/s), N clips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from speechkit.core.errors import DataError
from speechkit.data.alignment import Alignment
from speechkit.data.codes import CorpusCodes
from speechkit.data.packed import PackedCorpus
from speechkit.data.split import HELD_OUT_SHARE, split_clips
from speechkit.facodec.small.features import Pitch, speech_gain, split_pitch
from speechkit.facodec.training.perturb import draw_ratio, played_frames, resampled
from speechkit.text.frames import FrameClasses

HOP = 320
UNLABELLED = -100
NOT_DRAWN = -1
MOST_KNOWN = 20_000
"""Clips whose pitch is kept in memory, about 10 kB each."""
LEAST_VOICED = 0.1
"""Share of a crop that is voiced, below which another one is drawn."""
TRIES = 8
"""Crops drawn of a clip; the last stays, whatever it is."""
LEAST_DEVIATION = 0.1
"""Smallest deviation of a contour; a clip on one note must not turn rounding into an F0 contour."""


@dataclass(frozen=True, kw_only=True)
class SegmentBatch:
    """One batch of crops at the codec's level."""

    wave_BT: Tensor
    """The crops."""

    reference_BT: Tensor
    """Other crops of the same recordings or of the same speakers, for timbre."""

    reference_voiced_BG: Tensor
    """Voicing of the references."""

    reference_contour_BG: Tensor
    """Normalised pitch contour of the references."""

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

    clip_B: Tensor
    """Clips of the corpus, −1 for a crop that is no longer its clip's voice."""

    level_B: Tensor
    """Log of the gain over that which brings the clips to the codec's level."""

    redrawn_BKF: Tensor
    """Codes that a generator drew for the crops, `NOT_DRAWN` where it drew none."""


class SegmentSampler:
    """Draws segments; a share `held_out` of the speakers is for validation only.

    Clips are brought to the level `level_rms`; None leaves them at their own. Of the references, a
    share `other_reference` comes from another clip of the speaker, where there is one; a share
    `resampled` of all items is played a little faster or slower, which makes new voices. Where
    `usable_N` is given, crops come from the clips in it that are True alone.

    Raises DataError where that leaves no clip.
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
        other_reference: float = 0.0,
        resampled: float = 0.0,
        usable_N: Tensor | None = None,
        redrawn: CorpusCodes | None = None,
        redrawn_share: float = 0.0,
    ) -> None:
        self.corpus, self.alignment = corpus, alignment
        self.crop_frames, self.reference_frames = crop_frames, reference_frames
        self.level_rms = level_rms
        self.other_reference, self.resampled = other_reference, resampled
        self._class_of = torch.tensor(classes.of_phone)
        self.clips_N = split_clips(corpus, validation=validation, held_out=held_out)
        if usable_N is not None:
            self.clips_N = self.clips_N[usable_N.numpy()[self.clips_N]]
            if not len(self.clips_N):
                raise DataError(
                    "No clip of the corpus is left to draw segments from: prepare more clips."
                )
        self._cumulative_N = torch.from_numpy(np.cumsum(self._weights()))
        self._pitch: dict[int, Pitch] = {}
        self._gain: dict[int, float] = {}
        self._clips_of: dict[int, list[int]] = {}
        for clip in self.clips_N.tolist():
            self._clips_of.setdefault(corpus.speaker(clip), []).append(clip)
        self.redrawn, self.redrawn_share = redrawn, redrawn_share if redrawn else 0.0
        self._redrawn_clips = [n for n in self.clips_N.tolist() if redrawn and redrawn.has(n)]
        if self.redrawn_share and not self._redrawn_clips:
            raise DataError("No clip of the corpus has drawn codes: run `speechkit train redraw`.")

    def _weights(self) -> np.ndarray:
        """Chance of each clip: by its length, with large speakers taken less often a second."""
        samples = np.array([self.corpus.samples(int(n)) for n in self.clips_N], dtype=np.float64)
        speaker = np.array([self.corpus.speaker(int(n)) for n in self.clips_N])
        totals = np.bincount(speaker, weights=samples, minlength=len(self.corpus.speakers))
        weight = samples / np.sqrt(totals[speaker]) * self.corpus.weight_N[self.clips_N]
        return np.asarray(weight / weight.sum())

    def draw(self, batch: int, rng: torch.Generator) -> SegmentBatch:
        """A batch; all choices come from `rng`."""
        places = torch.rand(batch, generator=rng, dtype=torch.float64)
        picks = torch.searchsorted(self._cumulative_N, places).clamp_max(len(self.clips_N) - 1)
        items = [self._drawn(int(self.clips_N[pick]), rng) for pick in picks.tolist()]
        fields = SegmentBatch.__dataclass_fields__
        return SegmentBatch(**{k: torch.stack([item[k] for item in items]) for k in fields})

    def _drawn(self, clip: int, rng: torch.Generator) -> dict[str, Tensor]:
        """A crop of the clip, or for a share of them one with drawn codes in its place."""
        if not self.redrawn_share:
            return self._item(clip, rng)
        chosen, place = torch.rand(2, generator=rng, dtype=torch.float64).tolist()
        if chosen >= self.redrawn_share:
            return self._item(clip, rng)
        return self._item(
            self._redrawn_clips[int(place * len(self._redrawn_clips))], rng, drawn=True
        )

    def _item(self, clip: int, rng: torch.Generator, *, drawn: bool = False) -> dict[str, Tensor]:
        ratio = draw_ratio(self.resampled, rng) if self.resampled and not drawn else 1.0
        pitch, gain = self._known(clip)
        start = self._start(clip, pitch, math.ceil(self.crop_frames * ratio), rng)
        other = self._other(clip, rng) if self.other_reference else clip
        heard, other_gain = self._known(other)
        other_start = self._start(other, heard, math.ceil(self.reference_frames * ratio), rng)
        level = (float(torch.rand((), generator=rng)) - 0.5) * 0.2 * math.log(10)
        mean, deviation = _moments(pitch)
        places_G = 2 * start + played_frames(2 * self.crop_frames, ratio)
        other_G = 2 * other_start + played_frames(2 * self.reference_frames, ratio)
        return {
            "wave_BT": self._wave(clip, start, self.crop_frames, ratio) * gain * math.exp(level),
            "reference_BT": self._wave(other, other_start, self.reference_frames, ratio)
            * other_gain
            * math.exp(level),
            "reference_contour_BG": _taken(heard.contour_G, other_G, 0),
            "reference_voiced_BG": _taken(heard.voiced_G, other_G, 0),
            "contour_BG": _taken(pitch.contour_G, places_G, 0),
            "voiced_BG": _taken(pitch.voiced_G, places_G, 0),
            "median_B": torch.tensor(pitch.median + math.log(ratio)),
            "contour_mean_B": torch.tensor(mean),
            "contour_deviation_B": torch.tensor(deviation),
            "phone_BF": self._phones(clip, start + played_frames(self.crop_frames, ratio)),
            "speaker_B": torch.tensor(self.corpus.speaker(clip)),
            "clip_B": torch.tensor(clip if ratio == 1 else -1),
            "level_B": torch.tensor(level),
            "redrawn_BKF": self._redrawn(clip, start, drawn),
        }

    def _redrawn(self, clip: int, start: int, drawn: bool) -> Tensor:
        """Drawn codes of a crop `[K, F]`; of no codebook where there are none at all."""
        if self.redrawn is None:
            return torch.empty(0, self.crop_frames, dtype=torch.long)
        codes_KF = (
            self.redrawn.clip(clip).codes_KF
            if drawn
            else torch.empty(self.redrawn.codebooks, 0, dtype=torch.long)
        )
        codes_KF = codes_KF[:, start : start + self.crop_frames]
        missing = self.crop_frames - codes_KF.shape[-1]
        return nn.functional.pad(codes_KF, (0, missing), value=NOT_DRAWN)

    def _start(self, clip: int, pitch: Pitch, wanted: int, rng: torch.Generator) -> int:
        """First frame of a crop in which somebody speaks, where the clip has one.

        A crop of nothing but a pause says nothing of a voice, and what its codes are decoded to is
        nothing that a codec meets in use.
        """
        frames = -(-self.corpus.samples(clip) // HOP)
        for _ in range(TRIES):
            start = int(torch.randint(max(1, frames - wanted + 1), (), generator=rng))
            if float(pitch.voiced_G[2 * start : 2 * (start + wanted)].mean()) >= LEAST_VOICED:
                break
        return start

    def _other(self, clip: int, rng: torch.Generator) -> int:
        """The clip that timbre is read from."""
        clips = self._clips_of[self.corpus.speaker(clip)]
        chosen, place = torch.rand(2, generator=rng, dtype=torch.float64).tolist()
        return clips[int(place * len(clips))] if chosen < self.other_reference else clip

    def _known(self, clip: int) -> tuple[Pitch, float]:
        if clip not in self._pitch:
            if len(self._pitch) >= MOST_KNOWN:
                self._pitch.clear()
                self._gain.clear()
            self._pitch[clip] = split_pitch(self.corpus.f0(clip).numpy())
            if self.level_rms is None:
                self._gain[clip] = 1.0
            else:
                self._gain[clip] = speech_gain(self.corpus.wave(clip), self.level_rms)
        return self._pitch[clip], self._gain[clip]

    def _wave(self, clip: int, start: int, frames: int, ratio: float) -> Tensor:
        if ratio == 1:
            wave_T = self.corpus.wave(clip, start * HOP, (start + frames) * HOP)
            return nn.functional.pad(wave_T, (0, frames * HOP - len(wave_T)))
        end = start * HOP + math.ceil(frames * HOP * ratio)
        return resampled(self.corpus.wave(clip, start * HOP, end), ratio, frames * HOP)

    def _phones(self, clip: int, places_F: Tensor) -> Tensor:
        if self.alignment is None or not self.alignment.has(clip):
            return torch.full((self.crop_frames,), UNLABELLED)
        ids = self.alignment.phones(clip).long()
        phone_F = torch.repeat_interleave(self._class_of[ids], self.alignment.frames(clip).long())
        return _taken(phone_F, places_F, UNLABELLED)


def _moments(pitch: Pitch) -> tuple[float, float]:
    """Mean and deviation of the voiced part of a contour."""
    voiced = pitch.contour_G[pitch.voiced_G > 0]
    if len(voiced) < 2:
        return 0.0, 1.0
    return float(voiced.mean()), max(LEAST_DEVIATION, float(voiced.std()))


def _taken(x_F: Tensor, places_F: Tensor, beyond: float) -> Tensor:
    """The values at these places, `beyond` past the end."""
    padded = nn.functional.pad(x_F, (0, 1), value=beyond)
    return padded[places_F.clamp_max(len(x_F))]
