"""The encoder that all tasks share: fairseq2's wav2vec 2.0 front end and Transformer.

Parameters carry fairseq2's names, so its checkpoints fit key by key.

Shapes: B batch, T samples, F frames, D width, C channels of the last convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from speechkit.core.errors import AudioError
from speechkit.core.rng import derive, seeded
from speechkit.ssl.config import SAMPLE_RATE_HZ, EncoderConfig
from speechkit.ssl.fairseq import require_fairseq2
from speechkit.ssl.frontend import LogMelFrontEnd

if TYPE_CHECKING:
    from fairseq2.models.transformer import TransformerEncoder
    from fairseq2.models.wav2vec2 import Wav2Vec2EncoderConfig, Wav2Vec2Frontend


@dataclass(frozen=True, kw_only=True, eq=False)
class HiddenStates:
    """What each level of an encoder makes of a batch."""

    layers: tuple[Tensor, ...]
    """BFD each: the input of the first block, then the output of every block, the last one after
    the final LayerNorm if there is one."""
    frames_B: list[int]
    """Valid frames of each row."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """Output of the convolutions."""

    normed_BFC: Tensor
    """After LayerNorm: what the Transformer reads and what wav2vec 2.0 quantises."""
    raw_BFC: Tensor
    """Before it."""
    frames_B: list[int]
    """Valid frames of each row."""


class SslEncoder(nn.Module):
    """Waves to frames, of 20 ms as a rule."""

    encoder_frontend: Wav2Vec2Frontend
    encoder: TransformerEncoder

    def __init__(
        self, config: EncoderConfig, encoder_frontend: Wav2Vec2Frontend, encoder: TransformerEncoder
    ) -> None:
        super().__init__()
        self.config = config
        self.encoder_frontend = encoder_frontend
        self.encoder = encoder
        # wav2vec 2.0 draws it uniformly; fine-tuning reuses it.
        self.mask_D = nn.Parameter(torch.rand(config.model_dim))

    @property
    def rate_hz(self) -> int:
        """Frames a second."""
        return SAMPLE_RATE_HZ // self.config.hop_samples

    def features(self, wave_BT: Tensor, lengths_B: Sequence[int] | None = None) -> Features:
        """Run the convolutions; ``lengths_B`` are the valid samples of padded rows.

        Raises AudioError for a row too short for one frame.
        """
        from fairseq2.nn import BatchLayout

        shortest = min(lengths_B) if lengths_B is not None else wave_BT.shape[1]
        if self.config.frames(shortest) < 1:
            raise AudioError(
                f"A wave of {shortest} samples is too short: the encoder needs at least "
                f"{self.config.field_samples} at 16 kHz."
            )
        lengths = None if lengths_B is None else list(lengths_B)
        layout = BatchLayout.of(wave_BT, seq_lens=lengths)
        normed_BFC, layout, raw_BFC = self.encoder_frontend.extract_features(wave_BT, layout)
        return Features(normed_BFC=normed_BFC, raw_BFC=raw_BFC, frames_B=list(layout.seq_lens))

    def project(
        self, features: Features, masked_BF: Tensor | None = None, channels_BD: Tensor | None = None
    ) -> Tensor:
        """Return the Transformer's input: projected, masked, with positions, normalised.

        ``masked_BF`` is True on frames that become the mask vector; ``channels_BD`` is True on
        channels that become zero over the whole row (fine-tuning only).
        """
        from fairseq2.nn import BatchLayout

        front = self.encoder_frontend
        x_BFD = features.normed_BFC
        if front.model_dim_proj is not None:
            x_BFD = front.model_dim_proj(x_BFD)
        if front.first_pass_dropout is not None:
            x_BFD = front.first_pass_dropout(x_BFD)
        if masked_BF is not None:
            x_BFD = torch.where(masked_BF[:, :, None], self.mask_D.to(x_BFD.dtype), x_BFD)
        else:
            # Keeps the mask vector in the graph, as data-parallel training wants every parameter.
            x_BFD = x_BFD + 0.0 * self.mask_D.to(x_BFD.dtype)
        if channels_BD is not None:
            x_BFD = x_BFD.masked_fill(channels_BD[:, None, :], 0.0)
        layout = BatchLayout.of(x_BFD, seq_lens=features.frames_B)
        if front.pos_encoder is not None:
            x_BFD = front.pos_encoder(x_BFD, layout)
        if front.layer_norm is not None:
            x_BFD = front.layer_norm(x_BFD)
        return x_BFD if front.dropout is None else front.dropout(x_BFD)

    def transform(self, x_BFD: Tensor, frames_B: Sequence[int]) -> Tensor:
        """Run the Transformer; returns BFD."""
        from fairseq2.nn import BatchLayout

        return self.encoder(x_BFD, BatchLayout.of(x_BFD, seq_lens=list(frames_B)))

    def hidden_states(
        self, wave_BT: Tensor, lengths_B: Sequence[int] | None = None
    ) -> HiddenStates:
        """Return every level, as transformers' `output_hidden_states` does.

        The last one has passed the LayerNorm behind the blocks where there is one (norm_order
        "pre"): it equals what `forward` returns. The encoder must be in evaluation mode; threads
        may share it.
        """
        from fairseq2.models.transformer import AttentionBiasCache
        from fairseq2.nn import BatchLayout

        features = self.features(wave_BT, lengths_B)
        x_BFD = self.project(features)
        states = [x_BFD]
        # A plain loop, as `transform` runs it: hooks on the shared module would mix up threads.
        layout, cache = BatchLayout.of(x_BFD, seq_lens=features.frames_B), AttentionBiasCache()
        for block in self.encoder.get_submodule("layers").children():
            x_BFD = block(x_BFD, layout, cache)
            states.append(x_BFD)
        if self.config.norm_order == "pre":
            states[-1] = self.encoder.get_submodule("layer_norm")(x_BFD)
        return HiddenStates(layers=tuple(states), frames_B=features.frames_B)

    def forward(
        self,
        wave_BT: Tensor,
        lengths_B: Sequence[int] | None = None,
        masked_BF: Tensor | None = None,
        channels_BD: Tensor | None = None,
    ) -> tuple[Tensor, list[int]]:
        """Return states_BFD of the last level and the valid frames of each row."""
        features = self.features(wave_BT, lengths_B)
        x_BFD = self.project(features, masked_BF, channels_BD)
        return self.transform(x_BFD, features.frames_B), features.frames_B


def fairseq2_config(config: EncoderConfig) -> Wav2Vec2EncoderConfig:
    """Return fairseq2's config of the same network."""
    require_fairseq2()
    from fairseq2.models.transformer import TransformerNormOrder
    from fairseq2.models.wav2vec2 import Wav2Vec2EncoderConfig

    convs = zip(config.conv_channels, config.conv_kernels, config.conv_strides, strict=True)
    post = config.norm_order == "post"
    return Wav2Vec2EncoderConfig(
        model_dim=config.model_dim,
        feature_dim=config.conv_channels[-1],
        first_pass_dropout_p=config.input_dropout,
        layer_norm_features=post,
        feature_extractor_layer_descs=list(convs),
        feature_extractor_bias=config.conv_bias,
        feature_extractor_layer_norm_convs=config.conv_norm == "layer",
        feature_grad_scale=config.conv_gradient_scale,
        pos_conv_kernel_size=config.position_kernel,
        num_pos_conv_groups=config.position_groups,
        num_encoder_layers=config.layers,
        num_encoder_attn_heads=config.heads,
        ffn_inner_dim=config.ffn_dim,
        dropout_p=config.dropout,
        attn_dropout_p=config.attention_dropout,
        ffn_inner_dropout_p=config.ffn_dropout,
        layer_drop_p=config.layer_drop,
        norm_order=TransformerNormOrder.POST if post else TransformerNormOrder.PRE,
    )


def build_encoder(config: EncoderConfig, seed: int = 0) -> SslEncoder:
    """Return an encoder with random weights, the same for the same seed."""
    require_fairseq2()
    from fairseq2.models.wav2vec2 import Wav2Vec2EncoderFactory

    factory = Wav2Vec2EncoderFactory(fairseq2_config(config))
    # fairseq2 draws from torch's default generator.
    with seeded(derive(seed, "encoder")):
        encoder = SslEncoder(config, factory.create_encoder_frontend(), factory.create_encoder())
        if config.front == "log-mel":
            front = encoder.encoder_frontend
            front.register_module("feature_extractor", LogMelFrontEnd(config))
        return encoder
