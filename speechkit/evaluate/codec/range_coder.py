"""A range coder: symbols to bytes and back, a fraction of a bit above their information.

Martin 1979, "Range encoding: an algorithm for removing redundancy from a digitised message". The
state has 64 bits; carries run back into the bytes already written.

Legend: V entries.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TOTAL_BITS = 24
TOTAL = 1 << TOTAL_BITS
"""Sum of all frequencies of a distribution."""

_STATE_BITS = 64
_TOP_BITS = _STATE_BITS - 8
_MASK = (1 << _STATE_BITS) - 1


def frequencies(probability_V: NDArray[np.float64]) -> NDArray[np.int64]:
    """`[V + 1]` cumulative frequencies, 0 to TOTAL, that give every entry at least 1."""
    entries = len(probability_V)
    count_V = (probability_V * ((TOTAL - entries) / probability_V.sum())).astype(np.int64) + 1
    count_V[int(count_V.argmax())] += TOTAL - int(count_V.sum())
    cumulative = np.zeros(entries + 1, np.int64)
    np.cumsum(count_V, out=cumulative[1:])
    return cumulative


class RangeEncoder:
    """Takes intervals of TOTAL, hands out bytes."""

    def __init__(self) -> None:
        self._low = 0
        self._range = _MASK
        self._bytes = bytearray()

    def put(self, start: int, size: int) -> None:
        """Add a symbol that takes `size` of TOTAL from `start` on."""
        step = self._range >> TOTAL_BITS
        self._low += start * step
        self._range = size * step
        self._carry()
        while self._range >> _TOP_BITS == 0:
            self._bytes.append(self._low >> _TOP_BITS)
            self._low = (self._low << 8) & _MASK
            self._range <<= 8

    def _carry(self) -> None:
        if self._low >> _STATE_BITS == 0:
            return
        self._low &= _MASK
        at = len(self._bytes) - 1
        while self._bytes[at] == 255:
            self._bytes[at] = 0
            at -= 1
        self._bytes[at] += 1

    def finish(self) -> bytes:
        """All bytes; zeros that end them need not be kept."""
        # The range covers at least one value whose lower bits are all 0, so one byte is enough.
        self._low = (self._low + (1 << _TOP_BITS) - 1) >> _TOP_BITS << _TOP_BITS
        self._carry()
        self._bytes.append(self._low >> _TOP_BITS)
        return bytes(self._bytes)


class RangeDecoder:
    """Reads the bytes of a `RangeEncoder`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = _STATE_BITS // 8
        self._code = int.from_bytes(data[: self._at].ljust(self._at, b"\0"), "big")
        self._range = _MASK

    def get(self, cumulative: NDArray[np.int64]) -> int:
        """The next symbol, given the cumulative frequencies it was put with."""
        step = self._range >> TOTAL_BITS
        target = min(self._code // step, TOTAL - 1)
        symbol = int(np.searchsorted(cumulative, target, side="right")) - 1
        start, end = int(cumulative[symbol]), int(cumulative[symbol + 1])
        self._code -= start * step
        self._range = (end - start) * step
        while self._range >> _TOP_BITS == 0:
            following = self._data[self._at] if self._at < len(self._data) else 0
            self._code = (self._code << 8) | following
            self._range <<= 8
            self._at += 1
        return symbol
