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
from speechkit.facodec.convnext import KERNEL
from speechkit.facodec.predictors import BLOCKS as PREDICTOR_BLOCKS
from speechkit.facodec.small.base import SmallCodec
from speechkit.facodec.small.codec import Analysis, FACodec
from speechkit.facodec.small.features import (
    active_mean,
    pair_frames,
    scale_mel,
    speech_gain,
    split_pitch,
)
from speechkit.facodec.small.source import RunningSource
from speechkit.facodec.small.spectrum import Missed, missed

MEL_PER_CODE = 2
"""Mel frames of a code frame."""

REACH = KERNEL // 2
"""Frames to either side that a block of a network looks."""

PITCH_MARGIN_FRAMES = 200
"""Mel frames on either side of a span that the pitch tracker hears too: 2 s."""


def decode_context_frames(codec: SmallCodec) -> int:
    """Code frames around a span that its samples depend on."""
    config, vocoder = codec.config, codec.config.vocoder
    n_fft = vocoder.n_fft if codec.draws_noise else 4 * config.mel.hop_length
    frames = REACH * max(config.decoder_blocks, PREDICTOR_BLOCKS)
    frames += frame_count(REACH * vocoder.blocks, MEL_PER_CODE)
    # A filter's tail, the overlap of neighbours, and lines between frame centres.
    return frames + frame_count(n_fft, codec.hop_samples) + 1


class SpanDecoder:
    """Decodes the spans of a recording in order, each starting where the one before ended."""

    def __init__(
        self,
        codec: SmallCodec,
        timbre_D: Tensor,
        rng: torch.Generator,
        *,
        without: Collection[str] = (),
    ) -> None:
        self.codec, self.timbre_D, self.without = codec, timbre_D, without
        self.context = decode_context_frames(codec)
        """Code frames around a span that it depends on."""
        mel = codec.config.mel
        noise = rng if codec.draws_noise else None
        self._source = RunningSource(
            noise, mel.hop_length, mel.sample_rate_hz, MEL_PER_CODE * self.context
        )

    @torch.no_grad()
    def decode(self, codes: Codes, span: Span) -> Tensor:
        """`wave_T` of all that the span sees, from `span.low` to `span.high`, on the CPU."""
        seen = codes.between(span.low, span.high)
        heard = self.codec.acoustics(seen, self.timbre_D, without=self.without)
        driven = self._source.advance(heard.f0_BG[0], heard.voiced_BG[0], span.times(MEL_PER_CODE))
        return self.codec.speak(heard, driven)[0].clamp(-1, 1).cpu()


def decode_spans(
    codec: SmallCodec,
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
    decoder = SpanDecoder(codec, timbre_D, rng, without=without)
    for span in spans(codes.frames, block_frames, decoder.context):
        yield decoder.decode(codes, span)[span.times(codec.hop_samples).own]


@torch.no_grad()
def encode_spans(codec: FACodec, wave_T: Tensor, *, block_frames: int) -> tuple[Codes, Tensor]:
    """`(codes, timbre_D)` of a long wave, as `codec.encode` has them but for the pitch tracker.

    The tracker hears 2 s around each span and not the whole, which moves pitch by less than its
    own error in few frames; everything else is the same to rounding.
    """
    analysis = _analyse(codec, wave_T, block_frames)
    mean_mel_BM1 = active_mean(analysis.mel_BMG)
    context = REACH * max(codec.config.encoder_blocks, codec.config.prosody_blocks)
    frames = analysis.mel_BMG.shape[-1] // MEL_PER_CODE
    pieces: list[Codes] = []
    for span in spans(frames, block_frames, context):
        parts = codec.quantize(_between(analysis, span.times(MEL_PER_CODE)), mean_mel_BM1)
        codes = Codes.of(parts.codes()[0], codec.quantizer.counts)
        pieces.append(codes.between(span.own.start, span.own.stop))
    codes, timbre_D = join(pieces), _timbre(codec, analysis, block_frames)
    if codec.config.voice_spectrum:
        found = _missed(codec, analysis, codes, timbre_D, block_frames)
        timbre_D = codec.with_spectrum(timbre_D[None], found)[0]
    return codes, timbre_D


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
    frames, context = scaled_BMG.shape[-1] // MEL_PER_CODE, REACH * codec.config.timbre_blocks
    hidden = [
        encoder.stack(pair_frames(scaled_BMG[..., span.times(MEL_PER_CODE).seen]))[:, span.own]
        for span in spans(frames, block_frames, context)
    ]
    learnt_BD = encoder.pool(torch.cat(hidden, dim=1).float(), scaled_BMG)
    return codec.with_median(learnt_BD, analysis)[0]


def _missed(
    codec: FACodec, analysis: Analysis, codes: Codes, timbre_D: Tensor, block_frames: int
) -> Missed:
    """`codec.missed`, decoded span by span."""
    found = Missed(gram_BCXX=torch.zeros(()), sums_BCXM=torch.zeros(()))
    context = REACH * codec.config.decoder_blocks
    for span in spans(codes.frames, block_frames, context):
        seen, own = codes.between(span.low, span.high), span.times(MEL_PER_CODE)
        made_BMG = codec.decode_mel(codec.summed(seen.stacked()[None]), timbre_D[None])
        recorded = _between(analysis, own)
        found = found + missed(
            recorded.mel_BMG[..., own.own],
            made_BMG[..., own.own],
            recorded.voiced_BG[:, own.own],
            shapes=codec.config.voice_shapes,
        )
    return found


def _between(analysis: Analysis, span: Span) -> Analysis:
    return Analysis(
        mel_BMG=analysis.mel_BMG[..., span.seen],
        contour_BG=analysis.contour_BG[:, span.seen],
        voiced_BG=analysis.voiced_BG[:, span.seen],
        median_B=analysis.median_B,
    )
