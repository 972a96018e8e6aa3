"""Configuration of the paper's codec; the defaults are those of the public checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from speechkit.core.config import require_range
from speechkit.core.mel import MelConfig
from speechkit.facodec.quantizer import QuantizerConfig


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """The encoder of the timbre, and of V2's prosody (NS3 §3.2.1)."""

    layers: int = 4
    """Pre-norm layers."""

    heads: int = 4
    """Attention heads; they share the codec's `channels`."""

    filter_channels: int = 1024
    """Width inside a layer's convolutional feed-forward part."""

    kernel_frames: int = 5
    """Width of its convolution, in frames; odd."""

    dropout: float = 0.1
    """Share of values dropped in training."""

    def __post_init__(self) -> None:
        require_range(
            self,
            layers=(0, 64),
            heads=(1, 64),
            filter_channels=(1, 65_536),
            kernel_frames=(1, 63),
            dropout=(0, 0.9),
        )
        if self.kernel_frames % 2 == 0:
            raise ValueError("kernel_frames must be odd")


def _default_mel() -> MelConfig:
    return MelConfig(n_fft=1024, win_length=800, hop_length=200, n_mels=80)


@dataclass(frozen=True, kw_only=True)
class PaperCodecConfig:
    """FACodec as published: 16 kHz, 80 frames/s, six codebooks of 1024 entries (4.8 kbit/s)."""

    version: Literal["v1", "v2"] = "v1"
    """`v1` reads prosody off the encoder; `v2` off low mel bands, for voice conversion."""

    sample_rate_hz: int = 16_000
    """Samples a second."""

    strides: tuple[int, ...] = (2, 4, 5, 5)
    """Down-sampling by the encoder's blocks, reversed in the generator; multiplied, the hop."""

    encoder_channels: int = 32
    """Width of the encoder at sample rate; doubled by each block."""

    channels: int = 256
    """Width D at frame rate: of the codes' sum, and of the timbre vector."""

    generator_channels: int = 1024
    """Width of the generator at frame rate; halved by each block."""

    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    """The codebooks."""

    commitment: float = 0.005
    """Weight of commitment in `quantizer_loss`; NS3 App. B.1 trains with 0.25."""

    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    """The timbre encoder, and V2's prosody encoder."""

    batch_index_position: bool = False
    """Add the position code of an item's place in its batch to all its frames, as public code does.

    Only for weights trained that way. Otherwise frames are told apart, and items are not.
    """

    prosody_mel: MelConfig = field(default_factory=_default_mel)
    """Analysis that V2 reads prosody from."""

    prosody_bands: int = 20
    """How many of its lowest bands V2 reads."""

    phone_classes: int = 5003
    """Classes of the phone predictors."""

    phone_symbols: tuple[str, ...] = ()
    """What the classes stand for, where that is known."""

    speakers: int = 245_200
    """Classes of the speaker classifier."""

    reverse_prosody_phone: bool = False
    """Drive phones out of the prosody part (NS3 §3.2.2)."""

    reverse_content_f0: bool = False
    """Drive F0 and voicing out of the content part (NS3 §3.2.2)."""

    reverse_detail_f0: bool = True
    """Drive F0 and voicing out of the detail part (NS3 §3.2.2)."""

    reverse_detail_phone: bool = True
    """Drive phones out of the detail part (NS3 §3.2.2)."""

    reverse_speaker: bool = True
    """Drive the speaker out of the three parts' sum (NS3 §3.2.2)."""

    detail_dropout: float = 0.75
    """Share of the training items that are generated without their detail part (NS3 §3.2.3)."""

    def __post_init__(self) -> None:
        require_range(
            self,
            sample_rate_hz=(1000, 384_000),
            encoder_channels=(1, 4096),
            channels=(1, 8192),
            generator_channels=(1, 16_384),
            commitment=(0, 100),
            prosody_bands=(1, self.prosody_mel.n_mels),
            phone_classes=(1, 1_000_000),
            speakers=(1, 10_000_000),
            detail_dropout=(0, 1),
        )
        if not 1 <= len(self.strides) <= 10 or not all(1 <= s <= 64 for s in self.strides):
            raise ValueError("strides must be 1 to 10 whole numbers from 1 to 64")
        if self.generator_channels % 2 ** len(self.strides):
            raise ValueError("generator_channels must be divisible by 2 once for each stride")
        if self.channels % self.transformer.heads:
            raise ValueError("channels must be a multiple of transformer.heads")
        if self.channels % 2:
            raise ValueError("channels must be even")
        if self.phone_symbols and len(self.phone_symbols) != self.phone_classes:
            raise ValueError("phone_symbols must be empty or name every one of phone_classes")
        rates = (self.prosody_mel.sample_rate_hz, self.prosody_mel.hop_length)
        if self.version == "v2" and rates != (self.sample_rate_hz, self.hop_samples):
            raise ValueError("prosody_mel must have the codec's sample rate and hop")

    @property
    def hop_samples(self) -> int:
        """Samples a code frame."""
        return math.prod(self.strides)

    @property
    def timbre_channels(self) -> int:
        """Width of the timbre vector."""
        return self.channels


@dataclass(frozen=True, kw_only=True)
class RedecoderConfig:
    """A second decoder for voice conversion, with embeddings of its own."""

    sample_rate_hz: int = 16_000
    """Samples a second."""

    strides: tuple[int, ...] = (2, 4, 5, 5)
    """Those of the codec whose codes it reads."""

    channels: int = 256
    """Width D of embeddings and timbre vector."""

    generator_channels: int = 1280
    """Width of the generator at frame rate; halved by each block."""

    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    """Codebooks of the codec; their `code_channels` plays no part."""

    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    """The prosody encoder, conditioned on timbre."""

    batch_index_position: bool = False
    """As in `PaperCodecConfig`."""

    def __post_init__(self) -> None:
        # The same limits hold for the fields that both have.
        PaperCodecConfig(
            sample_rate_hz=self.sample_rate_hz,
            strides=self.strides,
            channels=self.channels,
            generator_channels=self.generator_channels,
            transformer=self.transformer,
        )

    @property
    def hop_samples(self) -> int:
        """Samples a code frame."""
        return math.prod(self.strides)
