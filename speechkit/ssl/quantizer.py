"""wav2vec 2.0's product quantiser with Gumbel-softmax draws (section 2 and appendix B).

Written anew instead of fairseq2's: that one lowers its temperature at every forward pass, where the
paper does at every update, and compiles a function inside each forward. Names of parameters agree.

Shapes: N vectors, C input width, G groups, V entries of a group, D width of one group's part.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechkit.ssl.config import Wav2Vec2Config


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantized:
    """Vectors after the quantiser."""

    vectors_NC: Tensor
    """The chosen entries of all groups, side by side."""
    codes_NG: Tensor
    """Which entries were chosen, int64."""
    soft_perplexity: Tensor
    """Sum over groups of the perplexity of the mean softmax: what the diversity loss raises."""
    hard_perplexity: Tensor
    """The same of the most likely entries: how many are in use."""


class GumbelQuantizer(nn.Module):
    """Draws one entry a group in training, takes the likeliest in evaluation."""

    def __init__(self, input_dim: int, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.groups, self.codebook_size = config.codebooks, config.codebook_size
        total = self.groups * self.codebook_size
        self.entry_proj = nn.Linear(input_dim, total)
        nn.init.normal_(self.entry_proj.weight)
        nn.init.zeros_(self.entry_proj.bias)
        # fairseq draws from [0, 1): all entries then point the same way, and a short run never
        # tells them apart. Around zero they differ from the start.
        entries = torch.rand(1, total, config.code_dim // self.groups)
        self.entries = nn.Parameter(2.0 * entries - 1.0)

    def forward(self, x_NC: Tensor, temperature: float) -> Quantized:
        """Quantise; in training the draw uses torch's default generator, as dropout does."""
        logits_NGV = self.entry_proj(x_NC).reshape(-1, self.groups, self.codebook_size).float()
        likeliest_NG = logits_NGV.argmax(dim=-1)
        if self.training:
            choice_NGV = functional.gumbel_softmax(logits_NGV, tau=temperature, hard=True)
            codes_NG = choice_NGV.detach().argmax(dim=-1)
        else:
            codes_NG = likeliest_NG
            choice_NGV = functional.one_hot(codes_NG, self.codebook_size).to(logits_NGV.dtype)
        entries_GVD = self.entries.reshape(self.groups, self.codebook_size, -1)
        parts_NGD = torch.einsum("ngv,gvd->ngd", choice_NGV.to(entries_GVD.dtype), entries_GVD)
        # Not `one_hot`, which reads the codes where that can be done without waiting.
        entries_V = torch.arange(self.codebook_size, device=likeliest_NG.device)
        used_GV = (likeliest_NG[..., None] == entries_V).float().mean(dim=0)
        return Quantized(
            vectors_NC=parts_NGD.flatten(1),
            codes_NG=codes_NG,
            soft_perplexity=perplexity(logits_NGV.softmax(dim=-1).mean(dim=0)).sum(),
            hard_perplexity=perplexity(used_GV).sum(),
        )


def perplexity(shares_GV: Tensor) -> Tensor:
    """Return exp of the entropy of each row of shares: the number of entries that count."""
    return torch.exp(-(shares_GV * torch.log(shares_GV + 1e-7)).sum(dim=-1))
