"""What every factorised codec offers.

Shapes: T samples, F frames, B items of a batch, D channels of the timbre vector.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from speechkit.core.errors import ConfigError
from speechkit.core.results import Codes
from speechkit.facodec.quantizer import QuantizerConfig

if TYPE_CHECKING:
    from typing_extensions import Self

FACTORS: tuple[str, ...] = ("prosody", "content", "detail")
"""The factors that are codes; the fourth, timbre, is a vector."""

ENCODED_AT_ONCE = {"cuda": 16, "mps": 16}
"""Recordings that are encoded together by the kind of device; a CPU is hardly faster for it."""


class Sizes(Protocol):
    """What a codec says of itself, and its configuration too."""

    @property
    def sample_rate_hz(self) -> int:
        """Samples a second of what it reads and writes."""

    @property
    def hop_samples(self) -> int:
        """Samples a code frame; a wave of T samples has ceil(T / hop) frames."""

    @property
    def quantizer(self) -> QuantizerConfig:
        """Its codebooks."""

    @property
    def timbre_channels(self) -> int:
        """Width D of the timbre vector."""

    @property
    def phone_symbols(self) -> tuple[str, ...]:
        """What the classes of `phone_logits` stand for; empty where nobody knows."""


class Codec(Sizes, Protocol):
    """A codec of any architecture: small, or the paper's. Works on mono waves, −1 to 1."""

    @property
    def voice_channels(self) -> int:
        """Width of what `encode` gives as timbre: its last `timbre_channels` are the vector itself,
        which is all that a generator is told and all that `decode` needs; what is before them
        makes decoded speech more like the recording."""

    @property
    def voice_widths(self) -> tuple[int, ...]:
        """Widths of timbre that `decode` takes, from `timbre_channels` to `voice_channels`."""

    def phone_logits(self, content_BKF: Tensor) -> Tensor:
        """Phone class logits `[B, F, V]` of content codes."""

    def code_vectors(self) -> list[Tensor]:
        """The entries `[V, C]` of each codebook: prosody, content, detail."""

    def encode(self, wave_T: Tensor, f0_G: Tensor | None = None) -> tuple[Codes, Tensor]:
        """`(codes, timbre_D)` of a wave, which is padded to whole frames.

        `f0_G` is its pitch in Hz, 100 a second, where that is known and the codec wants it.
        """

    def encode_batch(
        self, waves: Sequence[Tensor], f0s: Sequence[Tensor] | None = None, *, whole: bool = True
    ) -> list[tuple[Codes, Tensor]]:
        """`encode` of each wave, computed together; without `whole`, timbre may be the last
        `timbre_channels` alone, which is faster."""

    def quiet(self, timbre_D: Tensor) -> Tensor:
        """The voice of a recording with less of the room in its pauses, as it should speak; the
        same where the codec knows no way."""

    def to(self, device: str | torch.device) -> Self:
        """The codec on a device."""

    def decode(
        self,
        codes: Codes,
        timbre_D: Tensor,
        rng: torch.Generator,
        *,
        without: Collection[str] = (),
    ) -> Tensor:
        """`wave_T` of codes in a timbre, T = hop · F.

        The vectors of the factors in `without` are left out of the sum that is decoded. Raises
        ConfigError for a name that is none of `FACTORS`.

            codec.decode(codes, timbre_D, generator(0), without=("detail",))
        """

    def decode_batch(
        self,
        codes: Sequence[Codes],
        timbre_BD: Tensor,
        rngs: Sequence[torch.Generator],
        *,
        without: Collection[str] = (),
    ) -> list[Tensor]:
        """`decode` of each item, computed together; each has draws, and a length, of its own.

        An item sounds as it does alone: the same to 1e-5.
        """


def check_factors(names: Collection[str]) -> None:
    """Raise ConfigError unless these are names of factors that can be left out of decoding."""
    unknown = sorted(set(names) - set(FACTORS))
    if unknown:
        raise ConfigError(
            f"{', '.join(unknown)} cannot be left out of decoding: give any of "
            f"{', '.join(FACTORS)}."
        )


def codes_sign(codec: Codec) -> str:
    """Sixteen hexadecimal digits that name the codebooks of a codec, and so what its codes mean.

    Training that leaves the codebooks alone (phases `decoder`, `finetune`), half precision, devices
    and exports change nothing of it.
    """
    entries = [vectors_VC.detach().to("cpu", torch.float16) for vectors_VC in codec.code_vectors()]
    made = hashlib.sha256()
    for entries_VC in entries:
        made.update(entries_VC.contiguous().numpy().tobytes())
    return made.hexdigest()[:16]
