"""What every factorised codec offers, and how one is opened from its folder.

Shapes: T samples, D channels of the timbre vector.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from speechkit.core.checkpoint import read_config
from speechkit.core.errors import CheckpointError
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

    Its config.json says which: it has a part named codec (small) or paper_codec. Raises
    CheckpointError or ConfigError for a folder that holds neither.
    """
    from speechkit.facodec.paper.codec import load_paper_codec
    from speechkit.facodec.small.codec import load_codec

    config = read_config(folder)
    if isinstance(config.get("codec"), dict):
        return load_codec(folder)
    if isinstance(config.get("paper_codec"), dict):
        return load_paper_codec(folder)
    raise CheckpointError(
        f"{folder} holds no codec: its config.json has no part named codec or paper_codec."
    )
