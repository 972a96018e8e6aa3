"""What is true of every frame of a recording: phone, pitch, voicing, energy.

Phones come from the aligner and the text, pitch from WORLD: neither has seen a code.

Legend: T samples at 16 kHz, F code frames, G frames of 10 ms, H frames of 20 ms, M mel bands.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.core.f0 import F0_HOP_SAMPLES, extract_f0
from speechkit.core.mel import LogMel, MelConfig
from speechkit.core.timebase import frame_count
from speechkit.data.align.model import HOP_SAMPLES
from speechkit.data.align.reader import PhoneReader
from speechkit.evaluate.pairs import EvalClip

_WINDOW_SAMPLES = 512
_CONTEXT_FRAMES = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameLabels:
    """One recording on a codec's frame grid."""

    phone_F: Tensor
    """Phone class, int64; UNKNOWN where there is none."""
    contour_F: Tensor
    """Pitch in octaves over the clip's median; NaN where unvoiced."""
    voiced_F: Tensor
    """Voicing, int64, 0 or 1."""
    energy_F: Tensor
    """Mean log-mel over that of the louder half of the clip, in nepers."""
    mel_FM: Tensor
    """Log-mel, one frame for a code frame."""


def frame_labels(clip: EvalClip, hop_samples: int, phones: PhoneReader) -> FrameLabels:
    """Labels of a clip for code frames of `hop_samples`; each is read at the frame's middle."""
    frames = frame_count(len(clip.wave_T), hop_samples)
    centre_F = hop_samples * torch.arange(frames) + hop_samples // 2

    def nearest(value_G: Tensor, value_hop_samples: int) -> Tensor:
        return value_G[(centre_F // value_hop_samples).clamp_max(len(value_G) - 1)]

    f0_F = nearest(torch.from_numpy(extract_f0(clip.wave_T.numpy())), F0_HOP_SAMPLES)
    voiced_F = f0_F > 0
    octaves_F = torch.log2(f0_F.clamp_min(1.0))
    median = octaves_F[voiced_F].median() if bool(voiced_F.any()) else torch.tensor(0.0)
    mel = LogMel(MelConfig(hop_length=hop_samples, win_length=max(_WINDOW_SAMPLES, hop_samples)))
    mel_FM: Tensor = mel(clip.wave_T[None])[0].T
    energy_F = mel_FM.mean(1)
    loud_F = energy_F >= energy_F.median()
    return FrameLabels(
        phone_F=nearest(phones.classes(clip.wave_T, clip.text), HOP_SAMPLES),
        contour_F=torch.where(voiced_F, octaves_F - median, torch.nan),
        voiced_F=voiced_F.long(),
        energy_F=energy_F - energy_F[loud_F].mean(),
        mel_FM=mel_FM,
    )


def with_context(x_FM: Tensor, frames: int = _CONTEXT_FRAMES) -> Tensor:
    """`[F, (2 · frames + 1) · M]`: each frame beside its neighbours, the ends repeated."""
    index_F = torch.arange(len(x_FM))
    around = [x_FM[(index_F + k).clamp(0, len(x_FM) - 1)] for k in range(-frames, frames + 1)]
    return torch.cat(around, 1)
