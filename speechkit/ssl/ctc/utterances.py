"""What a recogniser is measured on: clips of a packed corpus, or files that a table lists.

Shapes: T samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.data.clips import ClipSource, Corpus
from speechkit.data.corpora import read_corpus
from speechkit.data.packed import PackedCorpus
from speechkit.data.prepare import PrepareLimits, Rejected, load_clip
from speechkit.ssl.selection import Selection

_ANY_LENGTH = PrepareLimits(
    min_seconds=0.0, max_seconds=3600.0, silence_dbfs=-math.inf, splits=None
)


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """A recording with its text."""

    clip: str
    """Its id."""
    speaker: str
    """Who speaks."""
    text: str
    """What is said, as the corpus has it."""
    wave: Callable[[], Tensor]
    """Reads wave_T at 16 kHz; raises DataError where there is none."""


def packed_utterances(corpus: PackedCorpus, selection: Selection | None = None) -> list[Utterance]:
    """Return the clips of a packed corpus that have text; raises DataError for none."""
    chosen = (Selection() if selection is None else selection).of(corpus)
    found = [
        Utterance(
            clip=info["id"],
            speaker=info["speaker"],
            text=info["text"],
            wave=partial(corpus.wave, clip),
        )
        for clip, info in ((clip, corpus.clips[clip]) for clip in chosen)
        if info["text"] is not None and info["text"].strip()
    ]
    return _some(found, str(corpus))


def listed_utterances(table: str | Path) -> list[Utterance]:
    """Return the clips with text of a manifest.jsonl, a metadata.csv or a corpus folder.

    Raises DataError where it cannot be read or lists no text.
    """
    path = Path(table)
    found = [
        Utterance(
            clip=source.id, speaker=source.speaker, text=source.text, wave=partial(_read, source)
        )
        for source in read_corpus(Corpus(path=path))
        if source.text is not None and source.text.strip()
    ]
    return _some(found, str(path))


def _some(found: Sequence[Utterance], path: str) -> list[Utterance]:
    if not found:
        raise DataError(
            f"No clip of {path} has text to compare with: evaluate on labelled recordings."
        )
    return list(found)


def _read(source: ClipSource) -> Tensor:
    clip = load_clip(source, _ANY_LENGTH)
    # A missing clip would make the error rate look better than it is.
    if isinstance(clip, Rejected):
        raise DataError(f"The clip '{clip.id}' cannot be evaluated: {clip.detail}.")
    return torch.from_numpy(clip.pcm_T.astype("float32") / 32768.0)
