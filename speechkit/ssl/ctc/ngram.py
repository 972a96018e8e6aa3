"""Word and character n-gram language models from text, as ARPA files that KenLM reads.

The interpolated form of Witten and Bell (1991; formulas of Chen and Goodman 1998, section 2.4):
p(w | h) = (c(h w) + t(h) p(w | h')) / (c(h) + t(h)) with t(h) the number of kinds of tokens seen
after h and h' the history without its oldest token, down to a uniform share of 1 / V. It needs no
held-out text and no counts of counts, which small texts and alphabets of 28 letters do not have
(Kneser and Ney's discounts do; for large texts take KenLM's `lmplz`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from speechkit.core.errors import ConfigError, DataError

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
MIN_ORDER, MAX_ORDER = 2, 6
"""What KenLM's Python package is built for."""
_NEVER = -99.0
"""How ARPA files write a probability of 0: the start of a sentence is never predicted."""

Gram = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Ngram:
    """A back-off model."""

    vocabulary: tuple[str, ...]
    """Its tokens, START, END and UNKNOWN first."""
    arpa: str
    """The whole model as an ARPA file, in base 10."""


def train_ngram(sentences: Iterable[Sequence[str]], order: int, min_count: int = 1) -> Ngram:
    """Return the Witten-Bell model of sentences of tokens; rarer tokens count as unknown.

    Raises ConfigError for an impossible order and DataError for no tokens.
    """
    if not MIN_ORDER <= order <= MAX_ORDER:
        raise ConfigError(f"KenLM reads n-grams of order {MIN_ORDER} to {MAX_ORDER}, not {order}.")
    lists = [list(sentence) for sentence in sentences if len(sentence)]
    seen = Counter(token for sentence in lists for token in sentence)
    special = (START, END, UNKNOWN)
    kept = sorted(t for t, count in seen.items() if count >= min_count and t not in special)
    if not kept:
        raise DataError("The language model's text holds no words: give it sentences.")
    vocabulary = (*special, *kept)
    index = {token: number for number, token in enumerate(vocabulary)}
    counts: Counter[Gram] = Counter()
    for sentence in lists:
        numbers = [0, *(index.get(token, 2) for token in sentence), 1]
        for end in range(2, len(numbers) + 1):
            for first in range(max(0, end - order), end):
                counts[tuple(numbers[first:end])] += 1
    return Ngram(vocabulary=vocabulary, arpa=_arpa(vocabulary, counts))


def _arpa(vocabulary: Sequence[str], counts: Mapping[Gram, int]) -> str:
    """Return the file: log10 p, the n-gram, and log10 of the back-off weight of histories."""
    total: Counter[Gram] = Counter()
    kinds: Counter[Gram] = Counter()
    for gram, count in counts.items():
        total[gram[:-1]] += count
        kinds[gram[:-1]] += 1
    # Every token can come but the start: V of the uniform share.
    share = 1.0 / (len(vocabulary) - 1)
    root_mass = kinds[()] / (total[()] + kinds[()])
    value: dict[Gram, float] = {
        (number,): root_mass * share for number in range(1, len(vocabulary))
    }
    for gram in sorted(counts, key=len):
        history = gram[:-1]
        lower = value[gram[1:]] if history else share
        value[gram] = (counts[gram] + kinds[history] * lower) / (total[history] + kinds[history])
    logs = {(0,): _NEVER, **{gram: math.log10(p) for gram, p in value.items()}}
    tables: dict[int, list[str]] = {}
    for gram in sorted(logs):
        line = f"{logs[gram]:.7f}\t{' '.join(vocabulary[number] for number in gram)}"
        if gram in total:
            line += f"\t{math.log10(kinds[gram] / (total[gram] + kinds[gram])):.7f}"
        tables.setdefault(len(gram), []).append(line)
    head = ["\\data\\", *(f"ngram {n}={len(lines)}" for n, lines in sorted(tables.items()))]
    body = [line for n, lines in sorted(tables.items()) for line in ("", f"\\{n}-grams:", *lines)]
    return "\n".join([*head, *body, "", "\\end\\", ""])
