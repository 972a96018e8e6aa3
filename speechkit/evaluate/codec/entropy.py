"""Codes as bytes: packed at their nominal size, or through the range coder with predictions.

For measuring, not a file format: both ends must do their arithmetic alike, and the lengths of the
clips are known to them.

Legend: K code books, F frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from speechkit.evaluate.codec.contexts import BookModel, Context
from speechkit.evaluate.codec.range_coder import RangeDecoder, RangeEncoder, frequencies


def pack(codes_KF: Tensor, entries: Sequence[int]) -> bytes:
    """Every code in as many bits as its book needs, filled up to whole bytes."""
    bits = []
    for row_F, size in zip(codes_KF, entries, strict=True):
        width = code_bits(size)
        shifts = np.arange(width)[::-1]
        bits.append((row_F.numpy()[:, None] >> shifts & 1).astype(np.uint8))
    return np.packbits(np.concatenate(bits, 1).reshape(-1)).tobytes()


def code_bits(entries: int) -> int:
    """Whole bits that a code of a book takes."""
    return max(1, math.ceil(math.log2(entries)))


def information(clips: Sequence[Tensor], models: Sequence[BookModel]) -> list[float]:
    """Bits that each book of the clips `[K, F]` takes, as `encode` would write them."""
    bits_K = [0.0] * len(models)
    for codes_KF in clips:
        for k, code, context in _walk(codes_KF):
            bits_K[k] -= math.log2(models[k].chance(code, context))
            models[k].learn(code, context)
    return bits_K


def encode(clips: Sequence[Tensor], models: Sequence[BookModel]) -> bytes:
    """Codes `[K, F]` of clips, one after the other; `models` learn on the way."""
    coder = RangeEncoder()
    for codes_KF in clips:
        for k, code, context in _walk(codes_KF):
            cumulative = frequencies(models[k].chances(context))
            start, end = int(cumulative[code]), int(cumulative[code + 1])
            coder.put(start, end - start)
            models[k].learn(code, context)
    return coder.finish()


def _walk(codes_KF: Tensor) -> Iterator[tuple[int, int, Context]]:
    """Book, code and context of each code, frame by frame."""
    previous_K = [-1] * codes_KF.shape[0]
    for code_K in codes_KF.T.tolist():
        for k, code in enumerate(code_K):
            yield k, code, (previous_K[k], code_K[k - 1] if k else -1)
        previous_K = code_K


def decode(data: bytes, frames: Sequence[int], models: Sequence[BookModel]) -> list[Tensor]:
    """The clips again, given the length of each and models as `encode` got them."""
    coder = RangeDecoder(data)
    clips = []
    for count in frames:
        previous_K = [-1] * len(models)
        rows: list[list[int]] = []
        for _ in range(count):
            code_K: list[int] = []
            for k, model in enumerate(models):
                context = (previous_K[k], code_K[k - 1] if k else -1)
                code = coder.get(frequencies(model.chances(context)))
                model.learn(code, context)
                code_K.append(code)
            rows.append(code_K)
            previous_K = code_K
        clips.append(torch.tensor(rows, dtype=torch.int64).reshape(count, len(models)).T)
    return clips
