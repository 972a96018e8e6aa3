"""Batches for pre-training: crops of equal length, numbered, each drawn from its number alone.

wav2vec 2.0, section 4.2: utterances are cropped, a batch to its shortest crop, nothing is padded.
Clips longer than the limit give a random crop; none is dropped in silence.

Shapes: B batch, T samples, F frames, N clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechkit.core.config import require_range
from speechkit.core.errors import ConfigError, DataError
from speechkit.core.rng import derive, generator, integer
from speechkit.data.packed import PackedCorpus
from speechkit.data.split import split_clips
from speechkit.ssl.baselines import AugmentConfig, augment
from speechkit.ssl.batch import PretrainBatch
from speechkit.ssl.config import SAMPLE_RATE_HZ, HubertConfig, ModelConfig, Wav2Vec2Config
from speechkit.ssl.hubert import align_labels
from speechkit.ssl.masking import fewest_frames, sample_distractors, span_mask
from speechkit.ssl.selection import Selection
from speechkit.ssl.units.file import Units

POOL_BATCHES = 32
"""Clips are sorted by length within pools of about so many batches, so that crops waste little."""


@dataclass(frozen=True, kw_only=True)
class CropConfig:
    """Which clips, and how they make batches."""

    selection: Selection = field(default_factory=Selection)
    """Clips to train on."""
    min_seconds: float = 2.0
    """Shorter clips are left out, counted and reported."""
    max_seconds: float = 15.6
    """Longer clips give a random crop of this length."""
    batch_seconds: float = 87.5
    """Sound in a batch of one process (fairseq: 1.4 million samples)."""
    held_out_clips: int = 32
    """Clips of held-out speakers (`data.split`) that training is validated on, at most; with 0
    nobody is held out."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Distortion of the input, a baseline to compare synthesised data with."""

    def __post_init__(self) -> None:
        require_range(
            self,
            min_seconds=(0.02, 3600),
            max_seconds=(0.02, 3600),
            batch_seconds=(0.02, 1e6),
            held_out_clips=(0, 10**6),
        )
        if not self.min_seconds <= self.max_seconds <= self.batch_seconds:
            raise ConfigError(
                "data.min_seconds must not exceed data.max_seconds, nor that data.batch_seconds."
            )


