"""Query by example: matches against a plain dynamic programme, precision against all orders."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechkit.core.errors import DataError
from speechkit.core.rng import generator
from speechkit.data.alignment import Alignment
from speechkit.data.packed import PackedCorpus
from speechkit.ssl.probes import ProbeConfig
from speechkit.ssl.probes.queries import (
    average_precision,
    chance_precision,
    match_costs,
    probe_queries,
    query_material,
)
from speechkit.ssl.probes.sources import plain_sources

CONFIG = ProbeConfig(minutes=2, tasks=("query",))


def best_path(distance_FQ: list[list[float]]) -> float:
    """The cheapest of all matches, tried one by one."""
    frames, queries = len(distance_FQ), len(distance_FQ[0])
    costs = []
    for start in range(frames):
        for steps in itertools.product((0, 1, 2), repeat=queries - 1):
            places = [start, *(start + sum(steps[: n + 1]) for n in range(queries - 1))]
            if places[-1] < frames:
                costs.append(sum(distance_FQ[f][q] for q, f in enumerate(places)) / queries)
    return min(costs)


def test_matches_are_the_best_of_all_paths() -> None:
    rng = generator(3)
    distances = [torch.rand(frames, 4, generator=rng) for frames in (1, 3, 7)]
    cost_N = match_costs(distances)
    for cost, distance_FQ in zip(cost_N.tolist(), distances, strict=True):
        assert cost == pytest.approx(best_path(distance_FQ.tolist()), abs=1e-6)


def test_a_query_that_is_stretched_inside_a_clip_is_found() -> None:
    query_QD = torch.eye(6)[:4]
    slow_FD = torch.eye(6)[[5, 4, 0, 0, 1, 1, 2, 3, 3, 5]]
    other_FD = torch.eye(6)[[5, 3, 3, 2, 1, 1, 0, 4]]
    cost_N = match_costs([1 - clip_FD @ query_QD.T for clip_FD in (slow_FD, other_FD)])
    assert float(cost_N[0]) == 0
    assert float(cost_N[1]) > 0.2


def test_precision_of_an_order_and_of_chance() -> None:
    relevant_N = torch.tensor([True, False, True, False])
    assert average_precision(torch.tensor([4.0, 3.0, 2.0, 1.0]), relevant_N) == (1 + 2 / 3) / 2
    for relevant in (1, 2, 4):
        flags_N = torch.arange(5) < relevant
        orders = [torch.tensor(order) for order in itertools.permutations(range(5))]
        mean = sum(average_precision(order.double(), flags_N) for order in orders) / len(orders)
        assert chance_precision(relevant, 5) == pytest.approx(mean)


def test_words_are_found_in_clips_of_others(tones: Path) -> None:
    corpus = PackedCorpus(tones)
    material = query_material(corpus, Alignment(corpus), range(len(corpus)), CONFIG)
    asking = {corpus.speaker(query.clip) for query in material.queries}
    assert not asking & {corpus.speaker(clip) for clip in material.clips}
    assert material.counts["clips_without_alignment"] == 1
    for query in material.queries:
        assert 0 < int(material.relevant(query).sum()) < len(material.clips)
    found = probe_queries(plain_sources()[0], corpus, material)
    assert found.figures["query_precision"] > found.chance["query_precision"]
    again = query_material(corpus, Alignment(corpus), range(len(corpus)), CONFIG)
    assert again.queries == material.queries


def test_nothing_to_ask_for_is_refused(tones: Path) -> None:
    corpus = PackedCorpus(tones)
    with pytest.raises(DataError, match="two speakers"):
        query_material(corpus, Alignment(corpus), [0, 1], CONFIG)
    few = replace(CONFIG, minutes=0.01)
    with pytest.raises(DataError, match="query probe needs content words"):
        query_material(corpus, Alignment(corpus), range(len(corpus)), few)
