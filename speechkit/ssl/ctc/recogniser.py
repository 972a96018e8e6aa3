"""A trained recogniser at work: recordings to text, a labelled corpus to error rates.

Shapes: T samples, F frames, V classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from speechkit.ssl.config import SAMPLE_RATE_HZ
from speechkit.ssl.ctc.characters import normalise
from speechkit.ssl.ctc.decoding import Decoder, DecodingConfig, LanguageModel
from speechkit.ssl.ctc.model import CtcModel
from speechkit.ssl.ctc.score import Score, score
from speechkit.ssl.ctc.utterances import Utterance

PIECE_SECONDS = 30.0
"""Longer recordings are heard in pieces: attention costs the square of the length."""
MARGIN_SECONDS = 1.0
"""What the pieces overlap on each side, so that no word is cut by an edge."""


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """One clip of an evaluation."""

    clip: str
    """Its id."""
    speaker: str
    """Who speaks."""
    reference: str
    """What was said, normalised."""
    hypothesis: str
    """What was understood."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Error rates of a recogniser on a corpus, and every text."""

    score: Score
    """CER and WER."""
    clips: tuple[Recognised, ...]
    """Every recording and its text, in the order given."""

    def text(self) -> str:
        """Return the error rates for a terminal."""
        return self.score.text()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**self.score.to_json(), "clips": [asdict(clip) for clip in self.clips]}


class Recogniser:
    """A model and how its posteriors become text."""

    def __init__(
        self,
        model: CtcModel,
        decoding: DecodingConfig | None = None,
        language_model: LanguageModel | None = None,
    ) -> None:
        """The model is put into evaluation mode; raises as `Decoder` does."""
        self.model = model.eval()
        self._device = model.final_proj.weight.device
        self._decoder = Decoder(model.characters, decoding, language_model)

    def transcribe(self, wave_T: Tensor) -> str:
        """Return the text of a recording at 16 kHz, of any length; too short gives none."""
        return self._decoder.text(self.posteriors(wave_T))

    @torch.inference_mode()
    def posteriors(self, wave_T: Tensor) -> Tensor:
        """Return log_probability_FV of a recording at 16 kHz."""
        encoder = self.model.encoder.config
        hop = encoder.hop_samples
        frames = encoder.frames(len(wave_T))
        if frames < 1:
            return torch.zeros(0, self.model.characters.size)
        piece = max(1, round(PIECE_SECONDS * SAMPLE_RATE_HZ / hop))
        margin = round(MARGIN_SECONDS * SAMPLE_RATE_HZ / hop)
        count = math.ceil(frames / piece)
        edges = [round(frames * number / count) for number in range(count + 1)]
        parts = []
        for first, end in zip(edges, edges[1:], strict=False):
            start, stop = max(first - margin, 0), min(end + margin, frames)
            samples = (stop - start - 1) * hop + encoder.field_samples
            part_T = wave_T[start * hop : start * hop + samples].to(self._device)
            heard = self.model.posteriors(part_T[None])
            parts.append(heard.log_probability_BFV[0, first - start : end - start].cpu())
        return torch.cat(parts)

    def evaluate(
        self,
        utterances: Sequence[Utterance],
        *,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Evaluation:
        """Return error rates over labelled recordings; ``seed`` is the bootstrap's.

        Raises DataError, before anything is heard, for text with characters outside the model's
        alphabet.
        """
        self.model.characters.require((item.clip, item.text) for item in utterances)
        clips = []
        for number, item in enumerate(utterances, start=1):
            found = Recognised(
                clip=item.clip,
                speaker=item.speaker,
                reference=normalise(item.text),
                hypothesis=self.transcribe(item.wave()),
            )
            clips.append(found)
            if progress is not None:
                progress(number, len(utterances))
        return Evaluation(
            score=score(
                [clip.reference for clip in clips],
                [clip.hypothesis for clip in clips],
                [clip.speaker for clip in clips],
                seed,
            ),
            clips=tuple(clips),
        )
