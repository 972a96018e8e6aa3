"""Linear probes: what can be read off each part of a codec about phone, pitch and speaker.

Frame probes (phone in frames of speech, pitch contour, voicing, energy) are trained on some
held-out speakers and tested on others, every speaker once. The speaker probe reads the mean and
deviation of a clip and is trained on half of each speaker's clips. Beside the parts stand what the
same probe reads off the log-mel (with two frames either side, for the codes too have seen their
neighbours), off the true phones, and off pitch, voicing and energy: what content and prosody tell
at the least, since this is what they are there to carry.

Legend: N frames or clips of a set, F frames of a clip, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.evaluate.codec.labels import SILENT_CLASS, FrameLabels, with_context
from speechkit.evaluate.codec.linear import fit_logistic, fit_ridge

TARGETS = ("phone", "pitch", "voicing", "energy", "speaker")
"""What probes are asked for; pitch is the contour around the clip's median."""
LOG_MEL = "log-mel"
TRUE_PHONES = "(phones)"
TRUE_PROSODY = "(prosody)"
REFERENCES = (LOG_MEL, TRUE_PHONES, TRUE_PROSODY)
"""What stands beside the parts: the ceiling, and the two truths."""

_FOLDS = 5
_MOST_FRAMES = 16_000
_SPEAKER_PENALTY = 1e-2


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbeClip:
    """A clip as probes see it."""

    id: str
    """The clip."""
    speaker: str
    """Who speaks."""
    sources: Mapping[str, Tensor]
    """What is read, by name: `x_FD`, or `x_D` where it holds for the whole clip."""
    labels: FrameLabels
    """What is asked."""


