"""What a language model adds to each letter of the search.

A letter model scores every letter; a word model scores a word when its end is written, and an
unfinished last word at the end of the sentence.

Shapes: V classes.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from speechkit.core.errors import DataError
from speechkit.ssl.ctc.letters import BLANK, Letters
from speechkit.ssl.ctc.ngram import END, LanguageModel

FloatArray = npt.NDArray[np.float64]

_MAX_CONTEXTS = 50_000
"""Contexts kept from one recording to the next, about 1 kB each."""


@dataclass(frozen=True, eq=False)
class Context:
    """Where the language model stands after a prefix."""

    state: Hashable
    """The model's own state, after the last letter or the last whole word."""
    word: str
    """Letters since the last word end."""
    added_V: FloatArray
    """What writing each class next adds to the score."""
    states: tuple[Hashable, ...]
    """The model's state after each class: all of a letter model, the word end of a word model."""


class Fusion:
    """Scores of letters by a language model, cached."""

    def __init__(
        self,
        letters: Letters,
        model: LanguageModel | None,
        *,
        lm_weight: float,
        word_score: float,
        unknown_score: float,
    ) -> None:
        """Raises DataError where a letter model has not seen the alphabet."""
        self.active = model is not None or word_score != 0.0
        self._letters = letters
        self._model = model
        self._lm_weight = lm_weight
        self._word_score = word_score
        self._unknown_score = unknown_score
        self._cache: dict[tuple[Hashable, str], Context] = {}
        self._plain_V = np.zeros(letters.size)
        if model is not None and model.unit == "letter":
            missing = [symbol for symbol in letters.symbols if not model.knows(symbol)]
            # A short text may lack a rare letter; one without most of them is of another language.
            if 2 * len(missing) > len(letters.symbols):
                raise DataError(
                    f"The letter model does not know {' '.join(missing[:20])}: train it on text "
                    "in the alphabet of the recogniser."
                )

    def start(self) -> Context:
        """Return the context of the empty prefix."""
        if len(self._cache) > _MAX_CONTEXTS:
            self._cache.clear()
        state = None if self._model is None else self._model.start()
        return self._context(state, "")

    def grow(self, context: Context, label: int) -> Context:
        """Return the context after one more letter."""
        ends = label == self._letters.word_end
        word = "" if ends else context.word + self._letters.symbols[label - 1]
        if self._model is None:
            return self._context(None, word[-1:])
        if self._model.unit == "letter":
            return self._context(context.states[label], word[-1:])
        return self._context(context.states[label] if ends else context.state, word)

    def end(self, context: Context) -> float:
        """Return what ending the sentence here adds."""
        if not self.active:
            return 0.0
        added, state = 0.0, context.state
        if context.word:
            if self._model is None or self._model.unit == "letter":
                added += self._word_score
            else:
                scored, state = self._word(state, context.word)
                added += scored
        if self._model is not None:
            added += self._lm_weight * self._model.next(state, END).log_probability
        return added

    def sequence(self, labels: Sequence[int]) -> float:
        """Return what the whole sequence gets, its end too."""
        if not self.active:
            return 0.0
        context, total = self.start(), 0.0
        for label in labels:
            total += float(context.added_V[label])
            context = self.grow(context, label)
        return total + self.end(context)

    def _context(self, state: Hashable, word: str) -> Context:
        key = (state, word)
        found = self._cache.get(key)
        if found is None:
            found = self._cache[key] = self._scored(state, word)
        return found

    def _scored(self, state: Hashable, word: str) -> Context:
        model, word_end = self._model, self._letters.word_end
        if not self.active:
            return Context(state, word, self._plain_V, ())
        added_V = np.zeros(self._letters.size)
        states: list[Hashable] = [state] * self._letters.size
        if model is not None and model.unit == "letter":
            for label, symbol in enumerate(self._letters.symbols, start=1):
                scored = model.next(state, symbol)
                added_V[label] = self._lm_weight * scored.log_probability
                states[label] = scored.state
        # Two word ends in a row end one word.
        if word:
            if model is None or model.unit == "letter":
                added_V[word_end] += self._word_score
            else:
                added_V[word_end], states[word_end] = self._word(state, word)
        added_V[BLANK] = 0.0
        return Context(state, word, added_V, tuple(states))

    def _word(self, state: Hashable, word: str) -> tuple[float, Hashable]:
        model = self._model
        assert model is not None
        # Our letters are upper case; many models' words are not.
        known = next((form for form in (word, word.lower()) if model.knows(form)), None)
        scored = model.next(state, word if known is None else known)
        added = self._lm_weight * scored.log_probability + self._word_score
        return added + (self._unknown_score if known is None else 0.0), scored.state
