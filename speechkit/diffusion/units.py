"""A generator without text: units of an SSL encoder in place of phones (DiffS4L, step 2).

Units are an alignment that nobody had to write: one for each frame, and a vector says whose voice
it is. There is no prompt and no duration stage. A contiguous span of units can be hidden behind the
mask unit; what is spoken there the generator then makes up.

Shapes: U units of a clip, F code frames, K codebooks, D timbre channels, N clips.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechkit.core.errors import ConfigError, DataError
from speechkit.core.rng import derive, generator
from speechkit.core.timebase import SAMPLE_RATE_HZ
from speechkit.data.codes import CorpusCodes
from speechkit.data.packed import PackedCorpus
from speechkit.data.split import HELD_OUT_SHARE, split_clips
from speechkit.diffusion.config import FRAME_STAGES, SamplerConfig
from speechkit.diffusion.denoiser import NULL_CODE
from speechkit.diffusion.generator import Generator
from speechkit.diffusion.stage import Segment, StageBatch, StageItem, collate

MASK_SYMBOL = "<mask>"
"""First symbol of the vocabulary: a frame whose unit is hidden."""
MASK_UNIT = 0
"""Its id; unit n of the clusters has id n + 1."""
FEWEST_FRAMES = 10
"""Shorter clips (200 ms) are no material: a mask would leave a frame or two of them."""


class FrameUnits(Protocol):
    """Units of a corpus, by clip; `speechkit.ssl.units.Units` is one."""

    @property
    def rate_hz(self) -> int:
        """Units a second."""

    @property
    def clusters(self) -> int:
        """How many units there are."""

    @property
    def kmeans_sha256(self) -> str:
        """Hash of the centroids that they stand for."""

    def lengths(self) -> npt.NDArray[np.int64]:
        """Units of each clip `[N]`; 0 where it has none."""

    def of(self, clip: int) -> Tensor:
        """`units_U` of a clip."""


def unit_symbols(clusters: int) -> tuple[str, ...]:
    """The vocabulary of a generator that speaks from units."""
    return (MASK_SYMBOL, *(f"u{number}" for number in range(clusters)))


def units_at_frames(units_U: Tensor, rate_hz: int, frames: int, hop_samples: int) -> Tensor:
    """`ids_F`: the id of the unit whose window has its centre nearest to that of each code frame.

    An encoder that sees whole 25 ms windows alone ends a frame or two before the codec does: the
    last unit is repeated there.
    """
    unit_hop = SAMPLE_RATE_HZ // rate_hz
    # Windows of 400 samples each `unit_hop`: their centres are 200 samples in.
    centre_F = torch.arange(frames) * hop_samples + hop_samples // 2
    index_F = ((centre_F - 200) / unit_hop).round().long()
    ids_F: Tensor = units_U[index_F.clamp(0, len(units_U) - 1)].long() + 1
    return ids_F


@dataclass(frozen=True, kw_only=True)
class Span:
    """Frames `start` to before `end`, whose units are hidden; none where they are equal."""

    start: int
    end: int


def draw_span(frames: int, share: float, rng: torch.Generator) -> Span:
    """One contiguous span of int(share · F) frames, anywhere; at least one frame stays."""
    length = min(int(share * frames), frames - 1)
    start = int(torch.randint(frames - length + 1, (), generator=rng))
    return Span(start=start, end=start + length)


def unit_segment(ids_F: Tensor, hidden: Span, codes_KF: Tensor) -> Segment:
    """A target of the frame stages. Positions are zero: where in a run of equal units a frame lies
    would tell what is behind the mask.
    """
    ids_F = ids_F.clone()
    ids_F[hidden.start : hidden.end] = MASK_UNIT
    position_F2 = torch.zeros(len(ids_F), 2, device=ids_F.device)
    return Segment(phones_N=ids_F, position_N2=position_F2, codes_KN=codes_KF)


@torch.no_grad()
def draw_codes_from_units(
    model: Generator,
    units: Sequence[tuple[Tensor, Span]],
    timbres: Sequence[Tensor],
    seeds: Sequence[int],
    sampler: SamplerConfig,
) -> list[Tensor]:
    """`codes_KF` of each item, stage by stage, from its `ids_F`, hidden span and voice."""
    device = model.device
    count = model.config.frame.codebooks
    targets = [
        unit_segment(
            ids_F.to(device), span, torch.full((count, len(ids_F)), NULL_CODE, device=device)
        )
        for ids_F, span in units
    ]
    for name in FRAME_STAGES:
        stage = model.stages[name]
        items = [
            StageItem(
                target=target,
                prompt=None,
                rng=generator(derive(seed, name), device),
                timbre_D=timbre_D.to(device) if stage.told_timbre else None,
            )
            for target, timbre_D, seed in zip(targets, timbres, seeds, strict=True)
        ]
        drawn = stage.sample(items, sampler.of(name))
        for target, codes_KN in zip(targets, drawn, strict=True):
            target.codes_KN[stage.codebooks.start : stage.codebooks.stop] = codes_KN
    return [target.codes_KN for target in targets]


class UnitDataset:
    """Draws `StageBatch`es from an encoded corpus and its units; no text, no alignment.

    The voice of an item is read off another clip of its speaker where there is one, as it is when
    speech is made: the vector of the very clip would tell more than the voice.
    """

    def __init__(
        self,
        corpus: PackedCorpus,
        units: FrameUnits,
        codes: CorpusCodes,
        *,
        patch: int,
        hop_samples: int,
        masked_items: float,
        masked_share: float,
        held_out: float = HELD_OUT_SHARE,
        validation: bool = False,
    ) -> None:
        """Choose the clips; raises DataError where none has codes, units and `FEWEST_FRAMES`."""
        self.codes, self.units, self.patch = codes, units, patch
        self._hop_samples = hop_samples
        self.masked_items, self.masked_share = masked_items, masked_share
        frames_N = codes.lengths()
        split_N = split_clips(corpus, validation=validation, held_out=held_out)
        usable_N = (frames_N >= FEWEST_FRAMES) & (units.lengths() > 0)
        clips_N = split_N[usable_N[split_N]]
        if not len(clips_N):
            raise DataError(
                "No clip has both units and codes: run encode --all and ssl units on this corpus "
                f"(clips of less than {FEWEST_FRAMES} frames are left out)."
            )
        self.clips: list[int] = clips_N.tolist()
        self._speaker_N = corpus.speaker_N
        speaker_N = self._speaker_N[clips_N]
        self._of_speaker: dict[int, list[int]] = defaultdict(list)
        for clip, speaker in zip(self.clips, speaker_N.tolist(), strict=True):
            self._of_speaker[speaker].append(clip)
        lengths_N = frames_N[clips_N].astype(np.float64)
        totals_S = np.bincount(speaker_N, weights=lengths_N)
        weight_N = lengths_N / np.sqrt(totals_S[speaker_N]) * corpus.weight_N[clips_N]
        self._cumulative_N = torch.from_numpy(np.cumsum(weight_N / weight_N.sum()))

    def frames(self, frames: int, targets: tuple[int, ...], rng: torch.Generator) -> StageBatch:
        """About `frames` frames, in crops no longer than the one of `targets` that is drawn."""
        longest = targets[int(torch.randint(len(targets), (), generator=rng))]
        items, timbres = [], []
        for _ in range(max(1, round(frames / longest))):
            draw = torch.rand((), generator=rng, dtype=torch.float64)
            place = int(torch.searchsorted(self._cumulative_N, draw))
            clip = self.clips[min(place, len(self.clips) - 1)]
            items.append((None, self._item(clip, longest, rng)))
            timbres.append(self.codes.clip(self._voice(clip, rng)).timbre_D)
        return collate(items, self.patch, timbres)

    def _item(self, clip: int, longest: int, rng: torch.Generator) -> Segment:
        codes_KF = self.codes.clip(clip).codes_KF
        ids_F = units_at_frames(
            self.units.of(clip), self.units.rate_hz, codes_KF.shape[1], self._hop_samples
        )
        start = int(torch.randint(max(1, len(ids_F) - longest + 1), (), generator=rng))
        ids_F, codes_KF = ids_F[start : start + longest], codes_KF[:, start : start + longest]
        share = float(torch.rand((), generator=rng)) < self.masked_items
        span = draw_span(len(ids_F), self.masked_share if share else 0.0, rng)
        return unit_segment(ids_F, span, codes_KF)

    def _voice(self, clip: int, rng: torch.Generator) -> int:
        others = [n for n in self._of_speaker[int(self._speaker_N[clip])] if n != clip] or [clip]
        return others[int(torch.randint(len(others), (), generator=rng))]


def check_unit_generator(model: Generator, units: FrameUnits, timbre_channels: int) -> None:
    """Raise ConfigError unless the generator speaks from these units in voices of this width."""
    if model.config.phone_symbols != unit_symbols(units.clusters):
        raise ConfigError(
            f"The generator does not speak from {units.clusters} units: give one that `train "
            "unit-generator` made from these units."
        )
    if model.config.frame.timbre_channels != timbre_channels:
        raise ConfigError(
            f"The generator wants voices of {model.config.frame.timbre_channels} numbers, the "
            f"codec gives {timbre_channels}: give the codec that it was trained with."
        )
