"""Word and letter n-gram language models: trained from text, read from ARPA files, saved.

Training is the interpolated form of Witten and Bell (1991; formulas of Chen and Goodman 1998,
section 2.4): p(w | h) = (c(h w) + t(h) p(w | h')) / (c(h) + t(h)) with t(h) the number of kinds
of tokens seen after h and h' the history without its oldest token, down to a uniform share of
1 / V. It needs no held-out text and no counts of counts, which small texts and alphabets of 28
letters do not have (Kneser and Ney's discounts do). Any such model is a back-off model in the
sense of ARPA files, so one class holds both.

Shapes: M n-grams of one order, n tokens of each.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from speechkit.core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from speechkit.core.errors import CheckpointError, ConfigError, DataError

NGRAM_FORMAT = "speechkit-ngram-1"
START, END, UNKNOWN = "<s>", "</s>", "<unk>"
MISSING_UNKNOWN = -100.0 * math.log(10.0)
"""Log-probability of unknown words where a model gives them none, as in KenLM."""
MAX_ORDER = 12

Unit = Literal["word", "letter"]
Gram = tuple[int, ...]


@dataclass(frozen=True)
class Scored:
    """A token's probability, and where the model stands after it."""

    log_probability: float
    """Natural logarithm."""
    state: Hashable
    """To be given to the next call."""


class LanguageModel(Protocol):
    """What decoding asks of a language model, ours or KenLM's."""

    unit: Unit
    """What its tokens are: words, or letters with the word end among them."""

    def start(self) -> Hashable:
        """Return the state at the start of a sentence."""
        ...

    def next(self, state: Hashable, token: str) -> Scored:
        """Return the probability of a token; the end of the sentence is `END`."""
        ...

    def knows(self, token: str) -> bool:
        """Return whether a token is in the vocabulary."""
        ...


class NgramModel:
    """A back-off n-gram model with natural logarithms."""

    def __init__(
        self,
        unit: Unit,
        vocabulary: Sequence[str],
        probabilities: Mapping[Gram, float],
        backoffs: Mapping[Gram, float],
    ) -> None:
        """`probabilities` and `backoffs` are by n-gram of vocabulary indices.

        The vocabulary holds START, END and UNKNOWN. Raises DataError where it does not.
        """
        self.unit = unit
        self.vocabulary = tuple(vocabulary)
        self._index = {token: number for number, token in enumerate(self.vocabulary)}
        missing = [token for token in (START, END, UNKNOWN) if token not in self._index]
        if missing or len(self._index) != len(self.vocabulary):
            raise DataError("The language model's vocabulary lacks tokens or repeats them.")
        self._probabilities = dict(probabilities)
        self._backoffs = dict(backoffs)
        self._unknown = self._index[UNKNOWN]
        self.order = max(map(len, self._probabilities), default=1)

    def start(self) -> Gram:
        """Return the state at the start of a sentence."""
        return (self._index[START],) if self.order > 1 else ()

    def next(self, state: Hashable, token: str) -> Scored:
        """Return the probability of a token after a state, and the state after it."""
        assert isinstance(state, tuple)
        number = self._index.get(token, self._unknown)
        keep = self.order - 1
        after = (*state, number)[-keep:] if keep else ()
        return Scored(self._log_probability(state, number), after)

    def knows(self, token: str) -> bool:
        """Return whether a token is in the vocabulary."""
        return token in self._index

    def _log_probability(self, history: Gram, number: int) -> float:
        backoff = 0.0
        while True:
            found = self._probabilities.get((*history, number))
            if found is not None:
                return backoff + found
            if not history:
                # A token of the vocabulary without a unigram: an ARPA file without <unk>.
                return backoff + MISSING_UNKNOWN
            backoff += self._backoffs.get(history, 0.0)
            history = history[1:]

    def sentence(self, tokens: Iterable[str]) -> float:
        """Return the log-probability of a whole sentence with its end."""
        state: Hashable = self.start()
        total = 0.0
        for token in (*tokens, END):
            scored = self.next(state, token)
            total += scored.log_probability
            state = scored.state
        return total

    def arpa(self) -> str:
        """Return the model as an ARPA file, in base 10 with 7 digits."""
        grams = _by_order(self._probabilities)
        lines = ["\\data\\", *(f"ngram {n}={len(table)}" for n, table in grams.items())]
        for n, table in grams.items():
            lines += ["", f"\\{n}-grams:"]
            for gram in table:
                words = " ".join(self.vocabulary[number] for number in gram)
                line = f"{self._probabilities[gram] / math.log(10):.7f}\t{words}"
                if gram in self._backoffs:
                    line += f"\t{self._backoffs[gram] / math.log(10):.7f}"
                lines.append(line)
        return "\n".join([*lines, "", "\\end\\", ""])

    def save(self, folder: str | Path) -> None:
        """Write model.safetensors and config.json. Raises CheckpointError."""
        state: dict[str, Tensor] = {}
        for n, grams in _by_order(self._probabilities).items():
            state[f"tokens_{n}_Mn"] = torch.tensor(grams, dtype=torch.int32)
            state[f"log_probability_{n}_M"] = torch.tensor(
                [self._probabilities[gram] for gram in grams], dtype=torch.float64
            )
            state[f"log_backoff_{n}_M"] = torch.tensor(
                [self._backoffs.get(gram, 0.0) for gram in grams], dtype=torch.float64
            )
        config = {
            "format": NGRAM_FORMAT,
            "unit": self.unit,
            "order": self.order,
            "vocabulary": list(self.vocabulary),
        }
        save_checkpoint(folder, state, config)


