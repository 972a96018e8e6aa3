"""Long recordings through the small codec, span by span.

Decoding: all networks are convolutions of finite reach, so a span with enough context around it
has the values of the whole; phase and noise are carried over (`RunningSource`). Encoding: level,
pitch, mean log-mel and timbre belong to the whole recording and are measured on features (of an
hour: 115 MB of log-mel) that are themselves computed span by span.

Shapes: B batch, T samples, G mel frames (100/s), F code frames (50/s), M mel bands, D channels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from speechkit.core.f0 import extract_f0
from speechkit.core.results import Codes, join
from speechkit.core.spans import Span, spans
from speechkit.core.timebase import frame_count
from speechkit.facodec.small.codec import Analysis, FACodec
from speechkit.facodec.small.features import (
    active_mean,
    pair_frames,
    scale_mel,
    speech_gain,
    split_pitch,
)
from speechkit.facodec.small.source import RunningSource

MEL_PER_CODE = 2
"""Mel frames of a code frame."""

PITCH_MARGIN_FRAMES = 200
"""Mel frames on either side of a span that the pitch tracker hears too: 2 s."""


def reach_frames(stack: nn.Module) -> int:
    """How many frames to either side the convolutions in a network look."""
    return sum(
        module.kernel_size[0] // 2 for module in stack.modules() if isinstance(module, nn.Conv1d)
    )


def decode_context_frames(codec: FACodec) -> int:
    """Code frames around a span that its samples depend on."""
    vocoder = frame_count(reach_frames(codec.vocoder), MEL_PER_CODE)
    frames = max(reach_frames(codec.decoder), reach_frames(codec.prosody_predictor))
    # A filter's tail, the overlap of neighbours, and lines between frame centres.
    return frames + vocoder + frame_count(codec.vocoder.n_fft, codec.hop_samples) + 1


@torch.no_grad()
def decode_spans(
    codec: FACodec,
    codes: Codes,
    timbre_D: Tensor,
    rng: torch.Generator,
    *,
    without: Collection[str] = (),
    block_frames: int,
) -> Iterator[Tensor]:
    """What `codec.decode` makes of the codes, as one `wave_T` after the other.

    Differs from it by the rounding of single precision, which grows with length there and not
    here: see `speechkit.facodec.stream`.
    """
    context = decode_context_frames(codec)
    mel = codec.config.mel
    noise = rng if codec.vocoder.DRAWS_NOISE else None
    source = RunningSource(noise, mel.hop_length, mel.sample_rate_hz, MEL_PER_CODE * context)
    for span in spans(codes.frames, block_frames, context):
        heard = codec.acoustics(codes.between(span.low, span.high), timbre_D, without=without)
        finer = span.times(MEL_PER_CODE)
        driven = source.advance(heard.f0_BG[0], heard.voiced_BG[0], finer)
        wave_BT = codec.vocoder.speak(heard.mel_BMG, heard.f0_BG, heard.voiced_BG, driven)
        yield wave_BT[0, span.times(codec.hop_samples).own].clamp(-1, 1)


@torch.no_grad()
def encode_spans(codec: FACodec, wave_T: Tensor, *, block_frames: int) -> tuple[Codes, Tensor]:
    """`(codes, timbre_D)` of a long wave, as `codec.encode` has them but for the pitch tracker.

    The tracker hears 2 s around each span and not the whole, which moves pitch by less than its
    own error in few frames; everything else is the same to rounding.
    """
    analysis = _analyse(codec, wave_T, block_frames)
    mean_mel_BM1 = active_mean(analysis.mel_BMG)
    context = max(reach_frames(codec.encoder), reach_frames(codec.prosody_encoder))
    frames = analysis.mel_BMG.shape[-1] // MEL_PER_CODE
    pieces: list[Codes] = []
    for span in spans(frames, block_frames, context):
        parts = codec.quantize(_between(analysis, span.times(MEL_PER_CODE)), mean_mel_BM1)
        codes = Codes(
            prosody_KF=parts.prosody.codes_BKF[0],
            content_KF=parts.content.codes_BKF[0],
            detail_KF=parts.detail.codes_BKF[0],
        )
        pieces.append(codes.between(span.own.start, span.own.stop))
    return join(pieces), _timbre(codec, analysis, block_frames)


def _analyse(codec: FACodec, wave_T: Tensor, block_frames: int) -> Analysis:
    """`codec.analyse`, span by span; log-mel stays on the codec's device, pitch on the CPU."""
    gain = speech_gain(wave_T, codec.config.level_rms)
    mel, device = codec.config.mel, codec.mel.window.device
    wave_T = nn.functional.pad(wave_T.float(), (0, -len(wave_T) % codec.hop_samples))
    frames, hop = len(wave_T) // mel.hop_length, mel.hop_length
    mels, pitches = [], []
    for span in spans(frames, MEL_PER_CODE * block_frames, PITCH_MARGIN_FRAMES):
        heard_T = wave_T[span.low * hop : span.high * hop] * gain
        mels.append(codec.mel(heard_T[None].to(device))[..., span.own])
        pitches.append(extract_f0(heard_T.numpy())[span.own])
    pitch = split_pitch(np.concatenate(pitches))
    return Analysis(
        mel_BMG=torch.cat(mels, dim=-1),
        contour_BG=pitch.contour_G[None].to(device),
        voiced_BG=pitch.voiced_G[None].to(device),
        median_B=torch.tensor([pitch.median], device=device),
    )


def _timbre(codec: FACodec, analysis: Analysis, block_frames: int) -> Tensor:
    """`codec.timbre` with the network over one span after the other."""
    encoder = codec.timbre_encoder
    scaled_BMG = scale_mel(analysis.mel_BMG)
    frames, context = scaled_BMG.shape[-1] // MEL_PER_CODE, reach_frames(encoder)
    hidden = [
        encoder.stack(pair_frames(scaled_BMG[..., span.times(MEL_PER_CODE).seen]))[:, span.own]
        for span in spans(frames, block_frames, context)
    ]
    learnt_BD = encoder.pool(torch.cat(hidden, dim=1).float(), scaled_BMG)
    return codec.with_median(learnt_BD, analysis)[0]


def _between(analysis: Analysis, span: Span) -> Analysis:
    return Analysis(
        mel_BMG=analysis.mel_BMG[..., span.seen],
        contour_BG=analysis.contour_BG[:, span.seen],
        voiced_BG=analysis.voiced_BG[:, span.seen],
        median_B=analysis.median_B,
    )
