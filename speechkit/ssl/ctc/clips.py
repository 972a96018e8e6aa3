"""Which clips of a packed corpus are learned from, and what their letters are.

A subset of some minutes is drawn clip by clip from one speaker after the other, as Libri-Light's
limited-supervision sets are balanced over speakers (Kahn et al. 2020, section 3.2).

Shapes: T samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from speechkit.core.config import require_range
from speechkit.core.errors import DataError
from speechkit.core.rng import derive, generator
from speechkit.data.packed import PACKED_SAMPLE_RATE_HZ, PackedCorpus
from speechkit.data.split import split_clips
from speechkit.ssl.ctc.characters import Characters
from speechkit.ssl.selection import Selection, by_turns

OnUnknown = Literal["error", "skip"]


@dataclass(frozen=True, kw_only=True)
class ClipsConfig:
    """Which clips may be chosen."""

    minutes: float | None = None
    """Labelled speech to learn from, at most; all that is usable when not given."""
    selection: Selection = field(default_factory=Selection)
    """Languages, sources and splits to take."""
    min_seconds: float = 0.5
    """Shortest clip."""
    max_seconds: float = 24.0
    """Longest clip."""
    on_unknown: OnUnknown = "error"
    """What clips with characters outside the alphabet are: an error, or skipped and counted."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        require_range(self, min_seconds=(0, 3600), max_seconds=(0, 3600))
        if self.minutes is not None:
            require_range(self, minutes=(1e-3, 1e7))


@dataclass(frozen=True, kw_only=True)
class LabelledClip:
    """One clip that can be learned from."""

    clip: int
    """Its place in the corpus."""
    samples: int
    """Its length."""
    labels: tuple[int, ...]
    """Classes of its letters."""
    text: str
    """Its text, normalised."""
    speaker: str
    """Who speaks."""


