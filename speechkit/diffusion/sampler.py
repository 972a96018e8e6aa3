"""The reverse process of a stage: draw, keep what is sure, mask the rest, draw again.

Shapes: B items, N target frames of an item, K codebooks of the stage, M masked frames, V entries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.diffusion.config import StageSampling
from speechkit.diffusion.schedule import masked_counts


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What was drawn for the masked frames of an item."""

    codes_KM: Tensor
    """Codes of all codebooks of the stage."""

    confidence_M: Tensor
    """Log-probability of each frame's codes."""


DrawFunction = Callable[[list[Tensor], float, float], list[Drawn]]
"""From codes `[K, N]` of all items (−1 where masked), time and temperature to draws."""


def guide(plain_MV: Tensor, unconditional_MV: Tensor, weight: float, rescale: float) -> Tensor:
    """Logits pushed away from the unconditional ones, those without a prompt (NS3 App. A.2)."""
    if not len(plain_MV):
        return plain_MV  # nothing is masked: an item may have less to fill than others of a batch
    guided = plain_MV + weight * (plain_MV - unconditional_MV)
    spread = guided * (plain_MV.std() / guided.std().clamp_min(1e-6))
    return rescale * spread + (1 - rescale) * guided


def draw_codes(
    logits_MV: Tensor, temperature: float, top_k: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """`(codes_M, log_confidence_M)`: one draw a frame among its `top_k` likeliest entries."""
    top_MK, index_MK = logits_MV, None
    # Sorting all entries would take two fifths of a draw's time.
    if top_k < logits_MV.shape[-1]:
        top_MK, index_MK = logits_MV.topk(top_k, dim=-1)
    log_share_MK = torch.log_softmax(top_MK, dim=-1)
    noisy_MK = top_MK
    if temperature > 0:
        noisy_MK = top_MK / temperature + gumbel(top_MK.shape, rng)
    choice_M1 = noisy_MK.argmax(dim=-1, keepdim=True)
    code_M1 = choice_M1 if index_MK is None else index_MK.gather(1, choice_M1)
    return code_M1[:, 0], log_share_MK.gather(1, choice_M1)[:, 0]


def gumbel(shape: torch.Size, rng: torch.Generator) -> Tensor:
    """Standard Gumbel noise drawn from `rng`."""
    uniform = torch.rand(shape, generator=rng, device=rng.device).clamp(1e-9, 1 - 1e-7)
    return -torch.log(-torch.log(uniform))


def iterative_decode(
    draw: DrawFunction,
    starts: Sequence[Tensor],
    settings: StageSampling,
    rngs: Sequence[torch.Generator],
) -> list[Tensor]:
    """`codes_KN` of each item after `settings.steps` passes, from those that it starts with: −1
    where a frame is to be drawn; the others stay.

    NS3 §3.3.2 after MaskGIT (Chang et al. 2022). Confidence is compared as a log-probability: on
    plain probabilities the noise of the early steps would drown it. With a corrector (discrete
    flow matching, Gat et al. 2024) each pass but the last reveals more than the schedule asks, and
    masks as much again of what is revealed, whichever frames that hits.
    """
    codes, open_ = list(starts), [start_KN[0] < 0 for start_KN in starts]
    counts = [masked_counts(int(open_N.sum()), settings.steps) for open_N in open_]
    for step in range(settings.steps):
        time = 1 - step / settings.steps
        temperature = settings.temperature * (time if settings.anneal else 1.0)
        drawn = draw(codes, time, temperature)
        for row, (found, rng) in enumerate(zip(drawn, rngs, strict=True)):
            remaining = counts[row][step]
            codes[row] = _reveal(codes[row], open_[row], found, remaining, time, settings, rng)
    return codes


def _reveal(
    codes_KN: Tensor,
    open_N: Tensor,
    drawn: Drawn,
    remaining: int,
    time: float,
    settings: StageSampling,
    rng: torch.Generator,
) -> Tensor:
    """The codes with all but `remaining` frames revealed; those not in `open_N` were given."""
    masked_N = codes_KN[0] < 0
    if settings.order == "random":
        order_M = torch.rand(drawn.confidence_M.shape, generator=rng, device=rng.device)
    else:
        noise_M = gumbel(drawn.confidence_M.shape, rng) * settings.choice_temperature * time
        order_M = drawn.confidence_M + noise_M
    revealed = int(open_N.sum()) - remaining
    again = min(round(settings.corrector * revealed), remaining) if remaining else 0
    left_M = torch.zeros_like(order_M, dtype=torch.bool)
    left_M[order_M.argsort()[: remaining - again]] = True
    filled_KN = codes_KN.clone()
    filled_KN[:, masked_N] = torch.where(left_M, -1, drawn.codes_KM)
    if again:
        shown = torch.nonzero((filled_KN[0] >= 0) & open_N)[:, 0]
        picked = torch.randperm(len(shown), generator=rng, device=rng.device)[:again]
        filled_KN[:, shown[picked]] = -1
    return filled_KN
