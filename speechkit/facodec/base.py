"""What a codec says of itself, read off its configuration."""

from __future__ import annotations

from typing import Protocol

from speechkit.facodec.quantizer import QuantizerConfig


class CodecConfig(Protocol):
    """What the configurations of all codecs have."""

    @property
    def sample_rate_hz(self) -> int:
        """Samples a second."""

    @property
    def hop_samples(self) -> int:
        """Samples a code frame."""

    @property
    def quantizer(self) -> QuantizerConfig:
        """Its codebooks."""

    @property
    def timbre_channels(self) -> int:
        """Width of the timbre vector."""

    @property
    def phone_symbols(self) -> tuple[str, ...]:
        """What the classes of `phone_logits` stand for; empty where nobody knows."""


class ConfiguredCodec:
    """A codec by its configuration."""

    config: CodecConfig

    @property
    def sample_rate_hz(self) -> int:
        """Samples a second."""
        return self.config.sample_rate_hz

    @property
    def hop_samples(self) -> int:
        """Samples a code frame."""
        return self.config.hop_samples

    @property
    def quantizer(self) -> QuantizerConfig:
        """Its codebooks."""
        return self.config.quantizer

    @property
    def timbre_channels(self) -> int:
        """Width of the timbre vector."""
        return self.config.timbre_channels

    @property
    def phone_symbols(self) -> tuple[str, ...]:
        """What the classes of `phone_logits` stand for; empty where nobody knows."""
        return self.config.phone_symbols