def load_ngram(folder: str | Path) -> NgramModel:
    """Return the model that `NgramModel.save` wrote; raises CheckpointError."""
    checkpoint = load_checkpoint(folder)
    try:
        return _from_checkpoint(checkpoint)
    except (KeyError, TypeError, ValueError, IndexError, DataError) as error:
        raise CheckpointError(f"{folder} holds no n-gram language model: {error}.") from error


def _from_checkpoint(checkpoint: Checkpoint) -> NgramModel:
    config: dict[str, Any] = checkpoint.config
    if config.get("format") != NGRAM_FORMAT or config["unit"] not in ("word", "letter"):
        raise ValueError(f"its format is not {NGRAM_FORMAT}")
    vocabulary = [str(token) for token in config["vocabulary"]]
    probabilities: dict[Gram, float] = {}
    backoffs: dict[Gram, float] = {}
    for n in range(1, int(config["order"]) + 1):
        tokens_Mn = checkpoint.state[f"tokens_{n}_Mn"].reshape(-1, n)
        if len(tokens_Mn) and not 0 <= int(tokens_Mn.min()) <= int(tokens_Mn.max()) < len(
            vocabulary
        ):
            raise ValueError("a token is not in the vocabulary")
        grams = [tuple(row) for row in tokens_Mn.tolist()]
        values = (checkpoint.state[f"log_{name}_{n}_M"] for name in ("probability", "backoff"))
        for gram, probability, backoff in zip(grams, *(v.tolist() for v in values), strict=True):
            probabilities[gram] = probability
            if backoff != 0.0:
                backoffs[gram] = backoff
    return NgramModel(config["unit"], vocabulary, probabilities, backoffs)


def train_ngram(
    sentences: Iterable[Sequence[str]], order: int, unit: Unit, min_count: int = 1
) -> NgramModel:
    """Return the Witten-Bell model of sentences of tokens; rarer tokens count as unknown.

    Raises ConfigError for an impossible order and DataError for no tokens.
    """
    if not 1 <= order <= MAX_ORDER:
        raise ConfigError(f"The order of a language model lies between 1 and {MAX_ORDER}.")
    lists = [list(sentence) for sentence in sentences if len(sentence)]
    seen = Counter(token for sentence in lists for token in sentence)
    kept = sorted(
        token
        for token, count in seen.items()
        if count >= min_count and token not in (START, END, UNKNOWN)
    )
    if not kept:
        raise DataError("The language model's text holds no words: give it sentences.")
    vocabulary = [START, END, UNKNOWN, *kept]
    index = {token: number for number, token in enumerate(vocabulary)}
    counts: Counter[Gram] = Counter()
    for sentence in lists:
        numbers = [0, *(index.get(token, 2) for token in sentence), 1]
        for end in range(2, len(numbers) + 1):
            for first in range(max(0, end - order), end):
                counts[tuple(numbers[first:end])] += 1
    return _witten_bell(unit, vocabulary, counts)


def _witten_bell(unit: Unit, vocabulary: Sequence[str], counts: Mapping[Gram, int]) -> NgramModel:
    total: Counter[Gram] = Counter()
    kinds: Counter[Gram] = Counter()
    for gram, count in counts.items():
        total[gram[:-1]] += count
        kinds[gram[:-1]] += 1
    # Every token can come but the start: V of the uniform share.
    share = 1.0 / (len(vocabulary) - 1)
    value: dict[Gram, float] = {}
    root_mass = kinds[()] / (total[()] + kinds[()])
    for number in range(1, len(vocabulary)):
        value[(number,)] = root_mass * share
    for gram in sorted(counts, key=len):
        history = gram[:-1]
        lower = value[gram[1:]] if history else share
        denominator = total[history] + kinds[history]
        value[gram] = (counts[gram] + kinds[history] * lower) / denominator
    probabilities = {gram: math.log(p) for gram, p in value.items()}
    backoffs = {
        history: math.log(kinds[history] / (total[history] + kinds[history]))
        for history in total
        if history
    }
    # A history must itself be listed for its back-off to be stored; only the start is not.
    probabilities[(0,)] = MISSING_UNKNOWN
    return NgramModel(unit, vocabulary, probabilities, backoffs)


def _by_order(probabilities: Mapping[Gram, float]) -> dict[int, list[Gram]]:
    grams: dict[int, list[Gram]] = {}
    for gram in sorted(probabilities):
        grams.setdefault(len(gram), []).append(gram)
    return dict(sorted(grams.items()))


def letter_tokens(text: str, word_end: str) -> list[str]:
    """Return the letters of a text with the word end after every word."""
    return [letter for word in text.split() for letter in word + word_end]
