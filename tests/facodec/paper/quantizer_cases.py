"""Parity cases of the quantiser.

Shapes: B batch, D channels, F frames, K codebooks.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from speechkit.facodec.paper.config import PaperCodecConfig
from speechkit.facodec.paper.quantizer import PaperResidualQuantizer
from tests.facodec.paper import reference
from tests.facodec.paper.builders import noise, randomize
from tests.facodec.paper.cases import Case, Tensors


def quantizer_cases(config: PaperCodecConfig) -> Iterator[Case]:
    """P6 to P8."""
    for codebooks in (1, 3):
        for training in (False, True):
            yield _quantizer(config, codebooks, training=training)
    yield _first_levels(config)


def _frames(config: PaperCodecConfig) -> int:
    return 9 if config.channels < 256 else 37


def _codebooks(config: PaperCodecConfig, codebooks: int) -> PaperResidualQuantizer:
    quant = config.quantizer
    made = PaperResidualQuantizer(
        config.channels, codebooks, quant.codebook_size, quant.code_channels
    )
    randomize(made.eval(), 3)
    return made


def _public_codebooks(m: ModuleType, config: PaperCodecConfig, ours: PaperResidualQuantizer) -> Any:
    quant = config.quantizer
    theirs = m.ResidualVQ(
        num_quantizers=len(ours.levels),
        codebook_size=quant.codebook_size.bit_length() - 1,
        dim=config.channels,
        codebook_dim=quant.code_channels,
        commitment=config.commitment,
        quantizer_dropout=0.0,
        dropout_type="linear",
    )
    for our, their in zip(ours.quantizers(), theirs.layers, strict=True):
        reference.copy_in_order(our.down, their.in_proj)
        reference.copy_in_order(our.up, their.out_proj)
        their._codebook.weight.data.copy_(our.codebook_VC.data)
    return theirs.eval()


def _quantizer(config: PaperCodecConfig, codebooks: int, *, training: bool) -> Case:
    x_BDF = noise(2, config.channels, _frames(config), peak=1.0)

    def ours() -> Tensors:
        module, x = _codebooks(config, codebooks).train(training), x_BDF.clone().requires_grad_()
        out = module(x)
        losses_K = out.codebook_K + config.commitment * out.commitment_K
        tensors = {"z": out.z_BDF, "codes": out.codes_BKF}
        tensors["embedded"] = module.embed(out.codes_BKF)
        if not training:
            return tensors
        (out.z_BDF.square().sum() + losses_K.sum()).backward()
        grads = {
            f"grad {k} {name}": tensor
            for k, level in enumerate(module.quantizers())
            for name, tensor in {
                "down": _grad(level.down, "original1"),
                "up": _grad(level.up, "original1"),
                "codebook": level.codebook_VC.grad,
            }.items()
            if tensor is not None
        }
        assert x.grad is not None
        return tensors | grads | {"losses": losses_K, "grad x": x.grad}

    def public(m: ModuleType) -> Tensors:
        theirs = _public_codebooks(m, config, _codebooks(config, codebooks)).train(training)
        x = x_BDF.clone().requires_grad_()
        with torch.random.fork_rng(devices=[]):  # it draws numbers that it then ignores
            z, codes, losses, _ = theirs(x)
        tensors = {"z": z, "codes": codes.transpose(0, 1), "embedded": theirs.vq2emb(codes)}
        if not training:
            return tensors
        (z.square().sum() + losses.sum()).backward()
        grads = {}
        for k, level in enumerate(theirs.layers):
            grads[f"grad {k} down"] = level.in_proj.weight_v.grad
            grads[f"grad {k} up"] = level.out_proj.weight_v.grad
            grads[f"grad {k} codebook"] = level._codebook.weight.grad
        return tensors | grads | {"losses": losses, "grad x": x.grad}

    mode = "training, gradients" if training else "evaluation"
    return Case(name=f"P6-P8 quantiser, {codebooks} codebooks, {mode}", ours=ours, public=public)


def _grad(module: nn.Module, name: str) -> Tensor | None:
    return next(p.grad for full, p in module.named_parameters() if full.endswith(name))


def _first_levels(config: PaperCodecConfig) -> Case:
    x_BDF = noise(2, config.channels, _frames(config), peak=1.0)

    def ours() -> Tensors:
        made = {n: _codebooks(config, 3)(x_BDF, codebooks=n) for n in (1, 2)}
        return {f"z {n}": out.z_BDF for n, out in made.items()} | {
            f"codes {n}": out.codes_BKF for n, out in made.items()
        }

    def public(m: ModuleType) -> Tensors:
        theirs = _public_codebooks(m, config, _codebooks(config, 3))
        made = {n: theirs(x_BDF, n_quantizers=n) for n in (1, 2)}
        return {f"z {n}": out[0] for n, out in made.items()} | {
            f"codes {n}": out[1].transpose(0, 1) for n, out in made.items()
        }

    return Case(name="P7 first 1 and 2 of 3 codebooks", ours=ours, public=public)
