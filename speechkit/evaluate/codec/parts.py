"""The parts of a codec: cut out, exchanged, and turned into what its decoder adds up.

Legend: F code frames, K code books, D channels.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from speechkit.core.results import Codes
from speechkit.facodec.codec import Codec
from speechkit.facodec.paper.codec import PaperCodec
from speechkit.facodec.small.codec import FACodec

FRAME_PARTS = ("prosody", "content", "detail")
"""Parts with a code for every frame."""
PARTS = ("timbre", *FRAME_PARTS)
"""All parts, in the order of the report."""


def part_codes(codes: Codes, part: str) -> Tensor:
    """`codes_KF` of one of FRAME_PARTS."""
    codes_KF: Tensor = getattr(codes, f"{part}_KF")
    return codes_KF


def cut(codes: Codes, frames: int) -> Codes:
    """The first `frames` frames."""
    return Codes(**{f"{part}_KF": part_codes(codes, part)[:, :frames] for part in FRAME_PARTS})


def exchange(codes: Codes, donor: Codes, part: str) -> Codes:
    """`codes` with one of FRAME_PARTS taken from `donor`, which has at least as many frames."""
    return replace(codes, **{f"{part}_KF": part_codes(donor, part)[:, : codes.frames]})


def shows_embeddings(codec: Codec) -> bool:
    """Whether `embeddings` can look into this codec's books."""
    return isinstance(codec, FACodec | PaperCodec)


@torch.no_grad()
def embeddings(codec: Codec, codes: Codes) -> dict[str, Tensor]:
    """`z_FD` of each of FRAME_PARTS: its entries summed over its books, as the decoder gets them.

    Raises TypeError for a codec that `shows_embeddings` denies.
    """
    if isinstance(codec, FACodec):
        return {
            part: getattr(codec, f"{part}_books").embed(part_codes(codes, part)[None])[0]
            for part in FRAME_PARTS
        }
    if isinstance(codec, PaperCodec):
        return {
            part: getattr(codec, f"{part}_books").embed(part_codes(codes, part)[None])[0].T
            for part in FRAME_PARTS
        }
    raise TypeError(f"{type(codec).__name__} does not show the embeddings of its codes")


def book_names(codec: Codec) -> list[str]:
    """A name for each book, in the order of `Codes.stacked`."""
    books = codec.quantizer
    counts = {
        "prosody": books.prosody_books,
        "content": books.content_books,
        "detail": books.detail_books,
    }
    return [
        name if count == 1 else f"{name} {k + 1}"
        for name, count in counts.items()
        for k in range(count)
    ]
