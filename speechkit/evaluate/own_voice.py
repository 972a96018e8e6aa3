"""One speaker's own voice: how like them, and how clear, a synthesiser speaks held-out texts.

T samples at 16 kHz, F frames of 20 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechkit.core.metrics import Edits, edits
from speechkit.data.align.reader import SILENT_CLASS, PhoneReader
from speechkit.evaluate.pairs import EvalClip
from speechkit.evaluate.scorers import Embedding, Scorers
from speechkit.evaluate.scoring import file_name, stored_wave
from speechkit.evaluate.speaker import similarity
from speechkit.facodec.recognition import SWITCH_PENALTY, smooth_path


@dataclass(frozen=True, kw_only=True)
class VoiceFigures:
    """How well texts of held-out clips are spoken."""

    clips: int
    """Clips that were spoken."""
    phone_accuracy: float
    """1 less the phone errors (substituted, left out, put in) a phone of the texts, as the bundled
    aligner hears them: recordings do not reach 1 either."""
    similarity: float | None
    """Mean cosine (CAM++) to the speaker's held-out clips, for recordings to the other ones; None
    without a speaker model, or where there is no other clip."""
    wer: float | None
    """Word errors a word; None without a recogniser."""

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)


def measure_voice(
    clips: Sequence[EvalClip],
    speak: Callable[[EvalClip], Tensor] | None,
    folder: Path,
    *,
    scorers: Scorers,
    reader: PhoneReader,
) -> VoiceFigures:
    """Let `speak` say the text of each clip, write that into the folder, and measure it.

    Without `speak` the recordings are measured. Clips whose text does not fit them are left out of
    the phones.
    """
    known = [None if scorers.embed is None else scorers.embed(c.wave_T.numpy()) for c in clips]
    phones, likeness = Edits(hits=0, substitutions=0, insertions=0, deletions=0), list[float]()
    word_errors = words = 0
    for number, clip in enumerate(clips):
        said_T = clip.wave_T if speak is None else speak(clip)
        wave_T = stored_wave(folder / file_name(clip.id), said_T)
        aligned = reader.align(clip.wave_T, clip.text)
        if aligned is not None:
            heard_F = smooth_path(reader.posteriors(torch.from_numpy(wave_T)), SWITCH_PENALTY)
            phones += edits(_spoken(aligned.class_H), _spoken(heard_F))
        if scorers.embed is not None:
            others = [one for at, one in enumerate(known) if speak is not None or at != number]
            likeness += _similarities(scorers.embed(wave_T), others)
        if scorers.words is not None:
            found = scorers.words(wave_T, clip.text)
            word_errors, words = word_errors + found.word_edits, words + found.words
    return VoiceFigures(
        clips=len(clips),
        phone_accuracy=1 - phones.errors / max(1, phones.reference_tokens),
        similarity=sum(likeness) / len(likeness) if likeness else None,
        wer=word_errors / words if words else None,
    )


def _spoken(class_F: Tensor) -> list[int]:
    """Phones of frames, each once, without silence."""
    return [phone for phone in torch.unique_consecutive(class_F).tolist() if phone != SILENT_CLASS]


def _similarities(ours: Embedding, others: Sequence[Embedding | None]) -> list[float]:
    """Cosines to other clips."""
    return [similarity(ours, other) for other in others if other is not None]
