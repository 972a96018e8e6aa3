"""The parts of a codec: clips coded once for the whole report, parts cut out and exchanged.

Legend: T samples at 16 kHz, F code frames, K codebooks, D channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.results import Codes
from speechkit.core.timebase import SAMPLE_RATE_HZ
from speechkit.evaluate.pairs import EvalClip
from speechkit.facodec.codec import Codec
from speechkit.facodec.paper.codec import PaperCodec
from speechkit.facodec.small.codec import FACodec

FRAME_PARTS = ("prosody", "content", "detail")
"""Parts with a code for every frame."""
PARTS = ("timbre", *FRAME_PARTS)
"""All parts, in the order of the report."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CodedClip:
    """A clip and what the codec makes of it."""

    clip: EvalClip
    """The recording."""
    codes: Codes
    """Its codes."""
    timbre_D: Tensor
    """Its timbre."""


def code_clips(
    codec: Codec, clips: Sequence[EvalClip], progress: Callable[[str], None]
) -> list[CodedClip]:
    """Codes and timbre of each clip. Raises DataError where the codec has another sample rate."""
    if codec.sample_rate_hz != SAMPLE_RATE_HZ:
        raise DataError(
            f"Held-out clips come at {SAMPLE_RATE_HZ} Hz and this codec reads "
            f"{codec.sample_rate_hz} Hz: give a codec of that rate."
        )
    coded = []
    for clip in clips:
        codes, timbre_D = codec.encode(clip.wave_T)
        coded.append(CodedClip(clip=clip, codes=codes.to("cpu"), timbre_D=timbre_D.cpu()))
        progress(f"encode {clip.id}")
    return coded


def part_codes(codes: Codes, part: str) -> Tensor:
    """`codes_KF` of one of FRAME_PARTS."""
    codes_KF: Tensor = getattr(codes, f"{part}_KF")
    return codes_KF


def exchange(codes: Codes, donor: Codes, part: str) -> Codes:
    """`codes` with one of FRAME_PARTS taken from `donor`, which has at least as many frames."""
    return replace(codes, **{f"{part}_KF": part_codes(donor, part)[:, : codes.frames]})


@torch.no_grad()
def embeddings(codec: Codec, codes: Codes) -> dict[str, Tensor]:
    """`z_FD` of each of FRAME_PARTS: the vectors of its codes, summed, as the decoder gets them.

    Raises DataError for a codec of an unknown kind.
    """
    if not isinstance(codec, FACodec | PaperCodec):
        raise DataError("this codec does not show the embeddings of its codes.")
    codes = codes.to(codec.code_vectors()[0].device)
    found = {
        part: getattr(codec, f"{part}_codebooks").embed(part_codes(codes, part)[None])[0]
        for part in FRAME_PARTS
    }
    channels_first = isinstance(codec, PaperCodec)
    return {part: (z.T if channels_first else z).cpu() for part, z in found.items()}


def codebook_names(codec: Codec) -> list[str]:
    """A name for each codebook, in the order of `Codes.stacked`."""
    return [
        part if count == 1 else f"{part} {k + 1}"
        for part in FRAME_PARTS
        for count in [getattr(codec.quantizer, f"{part}_codebooks")]
        for k in range(count)
    ]
