"""What a codec says of itself, read off its configuration."""

from __future__ import annotations

from torch import Tensor

from speechkit.facodec.codec import Sizes
from speechkit.facodec.quantizer import QuantizerConfig


class ConfiguredCodec:
    """A codec by its configuration."""

    config: Sizes

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
    def voice_channels(self) -> int:
        """Width of the timbre vector with all that a voice carries beside it."""
        return self.voice_widths[-1]

    @property
    def voice_widths(self) -> tuple[int, ...]:
        """Widths that a voice may have."""
        return (self.timbre_channels,)

    @property
    def phone_symbols(self) -> tuple[str, ...]:
        """What the classes of `phone_logits` stand for; empty where nobody knows."""
        return self.config.phone_symbols

    def quiet(self, timbre_D: Tensor) -> Tensor:
        """The same voice: no way is known to quieten its pauses."""
        return timbre_D
