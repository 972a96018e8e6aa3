"""Discriminators of waves and of log-mel frames; all give feature maps, the last one the scores.

A discriminator is a set of small convolutional networks that each look at another side of the
signal. Its output is a list with one entry a network: that network's maps in order of depth.

Shapes: B batch, T samples, P samples of one period, J STFT frames, N frequency bins, M mel bands,
G mel frames, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from speechkit.core.config import require_range

Maps = list[list[Tensor]]
"""For each network its feature maps, the score map last."""

SLOPE = 0.1
"""Slope of the leaky rectifiers below zero."""


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """The two kinds of wave discriminator of DAC (Kumar et al. 2023, section 3.4) and their size.

    The widths are DAC's; a tenth of them is enough to polish a small codec and runs on a CPU.
    """

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    """Periods, in samples, of the multi-period discriminator; none leaves it out."""

    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    """Widths of its layers; all but the last divide the time by three."""

    windows: tuple[int, ...] = (2048, 1024, 512)
    """Windows, in samples, of the multi-band spectrogram discriminator; none leaves it out."""

    bands: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
    """Edges of its bands, as shares of half the sample rate; each has its own layers."""

    band_channels: int = 32
    """Width of its layers."""

    def __post_init__(self) -> None:
        require_range(self, band_channels=(1, 4096))
        if not self.periods and not self.windows:
            raise ValueError("periods and windows must not both be empty")
        if not all(period >= 1 for period in self.periods):
            raise ValueError(f"periods must be at least 1, not {self.periods}")
        if not all(window >= 16 for window in self.windows):
            raise ValueError(f"windows must be at least 16, not {self.windows}")
        if not self.period_channels or not all(width >= 1 for width in self.period_channels):
            raise ValueError(f"period_channels must be at least 1, not {self.period_channels}")
        rising = all(low < high for low, high in pairwise(self.bands))
        if not rising or self.bands[:1] != (0,) or self.bands[-1:] != (1,):
            raise ValueError(f"bands must rise from 0 to 1, not {self.bands}")


@dataclass(frozen=True, kw_only=True)
class PatchConfig:
    """A discriminator of log-mel frames, which scores patches of them."""

    scales: int = 3
    """Networks; each sees frames and bands at half the resolution of the one before."""

    channels: tuple[int, ...] = (16, 32, 64)
    """Widths of the layers; each halves frames and bands."""

    def __post_init__(self) -> None:
        require_range(self, scales=(1, 5))
        if not self.channels or not all(width >= 1 for width in self.channels):
            raise ValueError(f"channels must be at least 1, not {self.channels}")


class _Convolution(nn.Conv2d):
    """A convolution whose gradients are numbers in bfloat16 on a CPU too.

    Where it strides over an axis that is no longer than its padding, torch 2.x reads memory there
    that nobody wrote: gradients are now right, now not numbers. Such maps are tiny; they are
    computed in single precision.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The maps of `x_BCHW`."""
        halves = (side // 2 for side in self.kernel_size)
        if all(size > half for size, half in zip(x_BCHW.shape[2:], halves, strict=True)):
            return super().forward(x_BCHW)
        with torch.autocast(x_BCHW.device.type, enabled=False):
            return super().forward(x_BCHW.to(self.bias.dtype))  # type: ignore[union-attr]


def _convolution(
    inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1)
) -> nn.Module:
    """A weight-normalised convolution that keeps the size where it does not stride."""
    padding = (kernel[0] // 2, kernel[1] // 2)
    layer: nn.Module = weight_norm(_Convolution(inputs, outputs, kernel, stride, padding))
    return layer


def _activated(x: Tensor) -> Tensor:
    return nn.functional.leaky_relu(x, SLOPE)


class PeriodDiscriminator(nn.Module):
    """Looks at every `period`-th sample (Kong et al. 2020, "HiFi-GAN", section 2.3)."""

    def __init__(self, period: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.period = period
        widths = [1, *channels]
        self.layers = nn.ModuleList(
            _convolution(before, after, (5, 1), (3 if k + 2 < len(widths) else 1, 1))
            for k, (before, after) in enumerate(pairwise(widths))
        )
        self.score = _convolution(widths[-1], 1, (3, 1))

    def forward(self, wave_BT: Tensor) -> list[Tensor]:
        """Maps of `wave_BT`, whose end is mirrored to a whole number of periods."""
        missing = -wave_BT.shape[-1] % self.period
        padded = nn.functional.pad(wave_BT[:, None], (0, missing), mode="reflect")
        x = padded.reshape(len(wave_BT), 1, -1, self.period)
        maps = []
        for layer in self.layers:
            x = _activated(layer(x))
            maps.append(x)
        return [*maps, self.score(x)]


class BandDiscriminator(nn.Module):
    """Looks at real and imaginary part of a spectrogram, band by band (Kumar et al. 2023, 3.4)."""

    window: Tensor

    def __init__(self, window: int, bands: Sequence[float], channels: int) -> None:
        super().__init__()
        bins = window // 2 + 1
        self.edges = [round(edge * bins) for edge in bands]
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        self.bands = nn.ModuleList(self._layers(channels) for _ in range(len(bands) - 1))
        self.score = _convolution(channels, 1, (3, 3))

    @staticmethod
    def _layers(channels: int) -> nn.ModuleList:
        """The layers of one band: wide over frequency, three times halving it."""
        halving = [_convolution(channels, channels, (3, 9), (1, 2)) for _ in range(3)]
        return nn.ModuleList(
            [
                _convolution(2, channels, (3, 9)),
                *halving,
                _convolution(channels, channels, (3, 3)),
            ]
        )

    def spectrogram(self, wave_BT: Tensor) -> Tensor:
        """Complex spectrogram `[B, 2, J, N]` in single precision, of unit scale for unit noise."""
        with torch.autocast(wave_BT.device.type, enabled=False):
            length = len(self.window)
            spectrum = torch.stft(
                wave_BT.to(self.window.dtype),
                length,
                hop_length=length // 4,
                window=self.window,
                normalized=True,
                return_complex=True,
            )
            return torch.view_as_real(spectrum).permute(0, 3, 2, 1)

    def forward(self, wave_BT: Tensor) -> list[Tensor]:
        """Maps of `wave_BT`, which must be longer than half the window."""
        spectrum = self.spectrogram(wave_BT)
        maps, last = [], []
        for layers, (low, high) in zip(self.bands, pairwise(self.edges), strict=True):
            x = spectrum[..., low:high]
            assert isinstance(layers, nn.ModuleList)
            for layer in layers:
                x = _activated(layer(x))
                maps.append(x)
            last.append(x)
        return [*maps, self.score(torch.cat(last, dim=-1))]


class WaveDiscriminator(nn.Module):
    """Both kinds of wave discriminator side by side."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            [PeriodDiscriminator(period, config.period_channels) for period in config.periods]
            + [
                BandDiscriminator(window, config.bands, config.band_channels)
                for window in config.windows
            ]
        )

    def forward(self, wave_BT: Tensor) -> Maps:
        """Maps of `wave_BT`, whose mean and level no part gets to see.

        Without them the level, which any reconstruction loss sets right, is the first thing that
        tells the two apart.
        """
        centred = wave_BT - wave_BT.mean(dim=-1, keepdim=True)
        levelled = centred / (centred.abs().amax(dim=-1, keepdim=True) + 1e-4)
        return [part(levelled) for part in self.parts]


