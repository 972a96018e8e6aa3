"""Phones and their times in a recording, by an aligner: it has never seen a code.

Legend: T samples at 16 kHz, H frames of 20 ms, P phones, C phone classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from speechkit.core.checkpoint import load_checkpoint
from speechkit.core.errors import DataError, TextError
from speechkit.core.mel import LogMel
from speechkit.data.align.graph import batch_graphs, build_graph
from speechkit.data.align.model import HOP_SAMPLES, features, load_aligner, pad_features
from speechkit.data.align.viterbi import best_path, durations
from speechkit.text import Frontend

UNKNOWN = -1
"""Phone class of a frame where the clip could not be aligned."""

SILENT_CLASS = 0
"""The aligner's class of silence."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Aligned:
    """A text and where in a recording it is spoken."""

    phones: tuple[str, ...]
    """Symbols, boundaries and punctuation included."""
    frames_P: Tensor
    """Frames of 20 ms that each lasts; their sum is ceil(T / 320)."""
    class_H: Tensor
    """Phone class of each frame."""
    heard_H: Tensor
    """Log-probability of that class in each frame."""


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

    def posteriors(self, wave_T: Tensor) -> Tensor:
        """Log posteriors `[H, C]` of the phone classes."""
        return self._posteriors(wave_T)[0][0]

    @torch.no_grad()
    def _posteriors(self, wave_T: Tensor) -> tuple[Tensor, Tensor]:
        """Log posteriors [1, H, C] and the number of frames [1]."""
        mel_HM = features(wave_T, self._log_mel, self._model.config)
        mel_BHM, frames_B = pad_features([mel_HM])
        return self._model(mel_BHM, frames_B), frames_B

    def heard(self, wave_T: Tensor) -> Tensor:
        """`class_H`, the likeliest phone of each frame, whatever the text may be."""
        return self.posteriors(wave_T).argmax(-1)

    def align(self, wave_T: Tensor, text: str | tuple[str, ...]) -> Aligned | None:
        """The phones of `text`, or those given, where they are spoken; None where they do not
        fit.
        """
        try:
            phones = self._frontend.phones(text) if isinstance(text, str) else text
            graph = build_graph(phones, self._model.classes)
        except (TextError, DataError):
            return None
        if graph.min_frames > -(-len(wave_T) // HOP_SAMPLES):
            return None
        posterior_BHC, frames_B = self._posteriors(wave_T)
        path = best_path(self._model.scores(posterior_BHC), batch_graphs([graph]), frames_B)
        class_H = torch.tensor(graph.classes)[path.states_BF[0]]
        return Aligned(
            phones=phones,
            frames_P=durations(path.states_BF[0], graph),
            class_H=class_H,
            heard_H=posterior_BHC[0].gather(1, class_H[:, None])[:, 0],
        )

    def clarity(self, wave_T: Tensor, phones: tuple[str, ...]) -> Tensor | None:
        """`heard_P`: log-probability of each phone where `align` finds it, the mean over its
        frames, silence left out; NaN where there is nothing else. None where they do not fit.

        Means over phones, and not over frames, tell clear speech from other speech best: a short
        consonant makes a word as much as a long vowel.
        """
        found = self.align(wave_T, phones)
        if found is None:
            return None
        sounds_H = found.class_H != SILENT_CLASS
        count = len(found.frames_P)
        phone_H = torch.repeat_interleave(torch.arange(count), found.frames_P)[sounds_H]
        frames_P = torch.bincount(phone_H, minlength=count)
        sums_P = torch.zeros(count).index_add_(0, phone_H, found.heard_H[sounds_H])
        return sums_P / frames_P

    def classes(self, wave_T: Tensor, text: str) -> Tensor:
        """`class_H` of `align`; UNKNOWN everywhere where that fails."""
        found = self.align(wave_T, text)
        if found is None:
            return torch.full((-(-len(wave_T) // HOP_SAMPLES),), UNKNOWN)
        return found.class_H
