"""Which frames are hidden, and which others the true one is compared with.

wav2vec 2.0, section 3.1 and appendix; the draws follow fairseq: starts without replacement, spans
may overlap, and rows are thinned to the smallest count of the batch, so that the masked frames of a
batch form a rectangle.

Shapes: B batch, F frames, M masked frames of a row, K distractors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from speechkit.core.errors import ConfigError
from speechkit.ssl.config import MaskConfig


def fewest_frames(config: MaskConfig) -> int:
    """Return the shortest row that can be masked and keep a seen frame."""
    return max(config.span_frames + config.min_spans, 2)


def span_mask(rows: int, frames: int, config: MaskConfig, rng: torch.Generator) -> Tensor:
    """Return masked_BF bool: True on hidden frames, equally many in each row.

    Raises ConfigError when a row is too short for the spans.
    """
    if frames < fewest_frames(config):
        raise ConfigError(
            f"{frames} frames are too few for masks of {config.min_spans} spans of "
            f"{config.span_frames} frames: raise data.min_seconds or shorten mask.span_frames."
        )
    masked_BF = torch.zeros(rows, frames, dtype=torch.bool)
    starts = frames - config.span_frames
    offsets = torch.arange(config.span_frames)
    # One count for all rows, as fairseq draws it where nothing is padded.
    chance = float(torch.rand((), generator=rng))
    spans = int(config.share * frames / config.span_frames + chance)
    spans = min(max(spans, config.min_spans), starts)
    for row in range(rows):
        first = torch.randperm(starts, generator=rng)[:spans]
        masked_BF[row, (first[:, None] + offsets).flatten()] = True
    smallest = int(masked_BF.sum(dim=1).min())
    for row in range(rows):
        hidden = masked_BF[row].nonzero().flatten()
        if len(hidden) > smallest:
            drop = hidden[torch.randperm(len(hidden), generator=rng)[smallest:]]
            masked_BF[row, drop] = False
    return masked_BF


def sample_distractors(rows: int, masked: int, count: int, rng: torch.Generator) -> Tensor:
    """Return others_BMK int64: for each masked frame, ranks of other masked frames of its row.

    Drawn uniformly with replacement, never the frame itself (wav2vec 2.0, section 3.2). Raises
    ConfigError for fewer than two masked frames.
    """
    if masked < 2:
        raise ConfigError("wav2vec 2.0 needs at least two masked frames in each utterance.")
    others_BMK = torch.randint(0, masked - 1, (rows, masked, count), generator=rng)
    own_M1 = torch.arange(masked)[:, None]
    return others_BMK + (others_BMK >= own_M1)
