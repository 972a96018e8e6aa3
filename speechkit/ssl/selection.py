"""Which clips of a packed corpus a step works on: units, pre-training, fine-tuning, probes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from speechkit.core.errors import DataError
from speechkit.data.packed import PackedCorpus

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Clips that fit every field; None takes all."""

    languages: tuple[str, ...] | None = None
    """Language codes."""
    sources: tuple[str, ...] | None = None
    """Starts of the clip ids or of the `source` of the clips, such as `librispeech`."""
    splits: tuple[str, ...] | None = None
    """Splits, such as `train`."""
    speakers: tuple[str, ...] | None = None
    """Speakers, as the corpus names them."""
    without_speakers: tuple[str, ...] = ()
    """Speakers to leave out: those that a later step is tested on."""

    def of(self, corpus: PackedCorpus) -> list[int]:
        """Indices of the clips; raises DataError where nothing fits, naming what there is."""
        taken_N = np.ones(len(corpus), dtype=bool)
        for label, wanted in (
            ("language", self.languages),
            ("split", self.splits),
            ("speaker", self.speakers),
        ):
            if wanted is not None:
                taken_N &= _is_one_of(corpus, label, wanted)
        taken_N &= ~_is_one_of(corpus, "speaker", self.without_speakers)
        chosen: list[int] = np.flatnonzero(taken_N).tolist()
        if self.sources is not None:
            infos = ((clip, corpus.clips[clip]) for clip in chosen)
            chosen = [
                clip
                for clip, info in infos
                if info["id"].startswith(self.sources) or info["source"].startswith(self.sources)
            ]
        if not chosen:
            sources = {info["source"] for info in corpus.clips}
            known = [
                f"languages {', '.join(sorted(corpus.names['language'])[:20])}",
                f"sources {', '.join(sorted(sources)[:20])}",
                f"splits {', '.join(sorted(corpus.names['split'])[:20])}",
            ]
            raise DataError(f"No clip of '{corpus}' fits the selection; it has {'; '.join(known)}.")
        return chosen


def by_turns(
    items: Sequence[Item], speaker_of: Callable[[Item], Hashable], rng: torch.Generator
) -> list[Item]:
    """Items in random order, but each speaker's first before any speaker's second."""
    turns: Counter[Hashable] = Counter()
    ranked: list[tuple[int, int, Item]] = []
    for position, place in enumerate(torch.randperm(len(items), generator=rng).tolist()):
        speaker = speaker_of(items[place])
        ranked.append((turns[speaker], position, items[place]))
        turns[speaker] += 1
    return [item for _, _, item in sorted(ranked, key=lambda rank: rank[:2])]


def _is_one_of(corpus: PackedCorpus, label: str, wanted: Sequence[str]) -> npt.NDArray[np.bool_]:
    """True for the clips `[N]` whose label is one of these names."""
    names = frozenset(wanted)
    is_wanted = np.array([name in names for name in corpus.names[label]], dtype=bool)
    return is_wanted[corpus.label_N[label]]
