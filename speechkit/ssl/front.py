"""What stands before the Transformer: convolutions on the wave, positions, and what joins them.

Parameters carry fairseq2's names, so its checkpoints fit key by key.

Shapes: B batch, T samples, F frames, C channels of the last convolution, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechkit.ssl.config import EncoderConfig
from speechkit.ssl.frontend import LogMelFrontEnd


def valid_frames(lengths_B: Sequence[int], x_BFD: Tensor) -> Tensor | None:
    """Return valid_BF, True on frames within each row's length; None where nothing is padded."""
    if min(lengths_B) == x_BFD.shape[1]:
        return None
    # Not onto the device at once, which waits for it.
    lengths = torch.tensor(list(lengths_B)).to(x_BFD.device, non_blocking=True)
    return torch.arange(x_BFD.shape[1], device=x_BFD.device) < lengths[:, None]


class _ScaledGradient(torch.autograd.Function):
    """Passes a tensor on and its gradient times a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None


class WaveLayer(nn.Module):
    """A strided convolution, a norm where the config has one, and GELU."""

    def __init__(self, inputs: int, index: int, config: EncoderConfig) -> None:
        super().__init__()
        channels, bias = config.conv_channels[index], config.conv_bias
        kernel, stride = config.conv_kernels[index], config.conv_strides[index]
        self.conv: nn.Conv1d = nn.utils.skip_init(  # type: ignore[no-untyped-call]
            nn.Conv1d, inputs, channels, kernel, stride, bias=bias
        )
        if bias:
            self.conv.reset_parameters()
        nn.init.kaiming_normal_(self.conv.weight)
        by_layer = config.conv_norm == "layer"
        self.layer_norm = nn.LayerNorm(channels) if by_layer else None
        self.group_norm = nn.GroupNorm(channels, channels) if not by_layer and not index else None

    def forward(self, x_BCF: Tensor) -> Tensor:
        """Fewer frames of this layer's channels."""
        x_BCF = self.conv(x_BCF)
        if self.group_norm is not None:
            x_BCF = self.group_norm(x_BCF.float()).to(x_BCF.dtype)
        if self.layer_norm is not None:
            x_BCF = self.layer_norm(x_BCF.transpose(1, 2).float()).to(x_BCF.dtype).transpose(1, 2)
        return functional.gelu(x_BCF)


class WaveFrontEnd(nn.Module):
    """The convolutions of wav2vec 2.0, section 2."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        inputs = (1, *config.conv_channels)
        self.layers = nn.ModuleList(
            WaveLayer(inputs[index], index, config) for index in range(len(config.conv_channels))
        )

    def forward(self, wave_BT: Tensor, lengths_B: Sequence[int]) -> tuple[Tensor, list[int]]:
        """Return features_BFC and the valid frames of each row."""
        x_BCF = wave_BT[:, None]
        for layer in self.layers:
            x_BCF = layer(x_BCF)
        if self.training and self.config.conv_gradient_scale != 1:
            scale = self.config.conv_gradient_scale
            x_BCF = _ScaledGradient.apply(x_BCF, scale)  # type: ignore[no-untyped-call]
        return x_BCF.transpose(1, 2), [self.config.frames(samples) for samples in lengths_B]


class PositionConv(nn.Module):
    """A grouped convolution with its weights' direction and length apart (section 2)."""

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.groups, self.padding = groups, kernel // 2
        weight = torch.empty(width, width // groups, kernel)
        nn.init.normal_(weight, std=(4.0 / (kernel * width)) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(width))
        self.weight_g = nn.Parameter(torch.linalg.vector_norm(weight, dim=(0, 1), keepdim=True))
        self.weight_v = nn.Parameter(weight)

    @property
    def weight(self) -> Tensor:
        """The kernel: for each of its places, a direction times a length (Salimans 2016)."""
        length = torch.linalg.vector_norm(self.weight_v, dim=(0, 1), keepdim=True)
        kernel: Tensor = self.weight_v * (self.weight_g / length)
        return kernel

    def forward(self, x_BDF: Tensor) -> Tensor:
        """As many frames as go in, or one more where the kernel is even."""
        return functional.conv1d(
            x_BDF, self.weight, self.bias, padding=self.padding, groups=self.groups
        )


class PositionEncoder(nn.Module):
    """Adds what a convolution with a wide kernel sees around each frame."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.conv = PositionConv(config.model_dim, config.position_kernel, config.position_groups)

    def forward(self, x_BFD: Tensor, valid_BF: Tensor | None) -> Tensor:
        """Frames with positions; what is not valid counts as zero."""
        if valid_BF is not None:
            x_BFD = x_BFD * valid_BF[:, :, None].to(x_BFD.dtype)
        around_BDF = self.conv(x_BFD.transpose(1, 2))[..., : x_BFD.shape[1]]
        return x_BFD + functional.gelu(around_BDF).transpose(1, 2)


class Front(nn.Module):
    """Everything before the Transformer."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        channels, width = config.conv_channels[-1], config.model_dim
        log_mel = config.front == "log-mel"
        self.feature_extractor = LogMelFrontEnd(config) if log_mel else WaveFrontEnd(config)
        self.pos_encoder = PositionEncoder(config)
        self.post_extract_layer_norm = nn.LayerNorm(channels)
        self.model_dim_proj = nn.Linear(channels, width) if channels != width else nn.Identity()
        self.first_pass_dropout = nn.Dropout(config.input_dropout)
        self.layer_norm = nn.LayerNorm(width) if config.norm_order == "post" else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
