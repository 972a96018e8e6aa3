"""Language models that users bring: ARPA files, and KenLM's binaries where `kenlm` is installed."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import math
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any

from speechkit.core.errors import DataError
from speechkit.ssl.ctc.ngram import (
    END,
    MAX_ORDER,
    START,
    UNKNOWN,
    Gram,
    LanguageModel,
    NgramModel,
    Scored,
    Unit,
    load_ngram,
)

_LN10 = math.log(10.0)
_ARPA_SUFFIXES = (".arpa", ".lm", ".gz")
_OTHER_NAMES = {"<UNK>": UNKNOWN}


def load_language_model(path: str | Path, unit: Unit = "word") -> LanguageModel:
    """Return a language model from our folder, an ARPA file (.gz too), or a KenLM binary.

    `unit` says what the tokens of a file are; our folders know it. KenLM, where installed, also
    reads ARPA files, faster. Raises DataError or CheckpointError for what cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return load_ngram(path)
    if not path.is_file():
        raise DataError(
            f"There is no language model at {path}: give a folder made by speechkit ssl ngram, an "
            "ARPA file or a KenLM binary."
        )
    if importlib.util.find_spec("kenlm") is not None:
        return KenlmModel(path, unit)
    if not path.name.endswith(_ARPA_SUFFIXES):
        raise DataError(
            f"{path} is neither a folder nor an ARPA file (.arpa, .lm, .gz); a KenLM binary needs "
            "the package kenlm: pip install kenlm."
        )
    return read_arpa(path, unit)


def read_arpa(path: str | Path, unit: Unit = "word") -> NgramModel:
    """Return the model of an ARPA file; raises DataError that names the bad line."""
    path = Path(path)
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rt", encoding="utf-8") as stream:
                return _parse(stream, path, unit)
        with path.open(encoding="utf-8") as stream:
            return _parse(stream, path, unit)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read the language model {path}: {error}.") from error


def _parse(lines: Iterable[str], path: Path, unit: Unit) -> NgramModel:
    promised: dict[int, int] = {}
    found: dict[int, int] = {}
    vocabulary: dict[str, int] = {}
    probabilities: dict[Gram, float] = {}
    backoffs: dict[Gram, float] = {}
    section = 0
    for number, line in _until_end(lines, path):
        if line.startswith("\\"):
            section = _section(line, path, number)
        elif section == 0:
            order, count = _promise(line, path, number)
            promised[order] = count
        else:
            probability, words, backoff = _entry(line, section, path, number)
            gram = tuple(
                vocabulary.setdefault(_OTHER_NAMES.get(word, word), len(vocabulary))
                for word in words
            )
            probabilities[gram] = probability
            if backoff:
                backoffs[gram] = backoff
            found[section] = found.get(section, 0) + 1
    if not promised or found != {order: count for order, count in promised.items() if count}:
        raise DataError(f"{path} does not hold the n-grams that its head promises; copy it again.")
    for token in (START, END, UNKNOWN):
        vocabulary.setdefault(token, len(vocabulary))
    return NgramModel(unit, list(vocabulary), probabilities, backoffs)


def _until_end(lines: Iterable[str], path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines between \\data\\ and \\end\\ that are not empty."""
    inside = False
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text == "\\end\\":
            return
        if text == "\\data\\":
            inside = True
        elif inside and text:
            yield number, text
    raise DataError(
        f"{path} is no ARPA file or is cut short: it has no \\data\\ ... \\end\\ block."
    )


def _section(line: str, path: Path, number: int) -> int:
    name = line.strip("\\").removesuffix("-grams:")
    if not name.isdecimal() or not 1 <= int(name) <= MAX_ORDER:
        raise _bad(path, number)
    return int(name)


def _promise(line: str, path: Path, number: int) -> tuple[int, int]:
    order, equals, count = line.removeprefix("ngram ").partition("=")
    if not equals or not order.strip().isdecimal() or not count.strip().isdecimal():
        raise _bad(path, number)
    return int(order), int(count)


def _entry(line: str, order: int, path: Path, number: int) -> tuple[float, list[str], float]:
    parts = line.split()
    if not order + 1 <= len(parts) <= order + 2:
        raise _bad(path, number)
    try:
        probability = float(parts[0])
        backoff = float(parts[order + 1]) if len(parts) == order + 2 else 0.0
    except ValueError as error:
        raise _bad(path, number) from error
    if math.isnan(probability) or math.isnan(backoff) or probability > 0:
        raise _bad(path, number)
    return probability * _LN10, parts[1 : order + 1], backoff * _LN10


def _bad(path: Path, number: int) -> DataError:
    return DataError(f"Line {number} of {path} is not what an ARPA file holds there.")


class KenlmModel:
    """A model that the package `kenlm` reads: ARPA or its binary format."""

    def __init__(self, path: str | Path, unit: Unit) -> None:
        """Load the file; raises DataError where kenlm refuses it."""
        kenlm: Any = importlib.import_module("kenlm")
        try:
            self._model: Any = kenlm.Model(str(path))
        except (OSError, RuntimeError) as error:
            raise DataError(f"Cannot read the language model {path}: {error}.") from error
        self._new_state: Any = kenlm.State
        self.unit = unit

    def start(self) -> Hashable:
        """Return the state at the start of a sentence."""
        state = self._new_state()
        self._model.BeginSentenceWrite(state)
        return state  # type: ignore[no-any-return]

    def next(self, state: Hashable, token: str) -> Scored:
        """Return the probability of a token after a state, and the state after it."""
        after = self._new_state()
        return Scored(self._model.BaseScore(state, token, after) * _LN10, after)

    def knows(self, token: str) -> bool:
        """Return whether a token is in the vocabulary."""
        return token in self._model
