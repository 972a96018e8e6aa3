"""Parity cases: the same computation by our code and by the public code, on the same weights.

Each case gives named tensors. Sizes are `SMALL`, whose results are stored, or `FULL`, those of
the public checkpoints but for the two largest predictors.

Shapes: B batch, D channels, T samples, F frames, K codebooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from speechkit.facodec.paper.alias_free import AliasFreeSnake, low_pass_taps
from speechkit.facodec.paper.config import PaperCodecConfig, TransformerConfig
from speechkit.facodec.paper.convolution import DownBlock, Encoder, ResidualUnit, UpBlock
from speechkit.facodec.paper.transformer import TransformerEncoder, sinusoids
from speechkit.facodec.quantizer import QuantizerConfig
from tests.facodec.paper import reference
from tests.facodec.paper.builders import noise, randomize

Tensors = dict[str, Tensor]

FULL = PaperCodecConfig(
    batch_index_position=True,
    reverse_prosody_phone=True,
    reverse_content_f0=True,
    phone_classes=50,
    speakers=20,
)
SMALL = replace(
    FULL,
    encoder_channels=4,
    channels=32,
    generator_channels=32,
    quantizer=QuantizerConfig(codebook_size=64, code_channels=8),
    transformer=TransformerConfig(layers=2, filter_channels=48),
    phone_classes=11,
    speakers=5,
)
COMMON_TOLERANCE = 1e-5
WAVE_TOLERANCE = 1e-4
"""For results behind the whole codec."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One comparison."""

    name: str
    ours: Callable[[], Tensors]
    public: Callable[[ModuleType], Tensors]
    tolerance: float = COMMON_TOLERANCE


def filled(module: nn.Module, seed: int = 0) -> nn.Module:
    randomize(module.eval(), seed)
    return module