@dataclass(frozen=True, kw_only=True)
class Probes:
    """What the probes found."""

    figures: dict[str, dict[str, float]]
    """By source and target: share right (phone, voicing, speaker) or R² (pitch, energy)."""
    chance: dict[str, float]
    """By target: the same without reading anything."""
    details: dict[str, dict[str, float]] = field(default_factory=dict)
    """By source: correlation and error in cents of the pitch contour."""
    frames: int = 0
    """Frames probed."""
    speakers: int = 0
    """Speakers among them."""
    classes: int = 0
    """Phone classes."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dict(vars(self))


def reference_sources(labels: FrameLabels, classes: int) -> dict[str, Tensor]:
    """The REFERENCES of a clip."""
    known_F = labels.phone_F.clamp_min(0)
    contour_F = torch.nan_to_num(labels.contour_F)
    return {
        LOG_MEL: with_context(labels.mel_FM),
        TRUE_PHONES: torch.nn.functional.one_hot(known_F, classes).float(),
        TRUE_PROSODY: torch.stack([contour_F, labels.voiced_F.float(), labels.energy_F], 1),
    }


def run_probes(
    clips: Sequence[ProbeClip], classes: int, progress: Callable[[str], None] = lambda _: None
) -> Probes:
    """Train and test all probes; `classes` is the number of phone classes.

    Raises DataError unless there are two speakers, and a phone that was found in both.
    """
    speakers = sorted({clip.speaker for clip in clips})
    if len(speakers) < 2:
        raise DataError("probes want clips of two speakers, to be tested on another voice.")
    names = list(clips[0].sources)
    chance: dict[str, float] = {}
    figures: dict[str, dict[str, float]] = {name: {} for name in names}
    details: dict[str, dict[str, float]] = {}
    frames = _Frames(clips, speakers)
    for name in names:
        progress(f"probe {name}")
        x_ND = frames.features(name)
        for target in ("phone", "voicing"):
            figures[name][target], chance[target] = frames.classify(x_ND, target, classes)
        for target in ("pitch", "energy"):
            read = frames.regress(x_ND, target)
            figures[name][target], chance[target] = read["r2"], 0.0
            if target == "pitch":
                details[name] = {"correlation": read["correlation"], "cents": 1200 * read["rms"]}
        figures[name]["speaker"] = _speaker_accuracy(clips, speakers, name)
    chance["speaker"] = 1 / len(speakers)
    return Probes(
        figures=figures,
        chance=chance,
        details=details,
        frames=len(frames.group_N),
        speakers=len(speakers),
        classes=classes,
    )


class _Frames:
    """Frames of all clips, thinned evenly, and the speaker of each."""

    def __init__(self, clips: Sequence[ProbeClip], speakers: Sequence[str]) -> None:
        self._clips = clips
        lengths = [len(clip.labels.phone_F) for clip in clips]
        self._step = max(1, -(-sum(lengths) // _MOST_FRAMES))
        labels = [clip.labels for clip in clips]
        self._targets = {
            # Every part knows silence; which phone a frame of speech holds is the question.
            "phone": torch.cat([self._thin(one.phone_F) for one in labels]),
            "voicing": torch.cat([self._thin(one.voiced_F) for one in labels]),
            "pitch": torch.cat([self._thin(one.contour_F) for one in labels]),
            "energy": torch.cat([self._thin(one.energy_F) for one in labels]),
        }
        self.group_N = torch.cat(
            [
                torch.full((len(self._thin(clip.labels.phone_F)),), speakers.index(clip.speaker))
                for clip in clips
            ]
        )
        self._folds = min(_FOLDS, len(speakers))

    def _thin(self, value_F: Tensor) -> Tensor:
        return value_F[:: self._step]

    def features(self, name: str) -> Tensor:
        """`x_ND` of a source."""
        rows = []
        for clip in self._clips:
            x = clip.sources[name].float()
            frames = len(clip.labels.phone_F)
            rows.append(self._thin(x.expand(frames, -1) if x.ndim == 1 else x[:frames]))
        return torch.cat(rows)

    def classify(self, x_ND: Tensor, target: str, classes: int) -> tuple[float, float]:
        """Share right over all speakers, and share right of the commonest class in training."""
        label_N = self._targets[target]
        right = by_chance = total = 0
        for train_N, test_N in self._splits(
            label_N > SILENT_CLASS if target == "phone" else label_N >= 0
        ):
            probe = fit_logistic(x_ND[train_N], label_N[train_N], classes)
            wanted_N = label_N[test_N]
            commonest = torch.bincount(label_N[train_N], minlength=classes).argmax()
            right += int((probe(x_ND[test_N]).argmax(-1) == wanted_N).sum())
            by_chance += int((wanted_N == commonest).sum())
            total += len(wanted_N)
        return right / max(1, total), by_chance / max(1, total)

    def regress(self, x_ND: Tensor, target: str) -> dict[str, float]:
        """`r2` over the training mean, `correlation` and `rms` error over all speakers."""
        value_N = self._targets[target]
        guesses, truths, means = [], [], []
        for train_N, test_N in self._splits(~value_N.isnan()):
            probe = fit_ridge(x_ND[train_N], value_N[train_N], self.group_N[train_N])
            guesses.append(probe(x_ND[test_N])[:, 0])
            truths.append(value_N[test_N])
            means.append(value_N[train_N].mean().expand(len(value_N[test_N])))
        guess_N, truth_N, mean_N = torch.cat(guesses), torch.cat(truths), torch.cat(means)
        error = float((guess_N - truth_N).square().mean())
        spread = float((mean_N - truth_N).square().mean())
        flat = float(guess_N.std()) < 1e-9 or float(truth_N.std()) < 1e-9
        correlation = 0.0 if flat else float(torch.corrcoef(torch.stack([guess_N, truth_N]))[0, 1])
        return {"r2": 1 - error / max(spread, 1e-12), "correlation": correlation, "rms": error**0.5}

    def _splits(self, usable_N: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Training and test frames (True) of each fold that has both."""
        splits = []
        for fold in range(self._folds):
            test_N = usable_N & (self.group_N % self._folds == fold)
            train_N = usable_N & ~(self.group_N % self._folds == fold)
            if bool(test_N.any()) and bool(train_N.any()):
                splits.append((train_N, test_N))
        return splits


def _speaker_accuracy(clips: Sequence[ProbeClip], speakers: Sequence[str], name: str) -> float:
    """Share of clips whose speaker is named right, each half of a speaker's clips tested once."""
    turns: dict[str, int] = {}
    halves = []
    for clip in sorted(clips, key=lambda one: one.id):
        turn = turns.get(clip.speaker, 0)
        turns[clip.speaker] = turn + 1
        halves.append((turn % 2, speakers.index(clip.speaker), pooled(clip.sources[name])))
    half_N = torch.tensor([half for half, _, _ in halves])
    label_N = torch.tensor([speaker for _, speaker, _ in halves])
    x_ND = torch.stack([x_D for _, _, x_D in halves])
    right = 0
    for half in (0, 1):
        test_N = half_N == half
        if not bool(test_N.any()) or bool(test_N.all()):
            continue
        probe = fit_logistic(x_ND[~test_N], label_N[~test_N], len(speakers), _SPEAKER_PENALTY)
        right += int((probe(x_ND[test_N]).argmax(-1) == label_N[test_N]).sum())
    return right / len(clips)


def pooled(x: Tensor) -> Tensor:
    """`x_D` of a clip: mean and deviation over its frames, or the vector that it has."""
    if x.ndim == 1:
        return x.float()
    return torch.cat([x.float().mean(0), x.float().std(0, unbiased=False)])
