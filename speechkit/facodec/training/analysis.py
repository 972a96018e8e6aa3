"""Steps that the codec's training tasks share.

Shapes: B batch, T samples, G mel frames, M mel bands.
"""

from __future__ import annotations

import torch
from torch import Tensor

from speechkit.core.rng import derive, generator
from speechkit.facodec.small.base import Acoustics
from speechkit.facodec.small.codec import Analysis, FACodec
from speechkit.facodec.small.features import TIMBRE_PITCH_SCALE, pitch_hz
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


@torch.no_grad()
def coded(codec: FACodec, batch: SegmentBatch) -> Acoustics:
    """What the codec's vocoder hears of the crops' codes, drawn ones where the batch has them.

    Every second item is decoded as text-to-speech does, told its phones, and so are all with drawn
    codes; the others as a codec does.
    """
    with torch.autocast(batch.wave_BT.device.type, enabled=False):
        analysis, references = analysis_of(codec, batch), references_of(codec, batch)
    voice_BD, parts = voice_of(codec, references), codec.quantize(analysis)
    found = (parts.prosody.codes_BKF, parts.content.codes_BKF, parts.detail.codes_BKF)
    codes_BKF, phone_BF = torch.cat(found, dim=1), batch.phone_BF.clone()
    phone_BF[::2] = -1
    if batch.redrawn_BKF.shape[1]:
        redrawn_BKF = batch.redrawn_BKF >= 0
        codes_BKF = torch.where(redrawn_BKF, batch.redrawn_BKF, codes_BKF)
        phone_BF = torch.where(redrawn_BKF.flatten(1).any(1)[:, None], batch.phone_BF, phone_BF)
    prosody_BKF = codes_BKF[:, : parts.prosody.codes_BKF.shape[1]]
    predicted = codec.predict_prosody(codec.prosody_codebooks.embed(prosody_BKF))
    voiced_BG = (predicted.voiced_logit_BG > 0).to(predicted.contour_BG.dtype)
    mel_BMG = codec.decode_mel(codec.summed(codes_BKF), voice_BD, None, phone_BF)
    return Acoustics(
        mel_BMG=codec.finished(mel_BMG, voiced_BG, voice_BD),
        f0_BG=pitch_hz(predicted.contour_BG, voice_BD[:, -1] * TIMBRE_PITCH_SCALE),
        voiced_BG=voiced_BG,
        lengths_B=None,
    )


def window_of(crop_frames: int, window_frames: int, rng: torch.Generator) -> int:
    """First code frame of the window of a batch's crops that is spoken."""
    # Drawn on the CPU: a step must not wait for its device.
    draws = generator(derive(rng.initial_seed(), "window"))
    (first,) = torch.randint(crop_frames - window_frames + 1, (1,), generator=draws).tolist()
    return int(first)
