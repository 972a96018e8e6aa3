"""Which clips are trained on and which are held out, by speaker.

A model that is to speak in voices it has never heard must be judged on such voices: with single
clips held out, `best` would be chosen on voices that it knows.

Shapes: N clips.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from speechkit.core.errors import DataError
from speechkit.data.packed import PackedCorpus
from speechkit.data.speed import original

HELD_OUT_SHARE = 0.03
"""Share of the speakers with text that no training sees."""
LEAST_SPEAKERS = 3
"""Fewest speakers that are held out, where half of them are as many."""


def split_clips(
    corpus: PackedCorpus, *, validation: bool, held_out: float = HELD_OUT_SHARE
) -> npt.NDArray[np.int64]:
    """Indices `[N]`, rising, of the clips to train on, or with `validation` of the held-out ones.

    A share `held_out` of the speakers who have a clip with text, at least `LEAST_SPEAKERS` and at
    most half of them, is held out with all clips: those whose names hash lowest, so that every
    training on the corpus holds out the same ones and a clip more does not change them. Where no
    clip has text, all speakers count; where the corpus has one speaker, single clips are held out.
    Speakers at other speeds go with those they were made of, and are not judged on.

    Raises DataError for a corpus of fewer than two clips.
    """
    if len(corpus) < 2:
        raise DataError("The corpus needs at least two clips: one to train on, one to hold out.")
    owners = [original(name) for name in corpus.speakers]
    one_voice = len(set(owners)) == 1
    labels: Sequence[str] = corpus.ids if one_voice else corpus.speakers
    label_N = np.arange(len(corpus)) if one_voice else corpus.speaker_N
    owners = [original(name) for name in corpus.ids] if one_voice else owners
    names = sorted(set(owners))
    number_of = {name: number for number, name in enumerate(names)}
    group_N = np.array([number_of[name] for name in owners])[label_N]
    with_text = np.unique(group_N[corpus.text_N])
    # A speaker without text, or an only one with it, cannot be the measure of a synthesis.
    groups = with_text if len(with_text) > 1 else np.unique(group_N)
    ranked = sorted(groups.tolist(), key=lambda group: hash_share(names[group]))
    count = min(len(ranked) // 2, max(LEAST_SPEAKERS, round(held_out * len(ranked))))
    held_out_N = np.isin(group_N, ranked[:count])
    if not validation:
        return np.flatnonzero(~held_out_N)
    altered = [label != owner for label, owner in zip(labels, owners, strict=True)]
    plain_N = held_out_N & ~np.array(altered)[label_N]
    return np.flatnonzero(plain_N if plain_N.any() else held_out_N)


def hash_share(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
