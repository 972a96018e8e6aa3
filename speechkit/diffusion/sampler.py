"""The reverse process for one code book: guess, keep what is sure, mask the rest, guess again.

Shapes: L positions of prompt and target, N target positions, V entries.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from speechkit.diffusion.config import StageSampling
from speechkit.diffusion.schedule import masked_counts

Guess = Callable[[Tensor, float], Tensor]
"""From codes of the target (−1 where masked) and the time to logits `[N, V]`."""


def guide(plain_NV: Tensor, unprompted_NV: Tensor, weight: float, rescale: float) -> Tensor:
    """Logits pushed away from what the network would say without a prompt (NS3 App. A.2)."""
    guided = plain_NV + weight * (plain_NV - unprompted_NV)
    spread = guided * (plain_NV.std() / guided.std().clamp_min(1e-6))
    return rescale * spread + (1 - rescale) * guided


def draw_codes(
    logits_NV: Tensor, temperature: float, top_k: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """`(codes_N, log_confidence_N)`: one draw a position among its `top_k` likeliest entries."""
    top_NK, index_NK = logits_NV.topk(min(top_k, logits_NV.shape[-1]), dim=-1)
    log_share_NK = torch.log_softmax(top_NK, dim=-1)
    if temperature > 0:
        noisy_NK = top_NK / temperature + gumbel(top_NK.shape, rng)
        choice_N1 = noisy_NK.argmax(dim=-1, keepdim=True)
    else:
        choice_N1 = torch.zeros_like(index_NK[:, :1])
    return index_NK.gather(1, choice_N1)[:, 0], log_share_NK.gather(1, choice_N1)[:, 0]


def gumbel(shape: torch.Size, rng: torch.Generator) -> Tensor:
    """Standard Gumbel noise drawn from `rng`."""
    uniform = torch.rand(shape, generator=rng, device=rng.device).clamp(1e-9, 1 - 1e-7)
    return -torch.log(-torch.log(uniform))


def unmask(
    guess: Guess, positions: int, steps: int, settings: StageSampling, rng: torch.Generator
) -> Tensor:
    """`codes_N` of one book after `steps` passes; what is revealed once never changes.

    NS3 §3.3.2 after MaskGIT (Chang et al. 2022). Confidence is compared as a log-probability:
    on plain probabilities the noise of the early steps would drown it.
    """
    codes_N = torch.full((positions,), -1, device=rng.device)
    for step, remaining in enumerate(masked_counts(positions, steps)):
        time = 1 - step / steps
        masked_N = codes_N < 0
        drawn_N, confidence_N = draw_codes(
            guess(codes_N, time), settings.temperature * time, settings.top_k, rng
        )
        noise_N = gumbel(confidence_N.shape, rng) * settings.choice_temperature * time
        order_N = torch.where(masked_N, confidence_N + noise_N, float("inf"))
        hidden_N = torch.zeros_like(masked_N)
        hidden_N[order_N.argsort()[:remaining]] = True
        codes_N = torch.where(masked_N & ~hidden_N, drawn_N, codes_N)
    return codes_N
