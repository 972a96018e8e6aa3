"""Configs of the encoders and of the three ways to pre-train them.

Defaults are the base models of the papers: wav2vec 2.0 (Baevski et al. 2020, section 4.2) and
HuBERT (Hsu et al. 2021, table 1); BEST-RQ has the same encoder here, with the targets and masks of
Chiu et al. 2022.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from speechkit.core.config import require_range
from speechkit.core.errors import ConfigError
from speechkit.core.timebase import SAMPLE_RATE_HZ as SAMPLE_RATE_HZ

WINDOW_SAMPLES = 400
"""25 ms: the shortest wave that gives a frame of the usual front ends."""
MEL_HOP_SAMPLES = 160
"""Samples between two frames of the log-mel front end's spectrogram."""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """A convolutional front end on the wave, and a Transformer on its frames."""

    front: Literal["wave", "log-mel"] = "wave"
    """What the convolutions read: the wave (the papers), or log-mel at 100 Hz, normalised clip by
    clip; their kernels and strides are then in its frames, such as kernels (3, 3) and strides
    (2, 2) for 25 frames a second. `conv_bias`, `conv_norm` and `conv_gradient_scale` are the
    wave's alone."""
    conv_channels: tuple[int, ...] = (512, 512, 512, 512, 512, 512, 512)
    """Channels of each convolution."""
    conv_kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    """Kernel of each convolution, in its own input steps."""
    conv_strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    """Stride of each convolution; their product, 320 samples, is one frame of 20 ms."""
    conv_bias: bool = False
    """Convolutions add a bias (the large models trained on 60,000 h do)."""
    conv_norm: Literal["group", "layer"] = "group"
    """Normalise the first convolution over time (base), or each over channels (large)."""
    conv_gradient_scale: float = 0.1
    """Factor on gradients that reach the convolutions."""
    model_dim: int = 768
    """Width of the Transformer."""
    layers: int = 12
    """Transformer blocks."""
    heads: int = 12
    """Attention heads of each block."""
    ffn_dim: int = 3072
    """Inner width of the feed-forward parts."""
    norm_order: Literal["post", "pre"] = "post"
    """LayerNorm after each residual sum (base) or before each part (large)."""
    position_kernel: int = 128
    """Kernel of the convolution that stands for positions, in frames."""
    position_groups: int = 16
    """Its groups."""
    dropout: float = 0.1
    """On the outputs of attention and feed-forward, and before the first block."""
    attention_dropout: float = 0.1
    """On attention weights."""
    ffn_dropout: float = 0.0
    """Inside the feed-forward parts."""
    input_dropout: float = 0.1
    """On the projected frames before masking, and on wav2vec 2.0's targets."""
    layer_drop: float = 0.05
    """Chance that a block is skipped in training (Fan et al. 2020)."""

    def __post_init__(self) -> None:
        counts = {len(self.conv_channels), len(self.conv_kernels), len(self.conv_strides)}
        if len(counts) != 1 or not self.conv_channels:
            raise ConfigError("conv_channels, conv_kernels and conv_strides must be equally long.")
        if min(*self.conv_channels, *self.conv_kernels, *self.conv_strides) < 1:
            raise ConfigError("conv_channels, conv_kernels and conv_strides must be at least 1.")
        if self.front == "log-mel" and not all(kernel % 2 for kernel in self.conv_kernels):
            raise ConfigError("conv_kernels of the log-mel front end must be odd.")
        require_range(
            self,
            conv_gradient_scale=(1e-6, 1),
            model_dim=(1, 16384),
            layers=(1, 256),
            heads=(1, 256),
            ffn_dim=(1, 65536),
            position_kernel=(1, 4096),
            position_groups=(1, 4096),
            dropout=(0, 0.99),
            attention_dropout=(0, 0.99),
            ffn_dropout=(0, 0.99),
            input_dropout=(0, 0.99),
            layer_drop=(0, 0.99),
        )
        if self.model_dim % self.heads or self.model_dim % self.position_groups:
            raise ConfigError(
                f"model_dim {self.model_dim} must be a multiple of heads ({self.heads}) and of "
                f"position_groups ({self.position_groups})."
            )

    @property
    def hop_samples(self) -> int:
        """Samples between two frames."""
        mel = MEL_HOP_SAMPLES if self.front == "log-mel" else 1
        return mel * math.prod(self.conv_strides)

    @property
    def field_samples(self) -> int:
        """Samples that one frame sees: the shortest wave that gives a frame."""
        if self.front == "log-mel":
            return WINDOW_SAMPLES
        samples = 1
        for kernel, stride in zip(
            reversed(self.conv_kernels), reversed(self.conv_strides), strict=True
        ):
            samples = (samples - 1) * stride + kernel
        return samples

    def frames(self, samples: int) -> int:
        """Return how many frames a wave of so many samples gives."""
        if self.front == "log-mel":
            windows = samples - WINDOW_SAMPLES
            return 0 if windows < 0 else 1 + windows // self.hop_samples
        for kernel, stride in zip(self.conv_kernels, self.conv_strides, strict=True):
            samples = (samples - kernel) // stride + 1 if samples >= kernel else 0
        return samples


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """Spans of frames that are hidden from the Transformer."""

    share: float = 0.65
    """Spans times their length as a share of the frames; overlaps leave 0.49 of them hidden."""
    span_frames: int = 10
    """Length of each span."""
    min_spans: int = 2
    """Fewest spans of an utterance."""

    def __post_init__(self) -> None:
        require_range(self, share=(1e-6, 1), span_frames=(1, 1000), min_spans=(1, 1000))


