"""Long recordings through any codec, piece by piece.

Up to `WHOLE_SECONDS` a recording goes through in one go, bit for bit what the codec itself says.
Beyond, pieces see enough of their neighbours that, wherever the cuts are, the wave is the same as
that of `Codec.decode` over the whole within 1e-4 (measured on the shipped codec: bit for bit, of
300 s). Encoding has to know the whole wave, because timbre is one vector a recording; its codes
are those of `Codec.encode`, but for a paper codec whose prosody part reads the whole at once.

What decoding needs of memory does not grow with length. Encoding keeps the wave and its features:
an hour takes 0.8 GB beside the wave, and 65 s of one CPU core (decoding: 78 s).

Shapes: T samples, F frames, K codebooks, D channels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from speechkit.core.results import Codes, join
from speechkit.core.rng import generator
from speechkit.core.spans import Span, spans
from speechkit.core.timebase import frame_count, nearest_frames
from speechkit.facodec.codec import Codec
from speechkit.facodec.files import CodecFile
from speechkit.facodec.small.base import SmallCodec
from speechkit.facodec.small.codec import FACodec
from speechkit.facodec.small.features import speech_gain
from speechkit.facodec.small.stream import SpanDecoder, decode_spans, encode_spans

WHOLE_SECONDS = 30.0
"""Longest recording that is coded in one go."""

BLOCK_SECONDS = 20.0
"""Length of a piece of a longer one."""

CONTEXT_SECONDS = 1.0
"""What a piece sees of each neighbour, where a codec does not say: the paper's decoder, the widest
there is, looks 0.4 s to either side."""


def decode_stream(
    codec: Codec,
    codes: Codes,
    timbre_D: Tensor,
    rng: torch.Generator,
    *,
    without: Collection[str] = (),
    whole_seconds: float = WHOLE_SECONDS,
    block_seconds: float = BLOCK_SECONDS,
) -> Iterator[Tensor]:
    """The wave of codes in a timbre as one `wave_T` after the other, hop · F samples in all.

    The waves are on the CPU, wherever the codec is.
    """
    rate_hz, hop = codec.sample_rate_hz, codec.hop_samples
    block_frames = max(1, nearest_frames(block_seconds, rate_hz, hop))
    if codes.frames * hop <= whole_seconds * rate_hz:
        yield codec.decode(codes, timbre_D, rng, without=without).cpu()
    elif isinstance(codec, SmallCodec):
        yield from decode_spans(
            codec, codes, timbre_D, rng, without=without, block_frames=block_frames
        )
    else:
        context = nearest_frames(CONTEXT_SECONDS, rate_hz, hop)
        for span in spans(codes.frames, block_frames, context):
            seen = codes.between(span.low, span.high)
            wave_T = codec.decode(seen, timbre_D, rng, without=without)
            yield wave_T[span.times(hop).own].cpu()


FADE_FRAMES = 1
"""Frames over which one decoding of `GrowingDecoder` takes over from the one before."""


class GrowingDecoder:
    """Decodes the start of a recording before its end is known.

    What comes out, joined, is what `Codec.decode` makes of the codes, but near the ends of what was
    pushed at a time: there the decoder heard the frames beyond as they were given then.
    """

    def __init__(self, codec: Codec, timbre_D: Tensor, rng: torch.Generator) -> None:
        self._codec, self._timbre_D, self._rng = codec, timbre_D, rng
        self._spans = SpanDecoder(codec, timbre_D, rng) if isinstance(codec, SmallCodec) else None
        self._end = self._settled = 0
        self._fading_T = torch.zeros(0)

    def push(self, codes: Codes, end: int) -> Tensor:
        """`wave_T` from the last `end` up to this one, on the CPU.

        `codes` are those of all frames so far and of some beyond `end`, which may be others the
        next time; without any, the recording ends there.
        """
        hop, start = self._codec.hop_samples, self._end
        # The phase is settled to where the next decoding will have taken over, so that it is in
        # step with this one.
        settled = min(end + FADE_FRAMES, codes.frames)
        span = Span(
            start=self._settled,
            end=settled,
            low=max(0, self._settled - self._context),
            high=codes.frames,
        )
        seen_T = self._decode(codes, span)
        wave_T = seen_T[(start - span.low) * hop : (end - span.low) * hop]
        if len(self._fading_T):
            share_T = torch.linspace(0, 1, len(self._fading_T))
            faded_T = wave_T[: len(share_T)]
            wave_T[: len(share_T)] = self._fading_T + share_T * (faded_T - self._fading_T)
        self._fading_T = seen_T[(end - span.low) * hop : (settled - span.low) * hop].clone()
        self._end, self._settled = end, settled
        return wave_T

    @property
    def _context(self) -> int:
        if self._spans is not None:
            return self._spans.context
        return nearest_frames(CONTEXT_SECONDS, self._codec.sample_rate_hz, self._codec.hop_samples)

    def _decode(self, codes: Codes, span: Span) -> Tensor:
        if self._spans is not None:
            return self._spans.decode(codes, span)
        seen = codes.between(span.low, span.high)
        return self._codec.decode(seen, self._timbre_D, self._rng).cpu()


def encode_long(
    codec: Codec,
    wave_T: Tensor,
    *,
    whole_seconds: float = WHOLE_SECONDS,
    block_seconds: float = BLOCK_SECONDS,
) -> tuple[Codes, Tensor]:
    """`(codes, timbre_D)` of a wave of any length, like `Codec.encode`.

    The timbre of a codec that has no better way is the mean over the pieces, by their length.
    """
    rate_hz, hop = codec.sample_rate_hz, codec.hop_samples
    block_frames = max(1, nearest_frames(block_seconds, rate_hz, hop))
    if len(wave_T) <= whole_seconds * rate_hz:
        return codec.encode(wave_T)
    if isinstance(codec, FACodec):
        return encode_spans(codec, wave_T, block_frames=block_frames)
    if isinstance(codec, SmallCodec):
        # An exported one goes from the wave to the codes in a single graph.
        return codec.encode(wave_T)
    context = nearest_frames(CONTEXT_SECONDS, rate_hz, hop)
    pieces: list[Codes] = []
    timbre_D = torch.zeros(codec.timbre_channels)
    frames = frame_count(len(wave_T), hop)
    for span in spans(frames, block_frames, context):
        codes, own_D = codec.encode(wave_T[span.low * hop : span.high * hop])
        pieces.append(codes.between(span.own.start, span.own.stop))
        timbre_D = timbre_D + own_D.cpu() * ((span.end - span.start) / frames)
    return join(pieces), timbre_D


def resynthesise(codec: Codec, wave_T: Tensor, seed: int) -> Tensor:
    """A recording through the codec in one go, as long as it was, at the codec's level."""
    codes, timbre_D = codec.encode(wave_T)
    return codec.decode(codes, timbre_D, generator(seed))[: len(wave_T)].cpu()


