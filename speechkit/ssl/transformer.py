"""The Transformer of wav2vec 2.0 and HuBERT (Vaswani et al. 2017; Baevski et al. 2020).

Parameters carry fairseq2's names, so its checkpoints fit key by key.

Shapes: B batch, F frames, D width, H heads, E width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechkit.ssl.config import EncoderConfig


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """A projection drawn as BERT draws its own."""
    linear: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)  # type: ignore[no-untyped-call]
    nn.init.normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)
    return linear


class SelfAttention(nn.Module):
    """Every frame looks at every valid one."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.model_dim
        self.heads, self.dropout = config.heads, config.attention_dropout
        self.q_proj, self.k_proj = _linear(width, width), _linear(width, width)
        self.v_proj, self.output_proj = _linear(width, width), _linear(width, width)

    def forward(self, x_BFD: Tensor, valid_BF: Tensor | None) -> Tensor:
        """BFD."""
        q_BHFE, k_BHFE, v_BHFE = (
            projection(x_BFD).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        read_BHFE = functional.scaled_dot_product_attention(
            q_BHFE,
            k_BHFE,
            v_BHFE,
            attn_mask=None if valid_BF is None else valid_BF[:, None, None],
            dropout_p=self.dropout if self.training else 0.0,
        )
        read_BFD: Tensor = self.output_proj(read_BHFE.transpose(1, 2).flatten(2))
        return read_BFD


class FeedForward(nn.Module):
    """Two projections of each frame with GELU between them."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.inner_proj = _linear(config.model_dim, config.ffn_dim)
        self.inner_dropout = nn.Dropout(config.ffn_dropout)
        self.output_proj = _linear(config.ffn_dim, config.model_dim)

    def forward(self, x_BFD: Tensor) -> Tensor:
        """BFD."""
        inner = self.inner_dropout(functional.gelu(self.inner_proj(x_BFD)))
        out_BFD: Tensor = self.output_proj(inner)
        return out_BFD


class Block(nn.Module):
    """Attention and feed-forward, each with its residual and a norm before or after it."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.norm_first = config.norm_order == "pre"
        self.self_attn = SelfAttention(config)
        self.self_attn_layer_norm = nn.LayerNorm(config.model_dim)
        self.ffn = FeedForward(config)
        self.ffn_layer_norm = nn.LayerNorm(config.model_dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BFD: Tensor, valid_BF: Tensor | None) -> Tensor:
        """BFD."""
        out_BFD: Tensor
        if self.norm_first:
            normed_BFD = self.self_attn_layer_norm(x_BFD)
            x_BFD = x_BFD + self.dropout(self.self_attn(normed_BFD, valid_BF))
            out_BFD = x_BFD + self.dropout(self.ffn(self.ffn_layer_norm(x_BFD)))
        else:
            x_BFD = self.self_attn_layer_norm(x_BFD + self.dropout(self.self_attn(x_BFD, valid_BF)))
            out_BFD = self.ffn_layer_norm(x_BFD + self.dropout(self.ffn(x_BFD)))
        return out_BFD


class Transformer(nn.Module):
    """Blocks, some of which are skipped in training (Fan et al. 2020, LayerDrop)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.layer_drop = config.layer_drop
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        pre = config.norm_order == "pre"
        self.layer_norm = nn.LayerNorm(config.model_dim) if pre else nn.Identity()

    def forward(self, x_BFD: Tensor, valid_BF: Tensor | None) -> Tensor:
        """BFD of the last block."""
        skipping = self.training and self.layer_drop > 0
        # On the CPU, so that no device is waited for.
        draws: list[float] = torch.rand(len(self.layers), device="cpu").tolist() if skipping else []
        for index, block in enumerate(self.layers):
            made_BFD = block(x_BFD, valid_BF)
            if draws and draws[index] <= self.layer_drop:
                # Computed all the same: processes that share its weights (FSDP) wait for each
                # other in every block, and each draws for itself what it skips.
                x_BFD = x_BFD + 0.0 * made_BFD
            else:
                x_BFD = made_BFD
        out_BFD: Tensor = self.layer_norm(x_BFD)
        return out_BFD
