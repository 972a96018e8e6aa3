"""What every factorised codec offers, and how one is opened from its folder.

Shapes: T samples, D channels of the timbre vector.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from speechkit.core.results import Codes
from speechkit.facodec.quantizer import QuantizerConfig


class Codec(Protocol):
    """A codec of any architecture: small, or the paper's. Works on mono waves, −1 to 1."""

    @property
    def sample_rate_hz(self) -> int:
        """Samples a second of what it reads and writes."""

    @property
    def hop_samples(self) -> int:
        """Samples a code frame; a wave of T samples has ceil(T / hop) frames."""

    @property
    def quantizer(self) -> QuantizerConfig:
        """Its code books."""

    @property
    def timbre_channels(self) -> int:
        """Width D of the timbre vector."""

    def encode(self, wave_T: Tensor) -> tuple[Codes, Tensor]:
        """`(codes, timbre_D)` of a wave, which is padded to whole frames."""

    def decode(
        self, codes: Codes, timbre_D: Tensor, rng: torch.Generator, *, detail: bool = True
    ) -> Tensor:
        """`wave_T` of codes in a timbre, T = hop · F; `detail=False` leaves the detail part out."""


def open_codec(folder: str | Path) -> Codec:
    """The codec of a folder with model.safetensors and config.json, ready for inference.

    Raises CheckpointError or ConfigError for a folder that holds none.
    """
    from speechkit.facodec.small.codec import load_codec

    return load_codec(folder)
