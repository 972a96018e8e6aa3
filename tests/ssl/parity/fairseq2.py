"""fairseq2's model of the same network, for tests where it is installed (the extra `parity`)."""

from __future__ import annotations

from typing import Any

from speechkit.ssl.config import EncoderConfig


def fairseq2_config(config: EncoderConfig) -> Any:
    """Return fairseq2's config of the same network."""
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
