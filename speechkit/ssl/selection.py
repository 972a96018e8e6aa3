"""Which clips of a packed corpus a step works on: units, pre-training, fine-tuning, probes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from speechkit.core.errors import DataError
from speechkit.data.packed import ClipInfo, PackedCorpus

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
        speakers = None if self.speakers is None else frozenset(self.speakers)
        without = frozenset(self.without_speakers)

        def takes(clip: ClipInfo) -> bool:
            starts = self.sources
            return (
                (self.languages is None or clip["language"] in self.languages)
                and (self.splits is None or clip["split"] in self.splits)
                and (speakers is None or clip["speaker"] in speakers)
                and clip["speaker"] not in without
                and (
                    starts is None
                    or clip["id"].startswith(starts)
                    or clip["source"].startswith(starts)
                )
            )

        chosen = [index for index, clip in enumerate(corpus.clips) if takes(clip)]
        if not chosen:
            known = [
                f"{what} {', '.join(sorted(values)[:20])}"
                for what, values in (
                    ("languages", {clip["language"] for clip in corpus.clips}),
                    ("sources", {clip["source"] for clip in corpus.clips}),
                    ("splits", {clip["split"] for clip in corpus.clips}),
                )
            ]
            raise DataError(
                f"No clip of '{corpus.path}' fits the selection; it has {'; '.join(known)}."
            )
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
