"""Boundary errors of alignments against a truth with known phone times.

A word gap or pause (any run of boundary symbols) counts as one boundary, at its middle:
where a generator draws the line between a phone and an unspoken gap is its own affair.
Errors are signed: negative means that the alignment is early.

Shapes: P phones, F frames.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.data.align.corpus import FeatureCache, Utterance
from speechkit.data.align.decode import decode_utterances
from speechkit.data.align.graph import PhoneClasses, build_graph
from speechkit.data.align.lag import hiss_lag_ms
from speechkit.data.align.model import HOP_SAMPLES, Aligner
from speechkit.data.packed import PackedCorpus
from speechkit.text.vocab import is_boundary

FRAME_MS = 20.0


@dataclass(frozen=True)
class TrueAlignment:
    """A clip with known phone times."""

    utterance: Utterance
    frames_P: Tensor
    """True duration of each phone in 20 ms frames."""


@dataclass(frozen=True)
class BoundaryErrors:
    """Signed errors in milliseconds by kind of boundary."""

    phone_ms: Tensor
    """Between two phones of a word."""

    gap_ms: Tensor
    """Middle of a word gap without punctuation."""

    pause_ms: Tensor
    """Middle of a gap with punctuation."""

    edge_ms: Tensor
    """Start of the first phone and end of the last one."""


def read_truth(path: Path, corpus: PackedCorpus, classes: PhoneClasses) -> list[TrueAlignment]:
    """The clips of `corpus` whose times stand in a JSONL file (`id`, `phones`, `frames_50hz`).

    Symbols the vocabulary lacks are taken for punctuation (long dashes, quotes).
    Raises DataError when the file fits no clip of the corpus.
    """
    clip_of = {info["id"]: clip for clip, info in enumerate(corpus.clips)}
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        clip = clip_of.get(entry["id"])
        if clip is None:
            continue
        phones = tuple(phone if phone in classes.index else "-" for phone in entry["phones"])
        frames = -(-corpus.samples(clip) // HOP_SAMPLES)
        utterance = Utterance(clip, phones, build_graph(phones, classes), frames)
        found.append(TrueAlignment(utterance, torch.tensor(entry["frames_50hz"])))
    if not found:
        raise DataError(f"{path} names no clip of {corpus.path}; give the truth of that corpus.")
    return found


def boundary_errors(phones: Sequence[str], frames_P: Tensor, truth_P: Tensor) -> BoundaryErrors:
    """Errors of the durations `frames_P` of one clip against the true `truth_P`."""
    kinds: dict[str, list[float]] = {"phone": [], "gap": [], "pause": [], "edge": []}
    ends, true_ends = frames_P.cumsum(0).tolist(), truth_P.cumsum(0).tolist()
    spoken = [index for index, symbol in enumerate(phones) if not is_boundary(symbol)]
    for left, right in zip(spoken[:-1], spoken[1:], strict=True):
        marks = phones[left + 1 : right]
        middle = (ends[left] + ends[right - 1]) / 2
        true_middle = (true_ends[left] + true_ends[right - 1]) / 2
        kind = "phone" if not marks else "gap" if set(marks) == {" "} else "pause"
        kinds[kind].append((middle - true_middle) * FRAME_MS)
    before_first = spoken[0] - 1
    if before_first >= 0:
        kinds["edge"].append((ends[before_first] - true_ends[before_first]) * FRAME_MS)
    if spoken[-1] + 1 < len(phones):
        kinds["edge"].append((ends[spoken[-1]] - true_ends[spoken[-1]]) * FRAME_MS)
    return BoundaryErrors(*(torch.tensor(kinds[kind]) for kind in kinds))


def summarise(errors: Sequence[BoundaryErrors], truth_lag_ms: float = 0.0) -> dict[str, float]:
    """Median and mean absolute error, bias (median signed) and shares within 20 and 50 ms.

    `boundary/…` covers all kinds; then each kind by itself. Empty kinds are left out.
    `truth_lag_ms` is taken off the truth first: what it is known to be late.
    """
    kinds = {
        "phone": torch.cat([item.phone_ms for item in errors]),
        "gap": torch.cat([item.gap_ms for item in errors]),
        "pause": torch.cat([item.pause_ms for item in errors]),
        "edge": torch.cat([item.edge_ms for item in errors]),
    }
    kinds = {"boundary": torch.cat(list(kinds.values())), **kinds}
    kinds = {kind: signed + truth_lag_ms for kind, signed in kinds.items()}
    result: dict[str, float] = {}
    for kind, signed in kinds.items():
        if not len(signed):
            continue
        size = signed.abs()
        result[f"{kind}/count"] = float(len(signed))
        result[f"{kind}/median_ms"] = float(size.quantile(0.5))
        result[f"{kind}/mean_ms"] = float(size.mean())
        result[f"{kind}/bias_median_ms"] = float(signed.quantile(0.5))
        result[f"{kind}/bias_mean_ms"] = float(signed.mean())
        result[f"{kind}/within_20ms"] = float((size <= 20.0).float().mean())
        result[f"{kind}/within_50ms"] = float((size <= 50.0).float().mean())
    return result


def truth_lag_ms(model: Aligner, features: FeatureCache, truth: Sequence[TrueAlignment]) -> float:
    """How late the truth lies against its own sound (`lag`); NaN where that cannot be told."""
    clips = [
        (item.utterance.phones, item.frames_P, features(item.utterance.clip)) for item in truth
    ]
    return hiss_lag_ms(clips, model.config.mel)


def evaluate(
    model: Aligner,
    features: FeatureCache,
    truth: Sequence[TrueAlignment],
    truth_lag_ms: float = 0.0,
) -> dict[str, float]:
    """Summary of the boundary errors of `model` on clips with known times."""
    decoded = decode_utterances(model, [item.utterance for item in truth], features)
    errors = []
    for item in truth:
        frames_P = decoded[item.utterance.clip].frames_P
        errors.append(boundary_errors(item.utterance.phones, frames_P, item.frames_P))
    return summarise(errors, truth_lag_ms)


def format_table(figures: Mapping[str, float]) -> str:
    """The summary as an aligned text table, one row for each kind of boundary."""
    kinds = list(dict.fromkeys(name.split("/")[0] for name in figures))
    columns = ["count", "median_ms", "mean_ms", "bias_median_ms", "bias_mean_ms"]
    columns += ["within_20ms", "within_50ms"]
    lines = [" ".join([f"{'kind':10}", *(f"{column:>14}" for column in columns)])]
    for kind in kinds:
        cells = [f"{figures[f'{kind}/{column}']:14.2f}" for column in columns]
        lines.append(" ".join([f"{kind:10}", *cells]))
    return "\n".join(lines)
