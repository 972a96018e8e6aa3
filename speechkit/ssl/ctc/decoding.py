"""From CTC's frame posteriors to text: greedy, and prefix beam search with a language model.

Prefix beam search after Graves (2012, section 7.5) and Hannun et al. (2014): the mass of all
alignments of a prefix is kept in two parts, those that end in a blank and those that end in its
last letter. Scores are natural logarithms: log p(letters | sound) + lm_weight * log p(text) +
word_score * words.

Shapes: F frames, V classes (0 is blank), N prefixes in the beam.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from speechkit.core.config import require_range
from speechkit.core.errors import DataError
from speechkit.ssl.ctc.fusion import Fusion
from speechkit.ssl.ctc.letters import BLANK, Letters
from speechkit.ssl.ctc.ngram import LanguageModel

FloatArray = npt.NDArray[np.float64]

_NEVER = -math.inf


@dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """How a text is searched for."""

    beam: int = 1
    """Prefixes kept at each frame; 1 without a language model is the greedy path."""
    lm_weight: float = 1.0
    """Factor on the language model's log-probability."""
    word_score: float = 0.0
    """Added for each word: above 0 makes for more and shorter words."""
    unknown_score: float = -10.0
    """Added for each word that a word model does not know."""
    threshold: float = 25.0
    """Prefixes worse than the best by more than this (natural log) are dropped."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        require_range(
            self,
            beam=(1, 100_000),
            lm_weight=(0.0, 100.0),
            word_score=(-100.0, 100.0),
            unknown_score=(-1000.0, 0.0),
            threshold=(0.0, math.inf),
        )


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """One text for a recording."""

    text: str
    """Words with single spaces."""
    labels: tuple[int, ...]
    """Its classes, the word ends too."""
    acoustic: float
    """log p(labels | sound), summed over all alignments."""
    language: float
    """Weighted log-probability of the language model with all word scores; 0 without."""

    @property
    def score(self) -> float:
        """Return what the search compares."""
        return self.acoustic + self.language


def greedy_labels(log_probability_FV: FloatArray) -> tuple[int, ...]:
    """Return the classes of the best path: repeats joined, blanks dropped."""
    path_F = log_probability_FV.argmax(axis=1)
    starts_F = np.concatenate([np.ones(1, dtype=bool), path_F[1:] != path_F[:-1]])[: len(path_F)]
    return tuple(int(label) for label in path_F[starts_F & (path_F != BLANK)])


def log_likelihood(log_probability_FV: FloatArray, labels: Sequence[int]) -> float:
    """Return log p(labels | sound) over all alignments (Graves et al. 2006, section 4.1)."""
    states = np.full(2 * len(labels) + 1, BLANK)
    states[1::2] = labels
    # A letter may be reached past the blank before it unless that joins it to its double.
    skips = np.zeros(len(states), dtype=bool)
    skips[3::2] = states[3::2] != states[1:-2:2]
    alpha = np.full(len(states), _NEVER)
    alpha[0] = 0.0
    for frame, log_V in enumerate(log_probability_FV):
        total = alpha.copy()
        if frame == 0:
            total[1:2] = 0.0
        else:
            total[1:] = np.logaddexp(total[1:], alpha[:-1])
            total[2:] = np.logaddexp(total[2:], np.where(skips[2:], alpha[:-2], _NEVER))
        alpha = total + log_V[states]
    return float(np.logaddexp.reduce(alpha[-2:]))


class BeamSearch:
    """Prefix beam search of recordings with one alphabet and language model."""

    def __init__(
        self,
        letters: Letters,
        config: DecodingConfig | None = None,
        language_model: LanguageModel | None = None,
    ) -> None:
        """Raises DataError where a letter model does not know the alphabet."""
        self.letters = letters
        self.config = DecodingConfig() if config is None else config
        self._fusion = Fusion(
            letters,
            language_model,
            lm_weight=self.config.lm_weight,
            word_score=self.config.word_score,
            unknown_score=self.config.unknown_score,
        )

    def decode(self, log_probability_FV: FloatArray) -> Hypothesis:
        """Return the best text found, never one that scores below the greedy one.

        Narrow beams can lose the greedy text: its letters compete with each of the ways to go on.
        Raises DataError for posteriors that are not numbers.
        """
        if np.isnan(log_probability_FV).any():
            raise DataError("The model's output is not a number: its training has failed.")
        best = greedy_labels(log_probability_FV)
        found = self._hypothesis(log_probability_FV, best)
        if self.config.beam == 1 and not self._fusion.active:
            return found
        for labels in self.search(log_probability_FV)[:1]:
            if labels != best:
                found = max(
                    found,
                    self._hypothesis(log_probability_FV, labels),
                    key=lambda hypothesis: hypothesis.score,
                )
        return found

    def _hypothesis(self, log_probability_FV: FloatArray, labels: tuple[int, ...]) -> Hypothesis:
        return Hypothesis(
            text=self.letters.decode(labels),
            labels=labels,
            acoustic=log_likelihood(log_probability_FV, labels),
            language=self._fusion.sequence(labels),
        )

    def search(self, log_probability_FV: FloatArray) -> list[tuple[int, ...]]:
        """Return the prefixes left at the last frame, best first, with the sentence end scored."""
        beam = _Beam(self._fusion)
        for log_V in log_probability_FV:
            beam.step(log_V, self.config.beam, self.config.threshold)
        ends_N = [self._fusion.end(context) for context in beam.contexts]
        order = np.argsort(-(beam.totals() + beam.fused_N + ends_N), kind="stable")
        return [beam.prefixes[row] for row in order]


class _Beam:
    """The prefixes of one frame."""

    def __init__(self, fusion: Fusion) -> None:
        self._fusion = fusion
        self.prefixes: list[tuple[int, ...]] = [()]
        self.contexts = [fusion.start()]
        self.fused_N = np.zeros(1)
        self._blank_N = np.zeros(1)
        self._letter_N = np.full(1, _NEVER)

    def totals(self) -> FloatArray:
        """Return total_N, the log mass of each prefix."""
        total: FloatArray = np.logaddexp(self._blank_N, self._letter_N)
        return total

    def step(self, log_V: FloatArray, beam: int, threshold: float) -> None:
        """Go one frame on and keep the best prefixes."""
        count, classes = len(self.prefixes), len(log_V)
        total_N = self.totals()
        last_N = np.array([prefix[-1] if prefix else BLANK for prefix in self.prefixes])
        blank_N = total_N + log_V[BLANK]
        letter_N = np.where(last_N == BLANK, _NEVER, self._letter_N + log_V[last_N])
        grown_NV = total_N[:, None] + log_V
        # A second of the same letter needs a blank between: without one it is the same letter.
        rows = np.arange(count)
        grown_NV[rows, last_N] = self._blank_N + log_V[last_N]
        grown_NV[:, BLANK] = _NEVER
        self._merge(grown_NV, letter_N)
        added_NV = np.stack([context.added_V for context in self.contexts])
        stay_N = np.logaddexp(blank_N, letter_N) + self.fused_N
        grown_score_NV = grown_NV + self.fused_N[:, None] + added_NV
        scores = np.concatenate([stay_N, grown_score_NV.ravel()])
        chosen = _best(scores, beam, threshold)
        self._keep(chosen, classes, (blank_N, letter_N, grown_NV, added_NV))

    def _merge(self, grown_NV: FloatArray, letter_N: FloatArray) -> None:
        """Give prefixes that stay the mass of parents in the beam that grow into them."""
        row_of = {prefix: row for row, prefix in enumerate(self.prefixes)}
        for row, prefix in enumerate(self.prefixes):
            parent = row_of.get(prefix[:-1]) if prefix else None
            if parent is not None:
                letter_N[row] = np.logaddexp(letter_N[row], grown_NV[parent, prefix[-1]])
                grown_NV[parent, prefix[-1]] = _NEVER

    def _keep(
        self,
        chosen: npt.NDArray[np.int64],
        classes: int,
        masses: tuple[FloatArray, FloatArray, FloatArray, FloatArray],
    ) -> None:
        """Make the chosen ones the beam: numbers below N stay, N + n V + v grow."""
        blank_N, letter_N, grown_NV, added_NV = masses
        count = len(self.prefixes)
        stay, grow = chosen[chosen < count], chosen[chosen >= count] - count
        parent, label = grow // classes, grow % classes
        self.prefixes = [self.prefixes[row] for row in stay] + [
            (*self.prefixes[row], int(c)) for row, c in zip(parent, label, strict=True)
        ]
        self.contexts = [self.contexts[row] for row in stay] + [
            self._fusion.grow(self.contexts[row], int(c))
            for row, c in zip(parent, label, strict=True)
        ]
        self.fused_N = np.concatenate(
            [self.fused_N[stay], self.fused_N[parent] + added_NV[parent, label]]
        )
        self._blank_N = np.concatenate([blank_N[stay], np.full(len(grow), _NEVER)])
        self._letter_N = np.concatenate([letter_N[stay], grown_NV[parent, label]])


def _best(scores: FloatArray, beam: int, threshold: float) -> npt.NDArray[np.int64]:
    """Return the places of the best scores, at most `beam` and none far below the best."""
    places = np.flatnonzero((scores >= scores.max() - threshold) & (scores > _NEVER))
    if len(places) > beam:
        places = places[np.argsort(-scores[places], kind="stable")[:beam]]
    return places
