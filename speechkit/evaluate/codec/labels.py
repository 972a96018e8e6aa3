"""What is true of every frame of a recording: phone, pitch, voicing, energy.

Phones come from the aligner and the text, pitch from WORLD: neither has seen a code.

Legend: T samples at 16 kHz, F code frames, G frames of 10 ms, H frames of 20 ms, M mel bands,
C phone classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from speechkit.core.checkpoint import load_checkpoint
from speechkit.core.errors import DataError, TextError
from speechkit.core.mel import LogMel, MelConfig
from speechkit.data.align.graph import batch_graphs, build_graph
from speechkit.data.align.model import HOP_SAMPLES, features, load_aligner, pad_features
from speechkit.data.align.viterbi import best_path
from speechkit.data.f0 import F0_HOP_SAMPLES, extract_f0
from speechkit.evaluate.pairs import EvalClip
from speechkit.text import Frontend

UNKNOWN = -1
"""Phone of a frame where the clip could not be aligned."""

SILENT_CLASS = 0
"""The aligner's class of silence."""

_WINDOW_SAMPLES = 512
_CONTEXT_FRAMES = 2


class PhoneReader:
    """Phones of frames of 20 ms: those of a known text, or those that are heard."""

    def __init__(self, folder: str | Path) -> None:
        """Load the aligner of a folder; raises CheckpointError where there is none."""
        self._model = load_aligner(folder)
        self.digest = load_checkpoint(folder).sha256
        self._log_mel = LogMel(self._model.config.mel)
        self._frontend = Frontend()

    @property
    def names(self) -> tuple[str, ...]:
        """Phone classes, silence first."""
        return self._model.classes.names

    @torch.no_grad()
    def _posteriors(self, wave_T: Tensor) -> tuple[Tensor, Tensor]:
        """Log posteriors [1, H, C] and the number of frames [1]."""
        mel_HM = features(wave_T, self._log_mel, self._model.config)
        mel_BHM, frames_B = pad_features([mel_HM])
        return self._model(mel_BHM, frames_B), frames_B

    def heard(self, wave_T: Tensor) -> Tensor:
        """`class_H`, the likeliest phone of each frame, whatever the text may be."""
        return self._posteriors(wave_T)[0][0].argmax(-1)

    def aligned(self, wave_T: Tensor, text: str) -> Tensor:
        """`class_H`, the phones of `text` where they are spoken; UNKNOWN where that fails."""
        unknown_H = torch.full((-(-len(wave_T) // HOP_SAMPLES),), UNKNOWN)
        try:
            graph = build_graph(tuple(self._frontend.phones(text)), self._model.classes)
        except (TextError, DataError):
            return unknown_H
        if graph.min_frames > len(unknown_H):
            return unknown_H
        posterior_BHC, frames_B = self._posteriors(wave_T)
        path = best_path(self._model.scores(posterior_BHC), batch_graphs([graph]), frames_B)
        return torch.tensor(graph.classes)[path.states_BF[0]]


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
    frames = -(-len(clip.wave_T) // hop_samples)
    centre_F = hop_samples * torch.arange(frames) + hop_samples // 2
    phone_H = phones.aligned(clip.wave_T, clip.text)
    f0_F = _nearest(torch.from_numpy(extract_f0(clip.wave_T.numpy())), centre_F, F0_HOP_SAMPLES)
    voiced_F = f0_F > 0
    octaves_F = torch.log2(f0_F.clamp_min(1.0))
    median = octaves_F[voiced_F].median() if bool(voiced_F.any()) else torch.tensor(0.0)
    mel_FM = log_mel(clip.wave_T, hop_samples)
    energy_F = mel_FM.mean(1)
    loud_F = energy_F >= energy_F.median()
    return FrameLabels(
        phone_F=_nearest(phone_H, centre_F, HOP_SAMPLES),
        contour_F=torch.where(voiced_F, octaves_F - median, torch.nan),
        voiced_F=voiced_F.long(),
        energy_F=energy_F - energy_F[loud_F].mean(),
        mel_FM=mel_FM,
    )


def _nearest(value_G: Tensor, centre_F: Tensor, hop_samples: int) -> Tensor:
    """The value of the frame that each sample position lies in."""
    return value_G[(centre_F // hop_samples).clamp_max(len(value_G) - 1)]


def log_mel(wave_T: Tensor, hop_samples: int) -> Tensor:
    """`mel_FM` of a wave, 80 bands, a frame each `hop_samples`."""
    window = max(_WINDOW_SAMPLES, hop_samples)
    mel = LogMel(MelConfig(hop_length=hop_samples, win_length=window))
    mel_FM: Tensor = mel(wave_T[None])[0].T
    return mel_FM


def with_context(x_FM: Tensor, frames: int = _CONTEXT_FRAMES) -> Tensor:
    """`[F, (2 · frames + 1) · M]`: each frame beside its neighbours, the ends repeated."""
    index_F = torch.arange(len(x_FM))
    around = [x_FM[(index_F + k).clamp(0, len(x_FM) - 1)] for k in range(-frames, frames + 1)]
    return torch.cat(around, 1)
