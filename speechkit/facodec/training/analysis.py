"""Steps that the codec's training tasks share.

Shapes: B batch, T samples, G mel frames, M mel bands.
"""

from __future__ import annotations

from torch import Tensor

from speechkit.facodec.small.codec import Analysis, FACodec
from speechkit.facodec.training.segments import SegmentBatch


def analysis_of(codec: FACodec, batch: SegmentBatch) -> Analysis:
    """The `Analysis` of a batch's crops."""
    return Analysis(
        mel_BMG=codec.mel(batch.wave_BT),
        contour_BG=batch.contour_BG,
        voiced_BG=batch.voiced_BG,
        median_B=batch.median_B,
    )


def references_of(codec: FACodec, batch: SegmentBatch) -> Analysis:
    """The `Analysis` of a batch's references, with the median pitch of the crops' recordings."""
    return Analysis(
        mel_BMG=codec.mel(batch.reference_BT),
        contour_BG=batch.reference_contour_BG,
        voiced_BG=batch.reference_voiced_BG,
        median_B=batch.median_B,
    )


def voice_of(codec: FACodec, references: Analysis) -> Tensor:
    """What `encode` makes of references: timbre, before it the spectrum where voices have one."""
    timbre_BD = codec.timbre(references)
    if not codec.config.voice_spectrum:
        return timbre_BD
    found = codec.missed(references, codec.quantize(references), timbre_BD)
    return codec.with_spectrum(timbre_BD, found)
