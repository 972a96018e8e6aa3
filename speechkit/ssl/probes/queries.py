"""Query by example: find the clips that hold a word, given somebody else saying it.

A spoken word, cut by the phone alignment and encoded by itself, is looked for in whole clips of
other speakers by subsequence dynamic time warping on cosine distances; nothing is trained. Clips
are ranked by the cost of the best match. The figure is the mean average precision over queries: not
SUPERB's, which is the term-weighted value on QUESST 2014 with the best layer of a development set.

Shapes: N clips, F frames of a clip, Q frames of a query, L layers, D channels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from speechkit.core.errors import DataError
from speechkit.core.timebase import SAMPLE_RATE_HZ
from speechkit.data.alignment import Alignment
from speechkit.data.packed import PackedCorpus
from speechkit.ssl.probes.config import ProbeConfig
from speechkit.ssl.probes.heads import Standard
from speechkit.ssl.probes.pieces import Piece, held_out, shuffled
from speechkit.ssl.probes.report import TaskFigures
from speechkit.ssl.probes.sources import Source
from speechkit.ssl.probes.words import content_cuts, words_of

QUERY_SHARE = 0.3
"""Share of the speakers whose words are queries; the others' clips are looked through."""
MOST_QUERIES = 100
"""Queries altogether."""
MOST_OF_A_WORD = 3
"""Queries of one word."""
_MEASURED_CLIPS = 20
"""Clips whose frames say how each channel is brought to unit deviation."""


@dataclass(frozen=True, kw_only=True, eq=False)
class QueryMaterial:
    """Queries, and the clips that they are looked for in."""

    queries: list[Piece]
    """Cuts; the label is a place in `words`."""
    words: list[str]
    """What is asked for."""
    clips: list[int]
    """Clips of the corpus that are looked through."""
    holds: list[frozenset[str]]
    """Words of each of these clips."""
    counts: dict[str, float]
    """What was taken and what was left out."""

    def relevant(self, query: Piece) -> Tensor:
        """Return relevant_N bool: True on clips whose text has the word."""
        return torch.tensor([self.words[query.label] in words for words in self.holds])


def query_material(
    corpus: PackedCorpus, alignment: Alignment, chosen: Sequence[int], config: ProbeConfig
) -> QueryMaterial:
    """Choose queries and clips of speakers apart.

    Raises DataError for fewer than two speakers, or where no word of one part is in some but not
    all clips of the other.
    """
    aligned = [clip for clip in chosen if alignment.has(clip)]
    order = shuffled(aligned, config.seed, "queries")
    askers = held_out(map(corpus.speaker, order), QUERY_SHARE, config.seed, "query")
    clips: list[int] = []
    left = config.minutes * 60 * SAMPLE_RATE_HZ
    for clip in (clip for clip in order if corpus.speaker(clip) not in askers):
        if clips and corpus.samples(clip) > left:
            break
        clips.append(clip)
        left -= corpus.samples(clip)
    holds = [frozenset(words_of(corpus.clips[clip]["text"] or "")) for clip in clips]
    frequency = Counter(word for words in holds for word in words)
    asked = Counter[str]()
    words: dict[str, int] = {}
    queries: list[Piece] = []
    counts = Counter[str]()
    asking = [clip for clip in order if corpus.speaker(clip) in askers]
    for _, word, (clip, start, stop) in content_cuts(corpus, alignment, asking, counts):
        if not 0 < frequency[word] < len(clips) or asked[word] == MOST_OF_A_WORD:
            continue
        asked[word] += 1
        label = words.setdefault(word, len(words))
        queries.append(Piece(clip=clip, start=start, stop=stop, label=label, test=True))
        if len(queries) == MOST_QUERIES:
            break
    if not queries:
        raise DataError(
            "The query probe needs content words of some speakers that some clips of others hold: "
            "widen the selection or the minutes, or leave it out."
        )
    return QueryMaterial(
        queries=queries,
        words=list(words),
        clips=clips,
        holds=holds,
        counts={
            "minutes": sum(map(corpus.samples, clips)) / SAMPLE_RATE_HZ / 60,
            "clips": len(clips),
            "queries": len(queries),
            "words": len(words),
            "asking_speakers": len({corpus.speaker(query.clip) for query in queries}),
            "clips_without_alignment": len(chosen) - len(aligned),
        },
    )


def probe_queries(source: Source, corpus: PackedCorpus, material: QueryMaterial) -> TaskFigures:
    """Return the mean average precision of the queries, on the plain mean of the layers."""
    first = [source.states(corpus.wave(clip)) for clip in material.clips[:_MEASURED_CLIPS]]
    standard = Standard(torch.cat(first))
    del first

    def frames_of(wave_T: Tensor) -> Tensor:
        mean_FD = standard.apply(source.states(wave_T).clone()).mean(dim=1)
        return functional.normalize(mean_FD, dim=1)

    clips = [frames_of(corpus.wave(clip)) for clip in material.clips]
    precisions, chances = [], []
    for query in material.queries:
        query_QD = frames_of(corpus.wave(query.clip, query.start, query.stop))
        cost_N = match_costs([1 - clip_FD @ query_QD.T for clip_FD in clips])
        relevant_N = material.relevant(query)
        precisions.append(average_precision(-cost_N, relevant_N))
        chances.append(chance_precision(int(relevant_N.sum()), len(relevant_N)))
    return TaskFigures(
        figures={"query_precision": sum(precisions) / len(precisions)},
        chance={"query_precision": sum(chances) / len(chances)},
        layer_weights={},
    )


def match_costs(distances: Sequence[Tensor]) -> Tensor:
    """Return cost_N float32: how well a query fits the best place of each clip, 0 being perfect.

    ``distances`` are [F, Q] for each clip. A match begins and ends anywhere in the clip; from one
    query frame to the next it goes on by none, one or two frames (the asymmetric steps of Sakoe and
    Chiba 1978), so that each query frame counts once and the cost is a mean over them.
    """
    distance_NFQ = torch.nn.utils.rnn.pad_sequence(
        list(distances), batch_first=True, padding_value=torch.inf
    )
    cost_NF = distance_NFQ[:, :, 0]
    for place in range(1, distance_NFQ.shape[2]):
        before = functional.pad(cost_NF, (2, 0), value=torch.inf)
        frames = cost_NF.shape[1]
        reached_NF = torch.minimum(before[:, :frames], before[:, 1 : frames + 1])
        cost_NF = torch.minimum(reached_NF, cost_NF) + distance_NFQ[:, :, place]
    return cost_NF.min(dim=1).values / distance_NFQ.shape[2]


def average_precision(score_N: Tensor, relevant_N: Tensor) -> float:
    """Return the mean, over the relevant clips, of the share of relevant ones down to their rank.

    Ties keep the order of the clips, which is random. At least one clip must be relevant.
    """
    order_N = score_N.argsort(descending=True, stable=True)
    ranked_N = relevant_N[order_N].double()
    precision_N = ranked_N.cumsum(dim=0) / torch.arange(1, len(ranked_N) + 1)
    return float((precision_N * ranked_N).sum() / ranked_N.sum())


def chance_precision(relevant: int, clips: int) -> float:
    """Return the average precision that a random order has in the mean, of two clips and more."""
    harmonic = sum(1 / rank for rank in range(1, clips + 1))
    others = (relevant - 1) / (clips - 1)
    return (others * (clips - harmonic) + harmonic) / clips
