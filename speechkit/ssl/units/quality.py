"""How well units know phones, with no training (fairseq's `measure_teacher_quality`; HuBERT, V-A).

Shapes: F frames, P phones of a clip, Y phone classes, K clusters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.data.alignment import Alignment
from speechkit.ssl.units.features import SAMPLE_RATE_HZ, WINDOW_SAMPLES
from speechkit.ssl.units.file import Units

SILENCE = "SIL"
_ALIGNMENT_HOP_SAMPLES = 320


@dataclass(frozen=True, kw_only=True)
class UnitQuality:
    """Figures over all frames that have both a unit and a phone."""

    frames: int
    """Frames compared."""
    pnmi: float
    """I(phone; unit) / H(phone): the share of the phone's uncertainty that the unit removes."""
    phone_purity: float
    """Accuracy of guessing each unit's most frequent phone."""
    cluster_purity: float
    """Mean share of a phone's frames that fall into its most frequent unit."""
    phones: int
    """Phone classes seen."""


@dataclass(frozen=True, kw_only=True)
class UnitUsage:
    """How evenly the units are used."""

    used: int
    """Units that occur."""
    perplexity: float
    """2 to the entropy of the units in bits; K when all are equally frequent."""
    repeats: float
    """Share of units that equal the one before them in the clip."""


def usage(clips: Iterable[Tensor], clusters: int) -> UnitUsage:
    """Usage of the units `[F]` of some clips; raises DataError where there is none."""
    counts_K = torch.zeros(clusters, dtype=torch.int64)
    same = pairs = 0
    for units_F in clips:
        counts_K += torch.bincount(units_F, minlength=clusters)
        same += int((units_F[1:] == units_F[:-1]).sum())
        pairs += max(0, len(units_F) - 1)
    if not int(counts_K.sum()):
        raise DataError("There are no units to count.")
    return UnitUsage(
        used=int((counts_K > 0).sum()),
        perplexity=math.exp(_entropy(counts_K)),
        repeats=same / pairs if pairs else 0.0,
    )


def quality(joint_YK: Tensor) -> UnitQuality:
    """Quality from the counts of each phone with each unit.

    PNMI is 0 where only one phone occurs: there is nothing to know then. Raises DataError for an
    empty table.
    """
    frames = int(joint_YK.sum())
    if not frames:
        raise DataError("There is no frame with both a phone and a unit to compare.")
    phone_entropy = _entropy(joint_YK.sum(1))
    shared = phone_entropy + _entropy(joint_YK.sum(0)) - _entropy(joint_YK.flatten())
    return UnitQuality(
        frames=frames,
        pnmi=min(1.0, max(0.0, shared / phone_entropy)) if phone_entropy > 0 else 0.0,
        phone_purity=float(joint_YK.max(dim=0).values.sum()) / frames,
        cluster_purity=float(joint_YK.max(dim=1).values.sum()) / frames,
        phones=int((joint_YK.sum(1) > 0).sum()),
    )


def count_joint(labels_F: Tensor, units_F: Tensor, labels: int, clusters: int) -> Tensor:
    """`joint_YK` int64: how often each label meets each unit."""
    counts: Tensor = torch.bincount(labels_F * clusters + units_F, minlength=labels * clusters)
    return counts.view(labels, clusters)


def phone_classes(symbols: Sequence[str]) -> tuple[tuple[str, ...], Tensor]:
    """Names of the classes, and the class of each symbol: stress taken off, all pauses one `SIL`.

    Class 0 is the silence.
    """
    names = [symbol.rstrip("012") if symbol[:1].isalpha() else SILENCE for symbol in symbols]
    classes = (SILENCE, *sorted(set(names) - {SILENCE}))
    return classes, torch.tensor([classes.index(name) for name in names], dtype=torch.int64)


def phones_at(ids_P: Tensor, frames_P: Tensor, count: int, rate_hz: int) -> Tensor:
    """The phone id `[F]` at the centre of each of `count` 25 ms windows, `rate_hz` a second.

    Shorter where the alignment ends before.
    """
    phones_A = torch.repeat_interleave(ids_P, frames_P)
    hop_samples = SAMPLE_RATE_HZ // rate_hz
    centre_F = (torch.arange(count) * hop_samples + WINDOW_SAMPLES // 2) // _ALIGNMENT_HOP_SAMPLES
    phones_F: Tensor = phones_A[centre_F[centre_F < len(phones_A)]]
    return phones_F


@dataclass(frozen=True, kw_only=True)
class CorpusQuality:
    """Quality with and without the frames between words."""

    everything: UnitQuality
    """All frames, silence being one class as in fairseq."""
    speech: UnitQuality
    """Frames inside phones alone: silence is easy and long, and flatters."""
    clips: int
    """Clips that have an alignment."""


def corpus_quality(units: Units, alignment: Alignment) -> CorpusQuality | None:
    """Compare units with the alignment of the same corpus.

    None where no clip has both.
    """
    classes, class_of = phone_classes(alignment.symbols)
    joint_YK = torch.zeros(len(classes), units.clusters, dtype=torch.int64)
    clips = 0
    for index in np.flatnonzero((alignment.lengths() > 0) & (units.lengths() > 0)).tolist():
        units_F = units.of(index)
        ids_F = phones_at(
            alignment.phones(index), alignment.frames(index), len(units_F), units.rate_hz
        )
        joint_YK += count_joint(
            class_of[ids_F], units_F[: len(ids_F)], len(classes), units.clusters
        )
        clips += 1
    if not int(joint_YK[1:].sum()):
        return None
    return CorpusQuality(everything=quality(joint_YK), speech=quality(joint_YK[1:]), clips=clips)


def _entropy(counts: Tensor) -> float:
    """Entropy in nats of a distribution given by counts."""
    share = counts[counts > 0].double() / counts.sum()
    return float(-(share * share.log()).sum())
