"""Who is tested, what is the seed, and what each arm hears: corpora cut from corpora."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from speechkit.core.audio import pcm16
from speechkit.core.errors import DataError
from speechkit.core.rng import derive, generator
from speechkit.data.packed import PACKED_SAMPLE_RATE_HZ, PackedClip, PackedCorpus, write_packed
from speechkit.ssl.ctc.score import FEWEST_GROUPS

Place = tuple[PackedCorpus, int]
"""A clip of an open corpus."""


def split_test(corpus: PackedCorpus, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Clips to train on and clips to test on; no speaker has both. Tested are clips with text.

    Raises DataError for fewer than two speakers or no text to test on.
    """
    speakers = list(corpus.speakers)
    if len(speakers) < 2:
        raise DataError(
            "The corpus has one speaker, and the table must be about another: give --test with a "
            "corpus of others."
        )
    order = torch.randperm(len(speakers), generator=generator(derive(seed, "test"))).tolist()
    count = max(round(share * len(speakers)), min(FEWEST_GROUPS, len(speakers) // 2), 1)
    tested = set(order[:count])
    tested_N = np.isin(corpus.speaker_N, sorted(tested))
    train: list[int] = np.flatnonzero(~tested_N).tolist()
    test: list[int] = np.flatnonzero(tested_N & corpus.text_N).tolist()
    if not test:
        raise DataError("The speakers kept for the test have no text: give --test with another.")
    return train, test


def within(places: Sequence[Place], hours: float) -> list[Place]:
    """The first clips that reach so many hours; raises DataError where there are fewer."""
    taken, left = [], 3600 * hours
    for corpus, clip in places:
        if left <= 0:
            break
        taken.append((corpus, clip))
        left -= corpus.samples(clip) / PACKED_SAMPLE_RATE_HZ
    # A pool is as long as its plan, to within a clip a level.
    if left > 30:
        raise DataError(f"{hours:g} h are asked for, and {hours - left / 3600:.3f} h are there.")
    return taken


def hours_of(places: Sequence[Place]) -> float:
    """Length of the clips."""
    return sum(corpus.samples(n) for corpus, n in places) / PACKED_SAMPLE_RATE_HZ / 3600


def drawn(parts: Sequence[Path], hours: float, seed: int) -> list[Place]:
    """So many hours of the clips of some corpora, in an order that follows from the seed."""
    places = [(corpus, n) for corpus in map(PackedCorpus, parts) for n in range(len(corpus))]
    rng = generator(derive(seed, "mix"))
    shuffled = [places[place] for place in torch.randperm(len(places), generator=rng).tolist()]
    return within(shuffled, hours)


def write_clips(path: Path, places: Sequence[Place], *, text: bool = True) -> None:
    """Write clips of other corpora to a new one; without `text`, with none.

    Pitch is written where every clip has it: synthetic speech always does, and a seed that was
    prepared without is mixed with it all the same, for no encoder hears of pitch.
    """
    corpora = {id(corpus): corpus for corpus, _ in places}
    pitch = all(corpus.has_pitch for corpus in corpora.values())

    def clips() -> Iterator[PackedClip]:
        for corpus, n in places:
            info = corpus.clips[n]
            if not text:
                info = {**info, "text": None}
            f0_F = corpus.f0(n) if pitch else torch.zeros(0)
            yield PackedClip(info=info, pcm_T=pcm16(corpus.wave(n)), f0_F=f0_F.numpy())

    write_packed(path, clips())