class CropDataset:
    """The clips of a corpus as numbered batches."""

    def __init__(
        self,
        corpus: PackedCorpus,
        config: CropConfig,
        model: ModelConfig,
        seed: int,
        units: Units | None = None,
    ) -> None:
        """Choose and check the clips.

        Raises DataError when none is left, or fewer than a batch needs, and ConfigError when units
        do not fit the model.
        """
        self.corpus, self.config, self._model, self._seed = corpus, config, model, seed
        self._units = check_units(model, units)
        self._min = round(config.min_seconds * SAMPLE_RATE_HZ)
        self._max = round(config.max_seconds * SAMPLE_RATE_HZ)
        self._budget = round(config.batch_seconds * SAMPLE_RATE_HZ)
        needed = fewest_frames(model.mask)
        if model.encoder.frames(self._min) < needed:
            raise ConfigError(
                f"data.min_seconds {config.min_seconds} gives fewer than the {needed} frames that "
                "masking needs: raise it."
            )
        chosen_N = np.array(config.selection.of(corpus))
        long_N = chosen_N[corpus.samples_N[chosen_N] >= self._min]
        self.too_short = len(chosen_N) - len(long_N)
        """Clips below the limit."""
        usable_N = long_N if units is None else long_N[units.lengths()[long_N] > 0]
        self.without_units = len(long_N) - len(usable_N)
        """Clips that have no units."""
        self.cropped = int((corpus.samples_N[usable_N] > self._max).sum())
        """Clips above the limit, which give crops."""
        others_N = self._of_held_out_speakers(usable_N)
        order_N = torch.randperm(len(others_N), generator=generator(derive(seed, "split"))).numpy()
        self.held_out: list[int] = np.sort(others_N[order_N[: config.held_out_clips]]).tolist()
        """Clips of validation."""
        self._clips_N = np.setdiff1d(usable_N, others_N)
        self.clips: list[int] = self._clips_N.tolist()
        """Clips of training."""
        self.hours = float(corpus.samples_N[self._clips_N].sum()) / SAMPLE_RATE_HZ / 3600
        """Length of the training clips."""
        self._length_N = np.minimum(corpus.samples_N, self._max)
        if not self.clips:
            raise DataError(f"No clip is left to train on: {self.describe()}.")
        if isinstance(model, Wav2Vec2Config) and len(self.clips) < 2:
            raise DataError("wav2vec 2.0 needs at least two clips.")
        self._planned: tuple[int, list[list[int]]] = (-1, [])
        self._batches = len(self._plan(0))

    def _of_held_out_speakers(self, usable_N: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the usable clips of speakers whom no training on this corpus hears."""
        if self.config.held_out_clips == 0 or len(usable_N) < 2:
            return usable_N[:0]
        others_N = np.intersect1d(usable_N, split_clips(self.corpus, validation=True))
        return others_N if len(others_N) < len(usable_N) else usable_N[:0]

    def describe(self) -> str:
        """Return in words what is trained on and what is not."""
        return (
            f"{len(self.clips)} clips, {self.hours:.2f} h; {len(self.held_out)} held out; "
            f"{self.too_short} shorter than {self.config.min_seconds:g} s left out; "
            f"{self.cropped} longer than {self.config.max_seconds:g} s cropped; "
            f"{self.without_units} without units left out"
        )

    def draw(self, number: int) -> PretrainBatch:
        """Return the training batch of that number, from 0.

        All epochs have as many batches as the first; one that groups into a few more or fewer
        leaves the last out, or takes the first again, so that no earlier one need be known.
        """
        epoch, place = divmod(number, self._batches)
        plan = self._plan(epoch)
        rng = generator(derive(self._seed, "batch", epoch, place))
        return augment(self._batch(plan[place % len(plan)], rng), self.config.augment, rng)

    def validation(self) -> list[PretrainBatch]:
        """Return the batches of the held-out clips, without distortion; the same on every call."""
        return [
            self._batch(clips, generator(derive(self._seed, "held out", index)))
            for index, clips in enumerate(self._group(self.held_out))
        ]

    def alone(self, clip: int, draw: int) -> PretrainBatch:
        """Return one clip as a batch; crop and mask depend on its name and `draw` alone."""
        name = self.corpus.clips[clip]["id"]
        return self._batch([clip], generator(derive(0, "alone", name, draw)))

    def _plan(self, epoch: int) -> list[list[int]]:
        """Return the clips of each batch of an epoch."""
        if self._planned[0] != epoch:
            rng = generator(derive(self._seed, "epoch", epoch))
            clips_N = self._repeated(rng)
            shuffled_N = clips_N[torch.randperm(len(clips_N), generator=rng).numpy()]
            pool = max(round(POOL_BATCHES * self._budget / self._length_N[clips_N].mean()), 1)
            batches: list[list[int]] = []
            for start in range(0, len(shuffled_N), pool):
                batches += self._group(shuffled_N[start : start + pool])
            order = torch.randperm(len(batches), generator=rng).tolist()
            self._planned = (epoch, [batches[i] for i in order])
        return self._planned[1]

    def _repeated(self, rng: torch.Generator) -> npt.NDArray[np.int64]:
        """The clips of an epoch: each as often as its weight says, the least weight being once."""
        weight_N = self.corpus.weight_N[self._clips_N]
        if (weight_N == weight_N[0]).all():
            return self._clips_N
        often_N = weight_N / weight_N.min()
        drawn_N = torch.rand(len(often_N), generator=rng, dtype=torch.float64).numpy()
        return np.repeat(self._clips_N, np.floor(often_N + drawn_N).astype(np.int64))

    def _group(self, clips: Sequence[int] | npt.NDArray[np.int64]) -> list[list[int]]:
        """Return clips of like length together, as many as a batch holds."""
        clips_N = np.asarray(clips, dtype=np.int64)
        order_N = np.argsort(-self._length_N[clips_N], kind="stable")
        groups: list[list[int]] = []
        ordered: list[int] = clips_N[order_N].tolist()
        lengths: list[int] = self._length_N[clips_N[order_N]].tolist()
        for clip, length in zip(ordered, lengths, strict=True):
            if groups and (len(groups[-1]) + 1) * length <= self._budget:
                groups[-1].append(clip)
            else:
                groups.append([clip])
        return groups

    def _batch(self, clips: Sequence[int], rng: torch.Generator) -> PretrainBatch:
        """Crop the clips to the shortest and draw masks and distractors."""
        encoder, mask = self._model.encoder, self._model.mask
        samples = int(self._length_N[clips].min())
        frames = encoder.frames(samples)
        starts = [self._start(clip, samples, rng) for clip in clips]
        wave_BT = torch.stack(
            [
                self.corpus.wave(clip, start, start + samples)
                for clip, start in zip(clips, starts, strict=True)
            ]
        )
        masked_BF = span_mask(len(clips), frames, mask, rng)
        others_BMK = None
        if isinstance(self._model, Wav2Vec2Config):
            masked = int(masked_BF[0].sum())
            others_BMK = sample_distractors(len(clips), masked, self._model.distractors, rng)
        labels_BF = self._labels(clips, starts, frames)
        return PretrainBatch(
            wave_BT=wave_BT, masked_BF=masked_BF, others_BMK=others_BMK, labels_BF=labels_BF
        )

    def _start(self, clip: int, samples: int, rng: torch.Generator) -> int:
        """Draw where a crop starts: on a frame, so that units keep their place."""
        hop = self._model.encoder.hop_samples
        room = (self.corpus.samples(clip) - samples) // hop
        return hop * integer(room + 1, rng)

    def _labels(self, clips: Sequence[int], starts: Sequence[int], frames: int) -> Tensor | None:
        """Return the units of each frame, for HuBERT."""
        if self._units is None:
            return None
        hop = self._model.encoder.hop_samples
        per_frame = self._units.rate_hz * hop / SAMPLE_RATE_HZ
        return torch.stack(
            [
                align_labels(self._units.of(clip), start // hop, frames, per_frame)
                for clip, start in zip(clips, starts, strict=True)
            ]
        )


def check_units(model: ModelConfig, units: Units | None) -> Units | None:
    """Return the units a model needs, or raise ConfigError where they do not fit."""
    if not isinstance(model, HubertConfig):
        if units is not None:
            name = "wav2vec 2.0" if isinstance(model, Wav2Vec2Config) else "BEST-RQ"
            raise ConfigError(f"{name} learns without units: leave --units out.")
        return None
    if units is None:
        raise ConfigError("HuBERT needs --units: make them with `speechkit ssl units`.")
    if (units.clusters, units.rate_hz) != (model.clusters, model.label_rate_hz):
        raise ConfigError(
            f"The units have {units.clusters} clusters at {units.rate_hz} Hz, the config says "
            f"{model.clusters} at {model.label_rate_hz} Hz: set hubert.clusters and "
            "hubert.label_rate_hz."
        )
    return units