class PatchNetwork(nn.Module):
    """Scores overlapping patches of log-mel frames (Isola et al. 2017, section 3.2.2)."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            _convolution(before, after, (5, 5), (2, 2))
            for before, after in pairwise([2, *channels])
        )
        self.score = _convolution(channels[-1], 1, (3, 3))

    def forward(self, x_B2MG: Tensor) -> list[Tensor]:
        """Maps of frames and the place of each band."""
        x, maps = x_B2MG, []
        for layer in self.layers:
            x = _activated(layer(x))
            maps.append(x)
        return [*maps, self.score(x)]


class PatchDiscriminator(nn.Module):
    """Patch networks at several resolutions."""

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        self.parts = nn.ModuleList(PatchNetwork(config.channels) for _ in range(config.scales))

    def forward(self, mel_BMG: Tensor) -> Maps:
        """Maps of natural-log mel frames (see `core.mel`).

        A convolution cannot know whether it looks at low or high bands; a second channel says it
        (Liu et al. 2018, "CoordConv").
        """
        frames = (mel_BMG + 5.0) / 3.0
        place_M1 = torch.linspace(-1, 1, mel_BMG.shape[1], device=mel_BMG.device)[:, None]
        x = torch.stack([frames, place_M1.to(frames.dtype).expand_as(frames)], dim=1)
        maps = []
        for number, part in enumerate(self.parts):
            if number:
                x = nn.functional.avg_pool2d(x, 2)
            maps.append(part(x))
        return maps


def build_wave_discriminator(config: DiscriminatorConfig) -> WaveDiscriminator:
    """A wave discriminator with fresh weights."""
    return WaveDiscriminator(config)


def build_patch_discriminator(config: PatchConfig) -> PatchDiscriminator:
    """A log-mel discriminator with fresh weights."""
    return PatchDiscriminator(config)
