"""Parts of speech: an averaged perceptron over the words around each word.

The features are those of Honnibal (https://explosion.ai/blog/part-of-speech-pos-tagger-in-python)
and the usual tag of the next word. Tags are the Penn treebank's, with some of them joined.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from speechkit.text.vocab import MARKS

Weights = Mapping[str, Mapping[str, int]]
"""Weight of each class for each feature."""

MODEL = Path(__file__).with_name("tagger.json.gz")

_CLITIC = re.compile(r"(?i)(.+?)(n't|'(?:s|ll|re|ve|d|m))$")
_CLITIC_TAG = {"n't": "RB", "'ll": "MD", "'re": "VBP", "'ve": "VBP", "'d": "MD", "'m": "VBP"}
NUMBER_WORDS = frozenset((
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
    "hundred", "thousand", "million", "billion", "trillion",
))  # fmt: skip


def score(weights: Weights, features: Iterator[str]) -> dict[str, int]:
    """The summed weights of the features, by class."""
    total: dict[str, int] = {}
    for feature in features:
        for name, weight in weights.get(feature, {}).items():
            total[name] = total.get(name, 0) + weight
    return total


@dataclass(frozen=True)
class Tagger:
    """Tags tokens one after another, each with the tags of the two before it."""

    weights: Weights
    usual: Mapping[str, str]
    """The tag that a common word has most often."""

    def tag(self, tokens: Sequence[str]) -> list[str]:
        """The tag of each token; `M` for a mark. "don't" and "she's" are tagged as their verb-less
        halves would be: by what stands before the apostrophe.
        """
        parts, owner = split_clitics(tokens)
        tags: list[str] = []
        for position in range(len(parts)):
            tags.append(self._tag(parts, position, tags))
        found = [""] * len(tokens)
        for part_tag, index in zip(tags, owner, strict=True):
            found[index] = found[index] or part_tag
        return found

    def _tag(self, parts: Sequence[str], position: int, before: Sequence[str]) -> str:
        word = parts[position]
        if word in MARKS:
            return "M"
        if word.lower() in _CLITIC_TAG:
            return _CLITIC_TAG[word.lower()]
        scores = score(self.weights, features(parts, position, before, self.usual))
        return max(scores, key=lambda tag: (scores[tag], tag), default="NN")


def split_clitics(tokens: Sequence[str]) -> tuple[list[str], list[int]]:
    """The tokens with "n't", "'s" and the like apart, and the token each part comes from."""
    parts: list[str] = []
    owner: list[int] = []
    for index, token in enumerate(tokens):
        match = _CLITIC.fullmatch(token)
        pieces = match.groups() if match and len(token) > 2 else (token,)
        parts += pieces
        owner += [index] * len(pieces)
    return parts, owner


def features(
    parts: Sequence[str], position: int, tags: Sequence[str], usual: Mapping[str, str]
) -> Iterator[str]:
    """The features of one part of a token; `tags` are those of the parts before it."""

    def at(index: int) -> str:
        if not 0 <= index < len(parts):
            return "<>"
        word = parts[index].lower()
        return "!n" if word in NUMBER_WORDS else word

    word, before, after = at(position), at(position - 1), at(position + 1)
    tag_1 = tags[position - 1] if position else "<>"
    tag_2 = tags[position - 2] if position > 1 else "<>"
    starts = position == 0 or parts[position - 1] in MARKS
    yield "b"
    yield f"w {word}"
    yield f"3 {word[-3:]}"
    yield f"2 {word[-2:]}"
    yield f"1 {word[:1]}"
    yield f"t {tag_1}"
    yield f"T {tag_2} {tag_1}"
    yield f"tw {tag_1} {word}"
    yield f"p {before}"
    yield f"p3 {before[-3:]}"
    yield f"P {at(position - 2)}"
    yield f"n {after}"
    yield f"n3 {after[-3:]}"
    yield f"N {at(position + 2)}"
    yield f"tn {tag_1} {usual.get(after, after[-2:])}"
    yield f"wn {word} {usual.get(after, after[-2:])}"
    yield f"nt {usual.get(after, '?')} {usual.get(at(position + 2), '?')}"
    if parts[position][:1].isupper():
        yield "c0" if starts else f"c1 {parts[position].isupper() and len(word) > 1}"


@lru_cache(maxsize=1)
def english_tagger() -> Tagger:
    """The tagger that comes with the package, read once a process."""
    stored = json.loads(gzip.decompress(MODEL.read_bytes()))
    return Tagger(weights=stored["weights"], usual=stored["usual"])
