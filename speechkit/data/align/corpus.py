"""The clips of a packed corpus that can be aligned, with phones and features at hand.

Shapes: H mel frames (100 Hz), M mel bands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.core.errors import DataError, TextError
from speechkit.core.mel import LogMel
from speechkit.core.timebase import frame_count
from speechkit.data.align.graph import PhoneClasses, PhoneGraph, build_graph
from speechkit.data.align.model import HOP_SAMPLES, AlignerConfig, features
from speechkit.data.packed import PackedCorpus


@dataclass(frozen=True)
class Utterance:
    """A clip with its transcript as phones."""

    clip: int
    """Index in the corpus."""

    phones: tuple[str, ...]
    """Phone sequence with stress and boundary symbols."""

    graph: PhoneGraph
    """The states its frames must pass."""

    frames: int
    """Length at 50 Hz."""


@dataclass(frozen=True)
class Transcripts:
    """Outcome of turning the texts of a corpus into phones."""

    utterances: tuple[Utterance, ...]
    """Clips that can be aligned."""

    skipped: dict[str, int]
    """How many clips cannot, for each reason."""


def read_transcripts(
    corpus: PackedCorpus,
    classes: PhoneClasses,
    phones_of: Callable[[str], Sequence[str]],
    languages: Sequence[str] = ("en",),
    clips: Iterable[int] | None = None,
) -> Transcripts:
    """Phones and graphs of every clip, or of these, with text in one of `languages` (empty: all).

    What cannot be aligned is counted.
    """
    found: list[Utterance] = []
    skipped: dict[str, int] = {}
    for clip in range(len(corpus)) if clips is None else clips:
        meta = corpus.clips[clip]
        text = meta["text"]
        if not text:
            reason = "no text"
        elif languages and meta["language"] not in languages:
            reason = "other language"
        else:
            frames = frame_count(corpus.samples(clip), HOP_SAMPLES)
            try:
                phones = tuple(phones_of(text))
                graph = build_graph(phones, classes)
            except (TextError, DataError):
                reason = "text without usable phones"
            else:
                if graph.min_frames <= frames:
                    found.append(Utterance(clip, phones, graph, frames))
                    continue
                reason = "too short for its phones"
        skipped[reason] = skipped.get(reason, 0) + 1
    return Transcripts(tuple(found), skipped)


def require_some(transcripts: Transcripts) -> Transcripts:
    """The transcripts; raises DataError when not one clip can be aligned."""
    if not transcripts.utterances:
        raise DataError(
            f"No clip can be aligned ({transcripts.skipped}); prepare the corpus with its texts."
        )
    return transcripts


class FeatureCache:
    """Features of clips on the CPU, worked out once and kept as float16 (58 MB an hour)."""

    def __init__(self, corpus: PackedCorpus, config: AlignerConfig, keep: bool = True) -> None:
        self._corpus = corpus
        self._config = config
        self._log_mel = LogMel(config.mel)
        self._keep = keep
        self._kept: dict[int, Tensor] = {}

    @torch.no_grad()
    def __call__(self, clip: int) -> Tensor:
        """`mel_HM`, float16, of a clip."""
        if clip in self._kept:
            return self._kept[clip]
        mel_HM = features(self._corpus.wave(clip), self._log_mel, self._config).half()
        if self._keep:
            self._kept[clip] = mel_HM
        return mel_HM
