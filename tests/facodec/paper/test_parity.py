"""Equality with the public code on the same random weights; needs a checkout of it.

`AMPHION_DIR=… pytest -s tests/facodec/paper/test_parity.py` prints the table of errors.
"""

from __future__ import annotations

import pytest
import torch

from tests.facodec.paper import golden, reference
from tests.facodec.paper.cases import FULL, SMALL, Case, Tensors
from tests.facodec.paper.codec_cases import cases


def largest_error(ours: Tensors, theirs: Tensors) -> float:
    """The largest absolute error, relative to the largest value where that is above 1.

    Codes have to be equal.
    """
    assert ours.keys() == theirs.keys()
    errors = []
    for name, our in ours.items():
        their = theirs[name].detach()
        assert our.shape == their.shape, name
        if not our.is_floating_point():
            assert torch.equal(our, their.to(our.dtype)), name
            continue
        assert float(their.abs().max()) > 1e-4, f"{name} is empty and compares nothing"
        errors.append(float((our.detach() - their).abs().max() / their.abs().max().clamp_min(1.0)))
    return max(errors)


def check(case: Case, theirs: Tensors) -> None:
    error = largest_error(case.ours(), theirs)
    print(f"\n{case.name:50s} {error:8.1e} of {case.tolerance:.0e}", end="")
    assert error <= case.tolerance


@pytest.mark.parametrize("name", cases(SMALL))
def test_equals_stored_results_of_public_code(name: str) -> None:
    check(cases(SMALL)[name], golden.results(name))


@pytest.mark.parametrize("name", cases(SMALL))
def test_stored_results_are_those_of_public_code(name: str) -> None:
    theirs = cases(SMALL)[name].public(reference.amphion())
    assert largest_error(golden.results(name), theirs) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(FULL))
def test_equals_public_code_at_full_size(name: str) -> None:
    case = cases(FULL)[name]
    check(case, case.public(reference.amphion()))
