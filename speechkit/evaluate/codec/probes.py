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

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.data.align.reader import SILENT_CLASS
from speechkit.evaluate.codec.labels import FrameLabels, with_context
from speechkit.evaluate.probes import fit_classifier, fit_regressor, predict

TARGETS = ("phone", "pitch", "voicing", "energy", "speaker")
"""What probes are asked for; pitch is the contour around the clip's median."""
LOG_MEL = "log-mel"
TRUE_PHONES = "(phones)"
TRUE_PROSODY = "(prosody)"
CHANCE = "chance"

_FOLDS = 5
_MOST_FRAMES = 16_000
_SPEAKER_PENALTY = 1e-2

Split = tuple[NDArray[np.bool_], NDArray[np.bool_]]


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
class ProbeReport:
    """What the probes found."""

    figures: dict[str, dict[str, float]]
    """By source (`chance` is the last) and target: share right (phone, voicing, speaker) or R²
    (pitch, energy)."""
    details: dict[str, dict[str, float]] = field(default_factory=dict)
    """By source: correlation and error in cents of the pitch contour."""
    frames: int = 0
    """Frames probed."""
    speakers: int = 0
    """Speakers among them."""
    classes: int = 0
    """Phone classes."""

    def text(self) -> str:
        """The matrix."""
        width = max(map(len, self.figures))
        lines = [" ".join(["part".ljust(width), *(target.rjust(8) for target in TARGETS)])]
        for name, row in self.figures.items():
            lines.append(" ".join([name.ljust(width), *(f"{row[t]:8.3f}" for t in TARGETS)]))
        lines.append(
            "phone (in speech), voicing, speaker: share right; pitch (contour), energy: R². "
            f"{self.frames} frames, {self.speakers} speakers, {self.classes - 1} phones. "
            "In brackets: read off the true phones, off pitch, voicing and energy themselves."
        )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def reference_sources(labels: FrameLabels, classes: int) -> dict[str, Tensor]:
    """What stands beside the parts of a clip: the log-mel as the ceiling, and the two truths."""
    known_F = labels.phone_F.clamp_min(0)
    contour_F = torch.nan_to_num(labels.contour_F)
    return {
        LOG_MEL: with_context(labels.mel_FM),
        TRUE_PHONES: torch.nn.functional.one_hot(known_F, classes).float(),
        TRUE_PROSODY: torch.stack([contour_F, labels.voiced_F.float(), labels.energy_F], 1),
    }


