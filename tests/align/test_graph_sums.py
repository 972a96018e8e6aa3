"""The full sum and the best path against enumeration of every path."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.rng import generator
from speechkit.data.align.graph import (
    PhoneGraph,
    batch_graphs,
    build_graph,
    linear_path,
    phone_classes,
)
from speechkit.data.align.start import forward_backward
from speechkit.data.align.viterbi import best_path, durations
from speechkit.text import DEFAULT_VOCABULARY

CLASSES = phone_classes(DEFAULT_VOCABULARY.symbols)


def all_paths(graph: PhoneGraph, frames: int) -> list[list[int]]:
    """Every state sequence of `frames` frames that the graph allows, by brute force."""
    wanted = [state for state, label in enumerate(graph.classes) if label]
    found = []
    for path in itertools.product(range(len(graph.classes)), repeat=frames):
        if list(path) == sorted(path) and set(wanted) <= set(path):
            found.append(list(path))
    return found


def path_score(scores_FC: Tensor, graph: PhoneGraph, path: list[int]) -> Tensor:
    """Sum of the scores along one path."""
    return torch.stack(
        [scores_FC[frame, graph.classes[state]] for frame, state in enumerate(path)]
    ).sum()


SEQUENCES = [
    (("^", "HH", "AH0", " ", "L", "$"), 6),
    (("^", "B", ".", "$"), 4),
    (("B", "B"), 5),
    (("^", "AA1", ",", "AA2", "T"), 5),
    (("T",), 1),
]


def test_classes_drop_stress_and_keep_39_phones() -> None:
    """39 phones and silence; AH0 and AH1 are one class, all boundaries are silence."""
    assert len(CLASSES) == 40
    assert CLASSES.index["AH0"] == CLASSES.index["AH1"] == CLASSES.index["AH2"]
    assert CLASSES.index["^"] == CLASSES.index[" "] == CLASSES.index["$"] == 0


def test_runs_of_boundaries_become_one_state() -> None:
    """ ". $" is one silence whose frames go to "$"."""
    graph = build_graph(("^", "B", ".", "$"), CLASSES)
    assert graph.owners == (0, 1, 3)
    assert graph.min_frames == 1
    assert build_graph(("B", ",", " ", "T"), CLASSES).owners == (0, 1, 3)


def test_unusable_sequences_are_refused() -> None:
    """Unknown symbols and sequences without a phone raise DataError."""
    with pytest.raises(DataError, match="XYZ"):
        build_graph(("XYZ",), CLASSES)
    with pytest.raises(DataError):
        build_graph(("^", ".", "$"), CLASSES)


def test_full_sum_and_best_path_match_enumeration() -> None:
    """Padded batches of different lengths give the sums and maxima of all single paths."""
    rng = generator(1)
    graphs = [build_graph(phones, CLASSES) for phones, _ in SEQUENCES]
    frames_B = torch.tensor([frames for _, frames in SEQUENCES])
    scores = torch.randn(len(graphs), 7, len(CLASSES), generator=rng, dtype=torch.float64) * 2
    batch = batch_graphs(graphs)
    summed = forward_backward(scores, batch, frames_B)
    best = best_path(scores, batch, frames_B)
    for row, graph in enumerate(graphs):
        frames = int(frames_B[row])
        paths = all_paths(graph, frames)
        each = torch.stack([path_score(scores[row], graph, path) for path in paths])
        torch.testing.assert_close(summed.log_likelihood_B[row], torch.logsumexp(each, 0))
        found = best.states_BF[row, :frames].tolist()
        assert found in paths
        torch.testing.assert_close(path_score(scores[row], graph, found), each.max())
        torch.testing.assert_close(best.score_B[row], each.max())
        assert (best.states_BF[row, frames:] == -1).all()
        occupancy_FC = torch.zeros(7, len(CLASSES), dtype=torch.float64)
        for path, weight in zip(paths, torch.softmax(each, 0), strict=True):
            for frame, state in enumerate(path):
                occupancy_FC[frame, graph.classes[state]] += weight
        torch.testing.assert_close(summed.occupancy_BFC[row], occupancy_FC)


def test_too_short_an_utterance_has_no_path() -> None:
    """Two phones in one frame: −inf, and no NaN in the occupancy."""
    graphs = batch_graphs([build_graph(("B", "T"), CLASSES)])
    summed = forward_backward(torch.zeros(1, 1, len(CLASSES)), graphs, torch.tensor([1]))
    assert summed.log_likelihood_B.item() == float("-inf")
    assert summed.occupancy_BFC.abs().sum() == 0


def test_long_utterances_stay_finite_in_float32() -> None:
    """1000 frames of large scores: occupancies still sum to one in every frame."""
    rng = generator(3)
    phones = ("^", *("B", "AH0", "T", " ") * 40, "S", "$")
    graphs = batch_graphs([build_graph(phones, CLASSES)])
    scores = torch.randn(1, 1000, len(CLASSES), generator=rng) * 5 - 5
    summed = forward_backward(scores, graphs, torch.tensor([1000]))
    torch.testing.assert_close(
        summed.occupancy_BFC.sum(2), torch.ones(1, 1000), atol=5e-3, rtol=0.0
    )


def test_durations_land_on_their_symbols() -> None:
    """Skipped boundaries get zero frames, the sum is the number of frames."""
    graph = build_graph(("^", "B", " ", "T", ".", "$"), CLASSES)
    frames_P = durations(torch.tensor([0, 0, 1, 1, 3, 4, 4, 4, -1, -1]), graph)
    assert frames_P.tolist() == [2, 2, 0, 1, 0, 3]


def test_linear_path_is_a_path() -> None:
    """Every phone gets a frame even where the loud part is too short for all."""
    graph = build_graph(("^", "B", "AH0", "T", " ", "S", "$"), CLASSES)
    path_F = linear_path(graph, 6, 2, 3)
    labels = [label for label in graph.classes if label]
    spoken = [label for label in torch.unique_consecutive(path_F).tolist() if label]
    assert spoken == labels
    assert len(path_F) == 6
