"""Supervision of the codec's parts, and gradient reversal that drives the rest out of them.

Shapes: B batch, F frames, D channels, V classes, S speakers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from speechkit.facodec.convnext import ConvNeXtStack


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float | Tensor, bound: float) -> Tensor:
        ctx.strength, ctx.bound = strength, bound
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        norm = torch.linalg.vector_norm(grad)
        scale = torch.clamp(ctx.bound / (norm + 1e-12), max=1.0)
        return -ctx.strength * scale * grad, None, None


def reverse_gradient(x: Tensor, strength: float | Tensor, bound: float = float("inf")) -> Tensor:
    """`x` itself; its gradient comes back with its sign turned, times `strength`.

    The gradient's norm is first limited to `bound`: an unbounded adversary can undo an hour of
    training in minutes (Ganin & Lempitsky 2015; NS3 §3.2.2).
    """
    reversed_x: Tensor = _Reverse.apply(x, strength, bound)  # type: ignore[no-untyped-call]
    return reversed_x


BLOCKS = 2
"""Blocks of a frame predictor."""


class FramePredictor(nn.Module):
    """A small ConvNeXt network with a linear read-out for every frame."""

    def __init__(self, in_channels: int, channels: int, outputs: int, blocks: int = BLOCKS) -> None:
        super().__init__()
        self.stack = ConvNeXtStack(in_channels, channels, blocks)
        self.out = nn.Linear(channels, outputs)

    def forward(self, x_BFD: Tensor) -> Tensor:
        """Read-outs `[B, F, outputs]`, float32."""
        read: Tensor = self.out(self.stack(x_BFD))
        return read.float()


class SpeakerClassifier(nn.Module):
    """Additive angular margin classifier over the training speakers (Deng et al. 2019)."""

    def __init__(
        self, in_channels: int, speakers: int, *, scale: float = 20.0, margin: float = 0.15
    ) -> None:
        super().__init__()
        self.weight_SD = nn.Parameter(torch.randn(speakers, in_channels) * 0.1)
        self.scale, self.margin = scale, margin

    def forward(self, timbre_BD: Tensor, speaker_B: Tensor) -> Tensor:
        """Cross-entropy of the right speakers, a scalar."""
        directions_SD = nn.functional.normalize(self.weight_SD, dim=-1)
        # In half precision a cosine near 1 becomes 1, where the arc cosine has no finite slope.
        with torch.autocast(timbre_BD.device.type, enabled=False):
            cosine = nn.functional.normalize(timbre_BD.float(), dim=-1) @ directions_SD.T
        own = cosine.gather(1, speaker_B[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
        harder = torch.cos(torch.acos(own) + self.margin)
        logits = self.scale * cosine.scatter(1, speaker_B[:, None], harder)
        return nn.functional.cross_entropy(logits, speaker_B)


class SpeakerAdversary(nn.Module):
    """Guesses the speaker from the mean and deviation of a code sequence."""

    def __init__(self, in_channels: int, speakers: int, channels: int = 256) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2 * in_channels, channels), nn.GELU(), nn.Linear(channels, speakers)
        )

    def forward(self, z_BFD: Tensor) -> Tensor:
        """Speaker logits `[B, S]`."""
        pooled = torch.cat([z_BFD.mean(1), z_BFD.std(1)], dim=-1)
        logits: Tensor = self.net(pooled)
        return logits.float()
