"""Configuration of the small codec."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from speechkit.core.config import require_range
from speechkit.core.mel import MelConfig
from speechkit.facodec.quantizer import QuantizerConfig
from speechkit.facodec.small.spectrum import MOST_SHAPES


@dataclass(frozen=True, kw_only=True)
class VocoderConfig:
    """The vocoder that turns log-mel frames and pitch into a wave."""

    kind: Literal["source_filter", "inverse_stft"] = "source_filter"
    """`source_filter`: pulses and noise through minimum-phase filters; `inverse_stft`: Vocos."""

    channels: int = 192
    """Width of the network."""

    blocks: int = 4
    """ConvNeXt blocks."""

    n_fft: int = 512
    """Length of the transform the source-filter vocoder filters with, in samples."""

    def __post_init__(self) -> None:
        require_range(self, channels=(1, 4096), blocks=(0, 64), n_fft=(64, 65_536))


@dataclass(frozen=True, kw_only=True)
class FACodecConfig:
    """The small factorised codec: 16 kHz, 50 frames/s, six codebooks of 1024 entries (3 kbit/s)."""

    mel: MelConfig = field(default_factory=MelConfig)
    """Analysis the encoder reads and the vocoder speaks from; two mel frames a code frame."""

    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    """The codebooks."""

    vocoder: VocoderConfig = field(default_factory=VocoderConfig)
    """The vocoder."""

    channels: int = 256
    """Width of the content encoder and of the decoder."""

    encoder_blocks: int = 6
    """ConvNeXt blocks of the content and detail encoder."""

    decoder_blocks: int = 8
    """ConvNeXt blocks of the decoder."""

    prosody_channels: int = 128
    """Width of the prosody encoder and of the pitch predictor."""

    prosody_blocks: int = 3
    """ConvNeXt blocks of the prosody encoder."""

    timbre_channels: int = 192
    """Width of the timbre vector; its last element is the measured median pitch."""

    timbre_blocks: int = 3
    """ConvNeXt blocks of the timbre encoder."""

    phone_symbols: tuple[str, ...] = ()
    """Symbols the phone predictor tells apart, index 0 being silence."""

    told_phones: bool = False
    """Whether the decoder listens to the phones that a text tells of, see `Codes.phone_F`."""

    voice_spectrum: bool = False
    """Whether a voice carries what the decoder misses of it, see `facodec.small.spectrum`."""

    voice_shapes: int = 0
    """By how many cepstral coefficients that is measured; 0 for mean differences alone."""

    sharpness: float = 0.0
    """How much contrast along frequency decoded log-mel is given, see `spectrum.sharpen`."""

    speakers: int = 0
    """Training speakers; size of the speaker classifiers, which are dropped from the shipped
    weights."""

    level_rms: float = 0.05
    """Every wave is brought to this level (root mean square of its speech) before it is encoded."""

    def __post_init__(self) -> None:
        widths = dict.fromkeys(("channels", "prosody_channels", "timbre_channels"), (2, 8192))
        depths = dict.fromkeys(
            ("encoder_blocks", "decoder_blocks", "prosody_blocks", "timbre_blocks"), (0, 64)
        )
        require_range(self, **widths, **depths, speakers=(0, 10_000_000), level_rms=(1e-4, 1))
        require_range(self, sharpness=(0.0, 4.0), voice_shapes=(0, MOST_SHAPES))

    @property
    def sample_rate_hz(self) -> int:
        """Samples a second."""
        return self.mel.sample_rate_hz

    @property
    def hop_samples(self) -> int:
        """Samples a code frame."""
        return 2 * self.mel.hop_length