@dataclass(frozen=True, kw_only=True)
class Wav2Vec2Config:
    """wav2vec 2.0: tell the true quantised frame from those of other masked frames."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """The network that is kept."""
    mask: MaskConfig = field(default_factory=MaskConfig)
    """What is hidden."""
    final_dim: int = 256
    """Width in which contexts and targets are compared."""
    codebooks: int = 2
    """Groups of the quantiser, G."""
    codebook_size: int = 320
    """Entries of each group, V."""
    code_dim: int = 256
    """Width of a quantised frame over all groups."""
    distractors: int = 100
    """Other masked frames of the utterance that the true one is compared with, K."""
    logit_temperature: float = 0.1
    """Cosines are divided by it."""
    gumbel_start: float = 2.0
    """Temperature of the draw of entries at first."""
    gumbel_end: float = 0.5
    """Its lowest value."""
    gumbel_decay: float = 0.999995
    """Its factor for each update of the optimiser (not for each forward pass)."""
    diversity_weight: float = 0.1
    """Weight of the loss that keeps all entries in use."""
    penalty_weight: float = 10.0
    """Weight of the mean square of the convolutions' output."""

    def __post_init__(self) -> None:
        require_range(
            self,
            final_dim=(1, 16384),
            codebooks=(1, 64),
            codebook_size=(2, 65536),
            code_dim=(1, 16384),
            distractors=(1, 10_000),
            logit_temperature=(1e-6, 100),
            gumbel_start=(1e-6, 100),
            gumbel_end=(1e-6, 100),
            gumbel_decay=(1e-6, 1),
            diversity_weight=(0, 1e6),
            penalty_weight=(0, 1e6),
        )
        if self.code_dim % self.codebooks:
            raise ConfigError(
                f"code_dim {self.code_dim} must be a multiple of codebooks ({self.codebooks})."
            )


@dataclass(frozen=True, kw_only=True)
class HubertConfig:
    """HuBERT: name the cluster of each masked frame."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """The network that is kept."""
    mask: MaskConfig = field(default_factory=lambda: MaskConfig(share=0.8))
    """What is hidden."""
    clusters: int = 100
    """Classes: the clusters of the units file."""
    label_rate_hz: int = 100
    """Units a second: 100 for MFCC units, 50 for units of an encoder."""
    final_dim: int = 256
    """Width in which frames and cluster embeddings are compared."""
    logit_temperature: float = 0.1
    """Cosines are divided by it."""
    masked_weight: float = 1.0
    """Weight of the loss on hidden frames."""
    seen_weight: float = 0.0
    """Weight of the loss on frames that were not hidden."""
    penalty_weight: float = 10.0
    """Weight of the mean square of the convolutions' output."""

    def __post_init__(self) -> None:
        require_range(
            self,
            clusters=(2, 100_000),
            label_rate_hz=(1, 16_000),
            final_dim=(1, 16384),
            logit_temperature=(1e-6, 100),
            masked_weight=(0, 1e6),
            seen_weight=(0, 1e6),
            penalty_weight=(0, 1e6),
        )


@dataclass(frozen=True, kw_only=True)
class BestRqConfig:
    """BEST-RQ (Chiu et al. 2022): name the random code of each masked frame."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """The network that is kept; its frames must be whole multiples of 10 ms."""
    mask: MaskConfig = field(default_factory=lambda: MaskConfig(share=0.4, span_frames=20))
    """What is hidden: the paper starts a span of 400 ms at 1 % of its mel frames, which are of
    10 ms."""
    codebook_size: int = 8192
    """Entries of the codebook, V."""
    code_dim: int = 16
    """Width of an entry."""
    seen_weight: float = 0.0
    """Weight of the loss on frames that were not hidden."""

    def __post_init__(self) -> None:
        require_range(self, codebook_size=(2, 100_000), code_dim=(1, 4096), seen_weight=(0, 1e6))
        if self.encoder.hop_samples % MEL_HOP_SAMPLES:
            raise ConfigError(
                f"BEST-RQ's codes are of whole 10 ms: the strides of the encoder give frames of "
                f"{self.encoder.hop_samples} samples, which is no multiple of {MEL_HOP_SAMPLES}."
            )


ModelConfig = Wav2Vec2Config | HubertConfig | BestRqConfig
