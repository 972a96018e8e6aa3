"""Phones read off frames, against the best of all paths."""

from __future__ import annotations

from itertools import product

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.rng import generator
from speechkit.facodec.recognition import SWITCH_PENALTY, recognise_phones, smooth_path
from speechkit.text import DEFAULT_VOCABULARY
from speechkit.text.frames import FrameClasses
from speechkit.text.vocab import WORD_BOUNDARY


def score(log_share_FV: Tensor, path: tuple[int, ...], penalty: float) -> float:
    """Log-probability of a path less its switches."""
    total = sum(float(log_share_FV[f, v].double()) for f, v in enumerate(path))
    return total - penalty * sum(a != b for a, b in zip(path, path[1:], strict=False))


def viterbi(log_share_FV: Tensor, penalty: float) -> list[int]:
    """The best path by the textbook recursion over all pairs of classes, in plain Python."""
    rows = log_share_FV.double().tolist()
    classes = range(len(rows[0]))
    best, back = [list(rows[0])], []
    for row in rows[1:]:
        came = [max(classes, key=lambda u: best[-1][u] - penalty * (u != v)) for v in classes]
        best.append([best[-1][came[v]] - penalty * (came[v] != v) + row[v] for v in classes])
        back.append(came)
    path = [max(classes, key=lambda v: best[-1][v])]
    for came in reversed(back):
        path.append(came[path[-1]])
    return path[::-1]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(1, 4), st.floats(0, 6), st.integers(0, 10_000))
def test_smooth_path_is_the_best_of_all(
    frames: int, classes: int, penalty: float, seed: int
) -> None:
    logits_FV = 2 * torch.randn(frames, classes, generator=generator(seed))
    share_FV = torch.log_softmax(logits_FV, -1)
    best = max(score(share_FV, path, penalty) for path in product(range(classes), repeat=frames))
    found = tuple(smooth_path(share_FV, penalty).tolist())
    assert len(found) == frames
    assert score(share_FV, found, penalty) >= best - 1e-4


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 60), st.integers(2, 12), st.floats(0.01, 6), st.integers(0, 10_000))
def test_smooth_path_against_a_plain_viterbi(
    frames: int, classes: int, penalty: float, seed: int
) -> None:
    logits_FV = 2 * torch.randn(frames, classes, generator=generator(seed))
    share_FV = torch.log_softmax(logits_FV, -1)
    found, plain = smooth_path(share_FV, penalty).tolist(), viterbi(share_FV, penalty)
    assert score(share_FV, tuple(found), penalty) >= score(share_FV, tuple(plain), penalty) - 1e-3


def test_without_a_penalty_each_frame_is_its_own_and_with_a_great_one_all_are_alike() -> None:
    share_FV = torch.log_softmax(torch.randn(30, 5, generator=generator(0)), -1)
    assert torch.equal(smooth_path(share_FV, 0.0), share_FV.argmax(-1))
    assert smooth_path(share_FV, 1e6).tolist() == [int(share_FV.sum(0).argmax())] * 30


def test_recognised_phones_are_ids_and_silence_is_a_word_boundary() -> None:
    symbols = FrameClasses(DEFAULT_VOCABULARY).symbols
    classes = [0] * 5 + [3] * 6 + [0] * 4 + [len(symbols) - 1] * 5
    logits_FV = torch.zeros(len(classes), len(symbols))
    logits_FV[torch.arange(len(classes)), classes] = 12.0
    # A single frame that is a little likelier something else does not switch.
    logits_FV[8, 7] = 12.0 + SWITCH_PENALTY
    phone_F = recognise_phones(logits_FV, symbols, DEFAULT_VOCABULARY)
    found = [DEFAULT_VOCABULARY.symbols[n] for n in phone_F.tolist()]
    assert found == [WORD_BOUNDARY if n == 0 else symbols[n] for n in classes]
