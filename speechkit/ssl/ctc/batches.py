"""Padded batches of labelled clips, each a pure function of its number, with their masks.

Masks in fine-tuning (Baevski et al. 2020, section 4.3 and appendix B): spans of frames become the
mask vector of pre-training, and bands of channels become zero over the whole clip.

Shapes: B batch, T samples, F frames, D channels, L letters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.core.config import require_range
from speechkit.core.rng import derive, generator
from speechkit.ssl.ctc.characters import BLANK
from speechkit.ssl.ctc.clips import LabelledClips

PAPER_WIDTH = 768
"""Channels that the paper's band widths are given for."""
_LENGTH_NOISE = 0.1


@dataclass(frozen=True, kw_only=True)
class FinetuneMaskConfig:
    """What training hides of each clip."""

    time_share: float = 0.65
    """Spans times their length as a share of the frames; 0 for none."""
    time_frames: int = 10
    """Length of each span."""
    channel_share: float = 0.25
    """Bands times their width as a share of the channels: 0.5 from 10 h of labels on, 0.25 below
    (fairseq's recipes); 0 for none."""
    channel_width: int = 64
    """Width of a band among 768 channels; other widths of the encoder scale it."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        require_range(
            self,
            time_share=(0, 1),
            time_frames=(1, 1000),
            channel_share=(0, 1),
            channel_width=(1, 768),
        )


@dataclass(kw_only=True, eq=False)
class CtcBatch:
    """Clips with their letters and every draw that their loss needs."""

    wave_BT: Tensor
    """16 kHz, zeros behind the end of a clip."""
    lengths_B: list[int]
    """Valid samples of each row."""
    labels_BL: Tensor
    """Classes of the letters, int64, padded with the blank."""
    label_lengths_B: list[int]
    """Letters of each row."""
    masked_BF: Tensor | None = None
    """True on hidden frames; None in validation."""
    channels_BD: Tensor | None = None
    """True on hidden channels."""


def collate(clips: LabelledClips, chosen: Sequence[int]) -> CtcBatch:
    """Return clips, by their places in the selection, as one padded batch without masks."""
    waves = [clips.wave(place) for place in chosen]
    labels = [torch.tensor(clips.items[place].labels) for place in chosen]
    pad = torch.nn.utils.rnn.pad_sequence
    return CtcBatch(
        wave_BT=pad(waves, batch_first=True),
        lengths_B=[len(wave_T) for wave_T in waves],
        labels_BL=pad(labels, batch_first=True, padding_value=BLANK),
        label_lengths_B=[len(label_L) for label_L in labels],
    )


def cut(samples: Sequence[int], order: Sequence[int], batch_samples: int) -> list[list[int]]:
    """Return runs of ``order`` that, padded to their longest, stay within ``batch_samples``.

    A clip longer than that makes a batch of its own.
    """
    batches: list[list[int]] = []
    longest = 0
    for place in order:
        longest = max(longest, samples[place])
        if not batches or longest * (len(batches[-1]) + 1) > batch_samples:
            batches.append([])
            longest = samples[place]
        batches[-1].append(place)
    return batches


class NumberedBatches:
    """Training batches by number: every clip once an epoch, neighbours in length together.

    Clips of a corpus of more weight come more often.
    """

    def __init__(
        self,
        clips: LabelledClips,
        batch_samples: int,
        mask: FinetuneMaskConfig,
        shape: MaskShape,
        seed: int,
    ) -> None:
        """``shape`` says how many frames and channels the encoder makes of a clip."""
        self._clips = clips
        self._samples = [item.samples for item in clips.items]
        self._batch_samples = batch_samples
        self._mask, self._shape, self._seed = mask, shape, seed
        self._epoch: tuple[int, list[list[int]]] = (-1, [])
        self._count = len(self._batches(0))

    def __call__(self, number: int) -> CtcBatch:
        """Return the batch of that number, the same on every call."""
        chosen = self.chosen(number)
        batch = collate(self._clips, chosen)
        rng = generator(derive(self._seed, "ctc mask", number))
        frames_B = [self._shape.frames(samples) for samples in batch.lengths_B]
        batch.masked_BF = time_masks(frames_B, self._mask, rng)
        batch.channels_BD = channel_masks(len(chosen), self._shape.channels, self._mask, rng)
        return batch

    def chosen(self, number: int) -> list[int]:
        """Return which clips, by their places in the selection, make up a batch.

        All epochs have as many batches as the first; one that is cut into a few more or fewer
        leaves the last out, or takes the first again.
        """
        epoch, place = divmod(number, self._count)
        batches = self._batches(epoch)
        return batches[place % len(batches)]

    def _batches(self, epoch: int) -> list[list[int]]:
        if self._epoch[0] != epoch:
            rng = generator(derive(self._seed, "ctc epoch", epoch))
            places_N = self._clips.often(rng)
            noise_N = 1 + _LENGTH_NOISE * torch.rand(len(places_N), generator=rng)
            lengths_N = noise_N * torch.tensor(self._samples)[places_N]
            order = places_N[lengths_N.argsort(descending=True)].tolist()
            batches = cut(self._samples, order, self._batch_samples)
            turns = torch.randperm(len(batches), generator=rng).tolist()
            self._epoch = (epoch, [batches[turn] for turn in turns])
        return self._epoch[1]


@dataclass(frozen=True, kw_only=True)
class MaskShape:
    """What masks need to know of an encoder."""

    frames: Callable[[int], int]
    """Frames of a wave of so many samples."""
    channels: int
    """Width of the Transformer."""


def time_masks(
    frames_B: Sequence[int], config: FinetuneMaskConfig, rng: torch.Generator
) -> Tensor | None:
    """Return masked_BF: True on hidden frames; rows shorter than a span stay whole."""
    if config.time_share == 0:
        return None
    rows = [_spans(frames, config.time_share, config.time_frames, 2, rng) for frames in frames_B]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def channel_masks(
    rows: int, channels: int, config: FinetuneMaskConfig, rng: torch.Generator
) -> Tensor | None:
    """Return channels_BD: True on hidden channels."""
    if config.channel_share == 0:
        return None
    width = max(1, round(config.channel_width * channels / PAPER_WIDTH))
    masks = [_spans(channels, config.channel_share, width, 0, rng) for _ in range(rows)]
    return torch.stack(masks)


def _spans(length: int, share: float, span: int, fewest: int, rng: torch.Generator) -> Tensor:
    """Return a mask of spans that may overlap, their starts drawn without replacement.

    As many as fairseq draws: share times length over span, rounded up or down at random.
    """
    masked = torch.zeros(length, dtype=torch.bool)
    count = max(int(share * length / span + float(torch.rand((), generator=rng))), fewest)
    starts = length - span
    if starts < 1:
        return masked
    first = torch.randperm(starts, generator=rng)[:count]
    masked[(first[:, None] + torch.arange(span)).flatten()] = True
    return masked
