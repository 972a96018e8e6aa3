"""The word probe: which of a few words was cut out of a sentence.

Words are cut by the phone alignment and encoded by themselves, so that no context gives them away;
the mean over time of the weighted sum goes through a linear layer. Speakers of test pieces are not
heard in training.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from speechkit.core.errors import DataError
from speechkit.core.timebase import SAMPLE_RATE_HZ
from speechkit.data.alignment import Alignment
from speechkit.data.packed import PackedCorpus
from speechkit.ssl.probes.config import ProbeConfig
from speechkit.ssl.probes.heads import Standard
from speechkit.ssl.probes.pieces import Piece, held_out, shuffled
from speechkit.ssl.probes.report import TaskFigures
from speechkit.ssl.probes.sources import HOP_SAMPLES, Source
from speechkit.ssl.probes.speakers import fit_pooled, pool, pooled_accuracy, training_part

TEST_SHARE = 0.3
MIN_FRAMES = 8
"""Shortest cut: 160 ms."""
MOST_OF_A_SPEAKER = 8
"""Cuts of one word that one speaker gives."""
MOST = 120
"""Cuts of a word."""
FUNCTION_WORDS = frozenset(
    """
    that with this have they were there from what which would them will been when could then
    about very into your than their some only other should these after over those such through
    upon where here must might shall being because before under between against without until
    while each every both also just even more most much many well still again once ever never
    though himself herself myself itself themselves yourself does doing done having whom whose
    """.split()  # noqa: SIM905
)
"""Words that carry grammar and little else; readers hardly say them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WordMaterial:
    """What the word probe is trained and tested on."""

    pieces: list[Piece]
    """Cuts; the label is a place in `words`."""
    words: list[str]
    """The classes."""
    counts: dict[str, float]
    """What was taken and what was left out."""


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """A word of a clip."""

    word: str
    """In lower case."""
    first: int
    """Its first 20 ms frame."""
    end: int
    """The frame behind its last."""


def words_of(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", text.lower())


def spoken_words(text: str, symbols: Sequence[str], frames: Sequence[int]) -> list[Spoken] | None:
    """Return the words of a clip and when they are spoken, or None where text and phones differ.

    A run of phones between boundary symbols is a word; where the text has numbers or other things
    that are read as several words, the counts differ.
    """
    runs: list[tuple[int, int]] = []
    now, start = 0, None
    for symbol, length in zip(symbols, frames, strict=True):
        if symbol[:1].isalpha():
            start = now if start is None else start
        elif start is not None:
            runs.append((start, now))
            start = None
        now += length
    if start is not None:
        runs.append((start, now))
    words = words_of(text)
    if len(words) != len(runs) or re.search(r"\d", text):
        return None
    return [
        Spoken(word=word, first=first, end=end)
        for word, (first, end) in zip(words, runs, strict=True)
    ]


def word_material(
    corpus: PackedCorpus, alignment: Alignment, chosen: Sequence[int], config: ProbeConfig
) -> WordMaterial:
    """Choose the most frequent content words of four letters and more, and cut them out.

    Raises DataError for fewer than two words that speakers of both parts say, or two speakers.
    """
    aligned = [clip for clip in chosen if alignment.has(clip)]
    counts = Counter[str]()
    cuts = list(content_cuts(corpus, alignment, shuffled(aligned, config.seed, "words"), counts))
    test_speakers = held_out((speaker for speaker, _, _ in cuts), TEST_SHARE, config.seed, "word")
    taken = Counter[tuple[str, int]]()
    found: dict[str, list[Piece]] = {}
    for speaker, word, (clip, start, stop) in cuts:
        taken[word, speaker] += 1
        if taken[word, speaker] <= MOST_OF_A_SPEAKER:
            test = speaker in test_speakers
            piece = Piece(clip=clip, start=start, stop=stop, label=0, test=test)
            found.setdefault(word, []).append(piece)
    both = [
        word for word, pieces in found.items() if {piece.test for piece in pieces} == {False, True}
    ]
    words = sorted(both, key=lambda word: (-len(found[word]), word))[: config.words]
    if len(words) < 2:
        raise DataError(
            "The word probe needs two content words that several speakers say: widen the selection "
            "or leave it out."
        )
    budget = int(config.minutes * 60 / 0.4 / len(words))
    pieces = [
        Piece(clip=one.clip, start=one.start, stop=one.stop, label=label, test=one.test)
        for label, word in enumerate(words)
        for one in found[word][: min(MOST, max(2, budget))]
    ]
    return WordMaterial(
        pieces=pieces,
        words=words,
        counts={
            "minutes": sum(piece.stop - piece.start for piece in pieces) / SAMPLE_RATE_HZ / 60,
            "train_pieces": sum(not piece.test for piece in pieces),
            "test_pieces": sum(piece.test for piece in pieces),
            "test_speakers": len(test_speakers),
            "words_too_short": counts["short"],
            "clips_without_alignment": len(chosen) - len(aligned),
            "clips_whose_text_differs": counts["differs"],
        },
    )


def content_cuts(
    corpus: PackedCorpus, alignment: Alignment, clips: Sequence[int], counts: Counter[str]
) -> Iterator[tuple[int, str, tuple[int, int, int]]]:
    """Yield speaker, word and (clip, start, stop) of every content word; count what is left out."""
    for clip in clips:
        symbols = [alignment.symbols[phone] for phone in alignment.phones(clip).tolist()]
        frames = alignment.frames(clip).tolist()
        words = spoken_words(corpus.clips[clip]["text"] or "", symbols, frames)
        if words is None:
            counts["differs"] += 1
            continue
        for one in words:
            if len(one.word) < 4 or one.word in FUNCTION_WORDS or "'" in one.word:
                continue
            stop = min(one.end * HOP_SAMPLES, corpus.samples(clip))
            if stop - one.first * HOP_SAMPLES < MIN_FRAMES * HOP_SAMPLES:
                counts["short"] += 1
                continue
            yield corpus.speaker(clip), one.word, (clip, one.first * HOP_SAMPLES, stop)


def probe_words(
    source: Source, corpus: PackedCorpus, material: WordMaterial, config: ProbeConfig
) -> TaskFigures:
    """Return the share of words named right."""
    states_NLD = pool(source, corpus, material.pieces)
    Standard(states_NLD[training_part(material.pieces)]).apply(states_NLD)
    probe = fit_pooled(states_NLD, material.pieces, None, config)
    label_N = torch.tensor([piece.label for piece in material.pieces])
    test_N = torch.tensor([piece.test for piece in material.pieces])
    commonest = label_N[~test_N].bincount().argmax()
    return TaskFigures(
        figures={"word_accuracy": pooled_accuracy(probe, states_NLD, material.pieces)},
        chance={"word_accuracy": float((label_N[test_N] == commonest).double().mean())},
        layer_weights={"words": probe.layer_weights},
    )
