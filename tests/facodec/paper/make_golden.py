"""Write golden.safetensors: what the public code makes of the small parity cases.

`AMPHION_DIR=… python -m tests.facodec.paper.make_golden`, in the checkout's folder.
"""

from __future__ import annotations

from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.functional import normalize

from speechkit.facodec.paper.quantizer import PaperQuantized, PaperVectorQuantizer
from tests.facodec.paper import golden, reference
from tests.facodec.paper.cases import SMALL
from tests.facodec.paper.codec_cases import cases

SAFE_GAP = 1e-5
"""Cosine by which the nearest entry has to win, lest other rounding choose another one."""


def smallest_gap() -> float:
    """By how much the nearest entry won, over all look-ups of all cases."""
    plain, gaps = PaperVectorQuantizer.forward, []

    def watched(codebook: PaperVectorQuantizer, x_BFD: Tensor) -> PaperQuantized:
        cosines = (
            normalize(codebook.down(x_BFD), dim=-1) @ normalize(codebook.codebook_VC, dim=-1).T
        )
        first, second = cosines.topk(2).values.unbind(-1)
        gaps.append(float((first - second).detach().min()))
        return plain(codebook, x_BFD)

    with patch.object(PaperVectorQuantizer, "forward", watched), torch.random.fork_rng(devices=[]):
        for case in cases(SMALL).values():
            case.ours()
    return min(gaps)


if __name__ == "__main__":
    gap = smallest_gap()
    assert gap > SAFE_GAP, f"an entry won by {gap:.1e} only: change a seed in codec_cases.py"
    public = reference.amphion()
    golden.write({name: case.public(public) for name, case in cases(SMALL).items()})
    print(f"wrote {golden.FILE} ({golden.FILE.stat().st_size} bytes), smallest gap {gap:.1e}")