@dataclass(frozen=True, kw_only=True)
class SelectionReport:
    """What became of the clips of a corpus."""

    clips: int
    """Clips chosen."""
    minutes: float
    """Their length together."""
    speakers: int
    """Their speakers."""
    left_out: dict[str, int]
    """Clips that could not be used, by reason."""
    spare: int
    """Usable clips that were not needed."""

    def text(self) -> str:
        """Return one line for a terminal."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.left_out.items()))
        return (
            f"{self.clips} clips, {self.minutes:.1f} minutes, {self.speakers} speakers; left out: "
            f"{reasons or 'none'}; spare: {self.spare}"
        )


class LabelledClips:
    """Clips of a packed corpus with their letters."""

    def __init__(
        self, corpus: PackedCorpus, items: Sequence[LabelledClip], report: SelectionReport
    ) -> None:
        """Use `select_clips`, which checks what is chosen."""
        self._corpus = corpus
        self.items = tuple(items)
        self.report = report

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.items)

    def often(self, draws: torch.Generator) -> Tensor:
        """The places of an epoch: as often as corpora weigh, those of the least weight once."""
        places_N = torch.arange(len(self.items))
        weight_N = torch.from_numpy(self._corpus.weight_N)[[item.clip for item in self.items]]
        if bool((weight_N == weight_N[0]).all()):
            return places_N
        drawn_N = torch.rand(len(places_N), generator=draws, dtype=torch.float64)
        return places_N.repeat_interleave((weight_N / weight_N.min() + drawn_N).floor().long())

    def wave(self, place: int) -> Tensor:
        """Return wave_T of the clip at that place of the selection."""
        return self._corpus.wave(self.items[place].clip)


@dataclass(frozen=True, kw_only=True)
class ClipSplit:
    """Clips to learn from, and others of the same corpus to look at meanwhile."""

    train: LabelledClips
    held_out: LabelledClips


def frames_needed(labels: Sequence[int]) -> int:
    """Return the fewest frames that CTC can write letters in: doubles need a blank between."""
    doubles = sum(first == second for first, second in zip(labels, labels[1:], strict=False))
    return len(labels) + doubles


def select_clips(
    corpus: PackedCorpus,
    characters: Characters,
    frames: Callable[[int], int],
    config: ClipsConfig,
    *,
    held_out: int = 0,
    seed: int = 0,
) -> ClipSplit:
    """Return the clips to learn from, and up to ``held_out`` usable others.

    The others are of speakers that are held out with all their clips (`data.split`), where enough
    is left without them; else any that are not learned from. ``frames`` is the encoder's number of
    frames for a number of samples. The same seed gives the same clips.

    Raises DataError for no usable clips, for fewer minutes than asked, and for text outside the
    alphabet unless it is to be skipped.
    """
    usable, left_out = _usable(corpus, characters, frames, config)
    others = _of_held_out_speakers(corpus, usable) if held_out else []
    learned = [item for item in usable if item not in set(others)]
    if others and learned and _minutes(learned) >= (config.minutes or 0):
        order, watched = _in_turns(learned, seed), _in_turns(others, seed)[:held_out]
    else:
        order, watched = _in_turns(usable, seed), []
    if config.minutes is not None:
        chosen, spare = _within(order, config.minutes)
    else:
        # What is looked at meanwhile is at most a tenth, where all the rest is learned from.
        count = 0 if watched else min(held_out, len(order) // 10)
        chosen, spare = order[: len(order) - count], order[len(order) - count :]
    watched = watched or spare[:held_out]
    return ClipSplit(
        train=LabelledClips(corpus, chosen, _report(chosen, left_out, len(spare))),
        held_out=LabelledClips(corpus, watched, _report(watched, Counter(), 0)),
    )


def _in_turns(clips: Sequence[LabelledClip], seed: int) -> list[LabelledClip]:
    """All clips in random order, but each speaker's first before any speaker's second."""
    return by_turns(clips, lambda clip: clip.speaker, generator(derive(seed, "ctc clips")))


def _of_held_out_speakers(
    corpus: PackedCorpus, usable: Sequence[LabelledClip]
) -> list[LabelledClip]:
    """Return the clips of speakers whom no training on this corpus hears."""
    if len(corpus) < 2:
        return []
    held_out = frozenset(split_clips(corpus, validation=True).tolist())
    return [item for item in usable if item.clip in held_out]


def _usable(
    corpus: PackedCorpus, characters: Characters, frames: Callable[[int], int], config: ClipsConfig
) -> tuple[list[LabelledClip], Counter[str]]:
    """Return the clips that can be learned from, and why others cannot."""
    usable: list[LabelledClip] = []
    left_out: Counter[str] = Counter()
    wanted = config.selection.of(corpus)
    if config.on_unknown == "error":
        infos = (corpus.clips[clip] for clip in wanted)
        characters.require((info["id"], info["text"] or "") for info in infos)
    for clip in wanted:
        info = corpus.clips[clip]
        samples, text = corpus.samples(clip), info["text"] or ""
        seconds = samples / PACKED_SAMPLE_RATE_HZ
        if not text.strip():
            left_out["without text"] += 1
        elif characters.unknown(text):
            left_out["with unknown characters"] += 1
        elif not (labels := tuple(characters.encode(text))):
            left_out["without letters"] += 1
        elif not config.min_seconds <= seconds <= config.max_seconds:
            left_out["too short" if seconds < config.min_seconds else "too long"] += 1
        elif frames(samples) < frames_needed(labels):
            left_out["with more letters than frames"] += 1
        else:
            item = LabelledClip(
                clip=clip,
                samples=samples,
                labels=labels,
                text=characters.decode(labels),
                speaker=info["speaker"],
            )
            usable.append(item)
    if not usable:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
        raise DataError(
            f"No clip of {corpus} can be learned from ({reasons}): give a corpus with "
            "transcripts, or change the selection and the limits."
        )
    return usable, left_out


def _within(
    order: Sequence[LabelledClip], minutes: float
) -> tuple[list[LabelledClip], list[LabelledClip]]:
    """Return the first clips that fit into the minutes, and the others."""
    budget = round(minutes * 60 * PACKED_SAMPLE_RATE_HZ)
    total = sum(item.samples for item in order)
    if total < budget:
        raise DataError(
            f"{minutes:g} minutes of labels are asked for, but the corpus has only "
            f"{_minutes(order):.1f} usable ones: ask for fewer, or for all by not giving a number."
        )
    count = 0
    # The first clip that is too long ends it: to look for shorter ones would favour some speakers.
    while count < len(order) and order[count].samples <= budget:
        budget -= order[count].samples
        count += 1
    chosen, spare = list(order[:count]), list(order[count:])
    if not chosen:
        raise DataError(
            f"{minutes:g} minutes are shorter than a clip: ask for more minutes of labels."
        )
    return chosen, spare


def _minutes(items: Sequence[LabelledClip]) -> float:
    return sum(item.samples for item in items) / PACKED_SAMPLE_RATE_HZ / 60


def _report(items: Sequence[LabelledClip], left_out: Counter[str], spare: int) -> SelectionReport:
    return SelectionReport(
        clips=len(items),
        minutes=_minutes(items),
        speakers=len({item.speaker for item in items}),
        left_out=dict(left_out),
        spare=spare,
    )
