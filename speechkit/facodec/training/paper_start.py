"""A start for the paper's codec from the first batch: outputs of unit scale, codebooks full of
entries.

The paper does not say how its network starts. As such layers are usually drawn, each shrinks its
input: what reaches the codebooks is a thousandth of what an optimiser's step adds to the biases on
the way, so that in a few steps every frame falls to the same entry.

Shapes: B batch, T samples, D channels, F code frames, M mel bands, C output channels, N outputs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from speechkit.facodec.paper.codec import PaperCodec


@torch.no_grad()
def start_from_batch(codec: PaperCodec, wave_BT: Tensor, draws: torch.Generator) -> None:
    """Scale the layers up to the codebooks, and fill the codebooks, by one batch.

    The codebooks must be in training mode. Under torchrun all processes call this, and have the
    first one's values afterwards.
    """
    encoder = codec.encoder
    blocks = [encoder.down.get_submodule(f"{n}.conv") for n in range(len(encoder.down))]
    for layer in (encoder.stem, *blocks, encoder.final_conv):
        standardise(layer, lambda: encoder(wave_BT))
    hidden_BDF = encoder(wave_BT)
    mel_BMF = None if codec.prosody_mel is None else codec.prosody_mel(wave_BT)
    for codebook in codec.codebooks():
        # Each codebook reads what the ones before it leave of this batch.
        standardise(codebook.down, lambda: codec.quantize(hidden_BDF, mel_BMF))
        codec.quantize(hidden_BDF, mel_BMF)
        codebook.restart_unused(draws, share=float("inf"))
        standardise(codebook.up, lambda: codec.quantize(hidden_BDF, mel_BMF))
        _share(codebook)


@torch.no_grad()
def standardise(layer: nn.Module, run: Callable[[], object]) -> None:
    """Give each channel of a weight-normalised layer mean 0 and deviation 1 when `run` calls it.

    Data-dependent initialisation by gain and bias (Salimans & Kingma 2016, section 3).
    """
    outputs: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, given, out: outputs.append(out))
    run()
    handle.remove()
    channels_first = isinstance(layer, nn.Conv1d)
    out_NC = (outputs[0].transpose(1, 2) if channels_first else outputs[0]).flatten(0, 1).float()
    deviation_C, mean_C = torch.std_mean(out_NC, dim=0)
    scale_C = 1 / deviation_C.clamp_min(1e-6)
    gain = layer.get_parameter("parametrizations.weight.original0")
    gain.mul_(scale_C.view(-1, *[1] * (gain.ndim - 1)))
    layer.get_parameter("bias").sub_(mean_C).mul_(scale_C)
    _share(layer)


def _share(module: nn.Module) -> None:
    if dist.is_initialized():
        for parameter in module.parameters():
            dist.broadcast(parameter.data, src=0)