def run_probes(
    clips: Sequence[ProbeClip], classes: int, progress: Callable[[str], None] = lambda _: None
) -> ProbeReport:
    """Train and test all probes; `classes` is the number of phone classes.

    Raises DataError unless there are two speakers.
    """
    speakers = sorted({clip.speaker for clip in clips})
    if len(speakers) < 2:
        raise DataError("probes want clips of two speakers, to be tested on another voice.")
    chance: dict[str, float] = {"speaker": 1 / len(speakers)}
    figures: dict[str, dict[str, float]] = {}
    details: dict[str, dict[str, float]] = {}
    frames = _Frames(clips, speakers)
    for name in clips[0].sources:
        progress(f"probe {name}")
        x_ND = frames.features(name)
        row = figures[name] = {"speaker": _speaker_accuracy(clips, name)}
        for target in ("phone", "voicing"):
            row[target], chance[target] = frames.classify(x_ND, target)
        for target in ("pitch", "energy"):
            read = frames.regress(x_ND, target)
            row[target], chance[target] = read["r2"], 0.0
            if target == "pitch":
                details[name] = {"correlation": read["correlation"], "cents": 1200 * read["rms"]}
    return ProbeReport(
        figures=figures | {CHANCE: chance},
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
        step = self._step = max(1, -(-sum(lengths) // _MOST_FRAMES))
        self._targets = {
            target: np.concatenate([getattr(c.labels, f"{name}_F")[::step].numpy() for c in clips])
            for target, name in (
                ("phone", "phone"),
                ("voicing", "voiced"),
                ("pitch", "contour"),
                ("energy", "energy"),
            )
        }
        self.group_N = np.concatenate(
            [
                np.full(len(range(0, frames, step)), speakers.index(clip.speaker))
                for clip, frames in zip(clips, lengths, strict=True)
            ]
        )
        self._folds = min(_FOLDS, len(speakers))

    def features(self, name: str) -> NDArray[np.float32]:
        """`x_ND` of a source."""
        rows = []
        for clip in self._clips:
            x, frames = clip.sources[name].float(), len(clip.labels.phone_F)
            rows.append((x.expand(frames, -1) if x.ndim == 1 else x[:frames])[:: self._step])
        features_ND: NDArray[np.float32] = torch.cat(rows).numpy()
        return features_ND

    def classify(self, x_ND: NDArray[np.float32], target: str) -> tuple[float, float]:
        """Share right over all speakers, and share right of the commonest class in training."""
        label_N = self._targets[target]
        # Every part knows silence; which phone a frame of speech holds is the question.
        usable_N = label_N > SILENT_CLASS if target == "phone" else label_N >= 0
        right = by_chance = total = 0
        for train_N, test_N in self._splits(usable_N):
            wanted_N = label_N[test_N]
            said_N = predict(fit_classifier(x_ND[train_N], label_N[train_N]), x_ND[test_N])
            right += int((said_N == wanted_N).sum())
            by_chance += int((wanted_N == np.bincount(label_N[train_N]).argmax()).sum())
            total += len(wanted_N)
        return right / max(1, total), by_chance / max(1, total)

    def regress(self, x_ND: NDArray[np.float32], target: str) -> dict[str, float]:
        """`r2` over the training mean, `correlation` and `rms` error over all speakers."""
        value_N = self._targets[target]
        predictions, truths, means = [], [], []
        for train_N, test_N in self._splits(~np.isnan(value_N)):
            probe = fit_regressor(x_ND[train_N], value_N[train_N], self.group_N[train_N])
            predictions.append(predict(probe, x_ND[test_N]))
            truths.append(value_N[test_N])
            means.append(np.full(int(test_N.sum()), value_N[train_N].mean()))
        predicted_N, truth_N, mean_N = (
            np.concatenate(all_N) for all_N in (predictions, truths, means)
        )
        error, spread = (float(np.square(x - truth_N).mean()) for x in (predicted_N, mean_N))
        flat = float(predicted_N.std()) < 1e-9 or float(truth_N.std()) < 1e-9
        correlation = 0.0 if flat else float(np.corrcoef(predicted_N, truth_N)[0, 1])
        return {"r2": 1 - error / max(spread, 1e-12), "correlation": correlation, "rms": error**0.5}

    def _splits(self, usable_N: NDArray[np.bool_]) -> list[Split]:
        """Training and test frames (True) of each fold that has both."""
        splits = []
        for fold in range(self._folds):
            own_N = self.group_N % self._folds == fold
            train_N, test_N = usable_N & ~own_N, usable_N & own_N
            if train_N.any() and test_N.any():
                splits.append((train_N, test_N))
        return splits


def _speaker_accuracy(clips: Sequence[ProbeClip], name: str) -> float:
    """Share of clips whose speaker is named right, each half of a speaker's clips tested once."""
    ordered = sorted(clips, key=lambda one: one.id)
    turns: Counter[str] = Counter()
    halves = []
    for clip in ordered:
        halves.append(turns[clip.speaker] % 2)
        turns[clip.speaker] += 1
    half_N = np.array(halves)
    label_N = np.array([clip.speaker for clip in ordered])
    x_ND = torch.stack([pooled(clip.sources[name]) for clip in ordered]).numpy()
    right = 0
    for half in (0, 1):
        test_N = half_N == half
        if test_N.any() and not test_N.all():
            probe = fit_classifier(x_ND[~test_N], label_N[~test_N], _SPEAKER_PENALTY)
            right += int((predict(probe, x_ND[test_N]) == label_N[test_N]).sum())
    return right / len(ordered)


def pooled(x: Tensor) -> Tensor:
    """`x_D` of a clip: mean and deviation over its frames, or the vector that it has."""
    if x.ndim == 1:
        return x.float()
    return torch.cat([x.float().mean(0), x.float().std(0, unbiased=False)])
