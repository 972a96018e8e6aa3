"""Steps that the codec's training tasks share.

Shapes: B batch, T samples, G mel frames, M mel bands.
"""

from __future__ import annotations

from torch import Tensor

from speechkit.facodec.small.codec import Analysis, FACodec
from speechkit.facodec.training.segments import SegmentBatch


def analysis_of(codec: FACodec, batch: SegmentBatch, mel_BMG: Tensor | None = None) -> Analysis:
    """The `Analysis` of a batch's crops, or of another log-mel with the batch's pitch."""
    return Analysis(
        mel_BMG=codec.mel(batch.wave_BT) if mel_BMG is None else mel_BMG,
        contour_BG=batch.contour_BG,
        voiced_BG=batch.voiced_BG,
        median_B=batch.median_B,
    )
