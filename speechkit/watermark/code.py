"""The code words of the watermark, its grid in time and frequency, and what its 16 bits mean.

A code word is one of 32 random masks times one of 1024 Walsh functions, plus or minus: so all
65536 can be compared by 32 fast Hadamard transforms, and a watermark is found and read in one step
with all of its energy.

Shapes: C chips, M masks, S slots of a period, W bands.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from speechkit.core.errors import ConfigError

SLOT_SECONDS = 0.016
"""Time between chips; the window of each is twice as long."""

SLOTS = 64
"""Chips in time before the word repeats: 1.024 s, so 2 s hold it whole wherever they are cut."""

BANDS = 16
"""Chips in frequency."""

BAND_HZ = 187.5
"""Width of a band."""

LOW_HZ = 296.875
"""Where the lowest band begins; the highest ends at 3297 Hz, inside a telephone's."""

CHIPS = SLOTS * BANDS
MASKS = 32
PAYLOADS = 2 * MASKS * CHIPS
"""65536: all that 16 bits say."""

DEFAULT_PAYLOAD = 0x5301
"""What speechkit writes: its letter S in the high byte, the version of this code in the low one."""


@dataclass(frozen=True, kw_only=True)
class Watermark:
    """The watermark that speech gets; raises ConfigError for a payload that 16 bits do not hold."""

    payload: int = DEFAULT_PAYLOAD
    """0 to 65535, free to use: a product, a speaker, a request."""

    def __post_init__(self) -> None:
        """Check the payload."""
        whole = isinstance(self.payload, int) and not isinstance(self.payload, bool)
        if not whole or not 0 <= self.payload < PAYLOADS:
            raise ConfigError(
                f"The payload {self.payload} does not fit: give a whole number from 0 to "
                f"{PAYLOADS - 1}."
            )


@lru_cache(maxsize=1)
def masks() -> Tensor:
    """The key as [MASKS, CHIPS] signs that nobody chose, the same for ever."""
    digest = hashlib.shake_256(b"speechkit watermark 1").digest(MASKS * CHIPS // 8)
    bits = torch.tensor(list(digest), dtype=torch.uint8)
    bits_MC = (bits[:, None] >> torch.arange(8)) & 1
    return 1.0 - 2.0 * bits_MC.reshape(MASKS, CHIPS).float()


@lru_cache(maxsize=1)
def hadamard() -> Tensor:
    """The Hadamard matrix of order 32; its Kronecker square is that of all chips (Sylvester)."""
    one = torch.ones(1, 1)
    while len(one) < 32:
        one = torch.cat([torch.cat([one, one], 1), torch.cat([one, -one], 1)])
    return one


def code_word(payload: int) -> Tensor:
    """The signs of one period, [SLOTS, BANDS].

    Bit 15 is the sign, 14 to 10 are the mask, 9 to 0 the Walsh function.
    """
    mask, walsh = payload >> 10 & 31, payload & 1023
    walsh_C = torch.outer(hadamard()[walsh >> 5], hadamard()[walsh & 31]).flatten()
    word_C = masks()[mask] * walsh_C
    return (-word_C if payload >> 15 else word_C).reshape(SLOTS, BANDS)