def parts(config: PaperCodecConfig) -> Iterator[Case]:
    """P0 to P5 and P9, P10: everything below the codec."""
    yield Case(
        name="P0 filter taps",
        ours=lambda: {"taps": low_pass_taps()},
        public=lambda m: {"taps": m.kaiser_sinc_filter1d(0.25, 0.3, 12).flatten()},
        tolerance=1e-6,
    )
    yield _snake()
    for samples in (1, 2, 7, 64):
        yield _filters(samples)
    width = 8 if config.channels < 256 else 16
    for dilation in (1, 2, 3, 9):
        yield _same(
            f"P3 residual unit, dilation {dilation}",
            partial(ResidualUnit, width, dilation),
            ("ResidualUnit", width, dilation),
            [noise(2, width, 50)],
        )
    for stride in (2, 4, 5):
        inputs = [noise(1, width, samples) for samples in (100, 101, 103)]
        yield _same(
            f"P4 encoder block, stride {stride}",
            partial(DownBlock, width, stride),
            ("EncoderBlock", 2 * width, stride),
            inputs,
        )
        yield _same(
            f"P4 generator block, stride {stride}",
            partial(UpBlock, width, stride),
            ("DecoderBlock", width, width // 2, stride),
            [part[..., :count] for part, count in zip(inputs, (1, 22, 23), strict=True)],
        )
    yield from _encoders(config)
    yield _positions(config)
    for conditional in (False, True):
        for masked in (False, True):
            yield _transformer(config, conditional=conditional, masked=masked)


def _snake() -> Case:
    x = noise(2, 16, 37, peak=2.0)

    def public(m: ModuleType) -> Tensors:
        theirs = m.SnakeBeta(16, alpha_logscale=True)
        reference.copy_in_order(ours, theirs)
        return {"out": theirs(x)}

    ours = filled(AliasFreeSnake(16))
    assert isinstance(ours, AliasFreeSnake)
    return Case(name="P1 snake", ours=lambda: {"out": ours.snake(x)}, public=public)


def _filters(samples: int) -> Case:
    x = noise(2, 4, samples)
    ours = filled(AliasFreeSnake(4))
    assert isinstance(ours, AliasFreeSnake)

    def public(m: ModuleType) -> Tensors:
        theirs = m.Activation1d(activation=m.SnakeBeta(4, alpha_logscale=True))
        reference.copy_in_order(ours, theirs)
        up = m.UpSample1d(2, 12)(x)
        return {"up": up, "down": m.DownSample1d(2, 12)(x), "act": theirs(x)}

    return Case(
        name=f"P2 up, down, activation, {samples} samples",
        ours=lambda: {"up": ours.up(x), "down": ours.down(x), "act": ours(x)},
        public=public,
    )


def _same(
    name: str,
    build: Callable[[], nn.Module],
    public_class: tuple[Any, ...],
    inputs: list[Tensor],
) -> Case:
    """A module that both sides call alike; the public one as its class and arguments."""

    def public(m: ModuleType) -> Tensors:
        theirs = getattr(m, public_class[0])(*public_class[1:])
        reference.copy_in_order(filled(build()), theirs)
        return {str(x.shape[-1]): theirs(x) for x in inputs}

    def ours() -> Tensors:
        module = filled(build())
        return {str(x.shape[-1]): module(x) for x in inputs}

    return Case(name=name, ours=ours, public=public)


def _encoders(config: PaperCodecConfig) -> Iterator[Case]:
    small = config.channels < 256
    waves = [(1, 3200), (2, 1600), (1, 1999)] if small else [(1, 16_000), (2, 3200), (1, 1999)]

    sizes = (config.encoder_channels, config.strides, config.channels)

    def public(m: ModuleType, wave_BT: Tensor) -> Tensors:
        theirs = m.FACodecEncoder(*sizes)
        reference.copy_in_order(filled(Encoder(*sizes)), theirs)
        return {"out": theirs(wave_BT[:, None])}

    def ours(wave_BT: Tensor) -> Tensors:
        return {"out": filled(Encoder(*sizes))(wave_BT)}

    for batch, samples in waves:
        wave_BT = noise(batch, samples)
        yield Case(
            name=f"P5 encoder, {batch} x {samples} samples",
            ours=partial(ours, wave_BT),
            public=partial(public, wave_BT=wave_BT),
        )


def _positions(config: PaperCodecConfig) -> Case:
    width = config.channels

    def public(m: ModuleType) -> Tensors:
        code = reference.part(m, "transformer").PositionalEncoding(width, 0.0)
        return {str(b): code(torch.zeros(b, 2, width)) for b in (1, 3)}

    def ours() -> Tensors:
        return {
            str(b): sinusoids(b, width, torch.zeros(()))[:, None].expand(b, 2, width)
            for b in (1, 3)
        }

    return Case(name="P9 position codes", ours=ours, public=public)


def _transformer(config: PaperCodecConfig, *, conditional: bool, masked: bool) -> Case:
    width, batch, frames = config.channels, 2, 12 if config.channels < 256 else 50
    x_BFD, condition_BD = noise(batch, frames, width, peak=1.0), noise(batch, width, seed=2)
    lengths_B = torch.tensor([frames, frames - 5])
    keep_BF = torch.arange(frames) < lengths_B[:, None]

    def build() -> nn.Module:
        return filled(
            TransformerEncoder(
                width, config.transformer, batch_index_position=True, conditional=conditional
            )
        )

    def public(m: ModuleType) -> Tensors:
        with reference.sized(m, config.transformer, width):
            theirs = m.TransformerEncoder(use_cln=conditional).eval()
        reference.copy_in_order(build(), theirs)
        condition = condition_BD[:, None].expand(-1, frames, -1) if conditional else None
        mask = keep_BF.long() if masked else None
        return {"out": theirs(x_BFD, mask, condition)}

    def ours() -> Tensors:
        out = build()(
            x_BFD,
            keep_BF=keep_BF if masked else None,
            condition_BD=condition_BD if conditional else None,
        )
        return {"out": out}

    style = "conditional" if conditional else "plain"
    return Case(
        name=f"P10 transformer, {style}{', masked' if masked else ''}", ours=ours, public=public
    )