def own_gain(codec: Codec, wave_T: Tensor) -> float | None:
    """Factor from the level that the codec speaks at to the wave's own; None where both are one."""
    if isinstance(codec, SmallCodec):
        return 1.0 / speech_gain(wave_T, codec.config.level_rms)
    return None


def levelled(waves: Iterable[Tensor], gain: float | None, samples: int) -> Iterator[Tensor]:
    """The first `samples` of waves that come one after the other, by `gain`, within ±1."""
    for wave_T in waves:
        wave_T = wave_T[:samples]
        samples -= len(wave_T)
        if len(wave_T):
            yield wave_T if gain is None else (wave_T * gain).clamp(-1, 1)


def record(
    codec: Codec, codec_hash: bytes, waves: Sequence[Tensor], *, wide: bool = False
) -> list[CodecFile]:
    """What codec files of the waves hold; `wide` keeps the timbre in single precision.

    Several waves, of at most `WHOLE_SECONDS` each, are encoded in one batch.
    """
    found = codec.encode_batch(waves) if len(waves) > 1 else [encode_long(codec, waves[0])]
    return [
        CodecFile(
            codes=codes.to("cpu"),
            timbre_D=timbre_D.cpu().to(torch.float32 if wide else torch.float16),
            samples=len(wave_T),
            sample_rate_hz=codec.sample_rate_hz,
            hop_samples=codec.hop_samples,
            codebook_size=codec.quantizer.codebook_size,
            model_hash=codec_hash,
            gain=own_gain(codec, wave_T),
        )
        for wave_T, (codes, timbre_D) in zip(waves, found, strict=True)
    ]


def play(codec: Codec, file: CodecFile, rng: torch.Generator) -> Iterator[Tensor]:
    """The recording of a codec file, at its own level and length, as one wave after the other.

    The file must have been made with this codec: see `check_codec`.
    """
    waves = decode_stream(codec, file.codes, file.timbre_D.float(), rng)
    return levelled(waves, file.gain, file.samples)
