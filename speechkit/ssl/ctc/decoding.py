"""From CTC's frame posteriors to text: the best path, or torchaudio's beam search with KenLM.

The beam search is flashlight's (Kahn et al. 2022): score = log p(letters | sound) + lm_weight *
log p(text) + word_score * words, natural logarithms. A word model writes only words of its
vocabulary; a character model, or none, writes any.

Shapes: F frames, V classes (0 is blank).
"""

from __future__ import annotations

import gzip
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from speechkit.core.config import require_range
from speechkit.core.errors import ConfigError, DataError
from speechkit.ssl.ctc.characters import BLANK, WORD_END, Characters, normalise
from speechkit.ssl.ctc.ngram import END, START, UNKNOWN

_BLANK_TOKEN = "<blank>"
_KENLM_BINARY = b"mmap lm http://kheafield.com/code"


@dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """How a text is searched for."""

    beam: int = 1
    """Prefixes kept at each frame; 1 without a language model is the best path."""
    lm_weight: float = 1.0
    """Factor on the language model's log-probability."""
    word_score: float = 0.0
    """Added for each word: above 0 makes for more and shorter words."""
    threshold: float = 25.0
    """Prefixes worse than the best by more than this (natural log) are dropped."""

    def __post_init__(self) -> None:
        require_range(
            self,
            beam=(1, 100_000),
            lm_weight=(0.0, 100.0),
            word_score=(-100.0, 100.0),
            threshold=(0.0, 1e9),
        )


@dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """An n-gram model that KenLM reads, and what its tokens are."""

    path: Path
    """ARPA file (.gz too), from `speechkit ssl ngram` or elsewhere, or a KenLM binary."""
    unit: Literal["word", "character"] = "word"
    """Words, or letters with the word end among them."""
    words: Path | None = None
    """Text file of the words that may be written, one a line; those of the ARPA file if None. A
    KenLM binary does not list its words, so a word model in that form needs it."""

    def tokens(self) -> list[str] | None:
        """Return the words or letters it knows; None for a binary without a list.

        Raises DataError for a file that is not there, cannot be read, or is no ARPA file.
        """
        source = self.path if self.words is None else self.words
        if not source.is_file():
            raise DataError(
                f"There is no language model at {source}: give an ARPA file, from speechkit ssl "
                "ngram or elsewhere, or a KenLM binary."
            )
        try:
            data = source.read_bytes()
            text = (gzip.decompress(data) if source.suffix == ".gz" else data).decode("utf-8")
        except (OSError, EOFError, ValueError, gzip.BadGzipFile) as error:
            if self.words is None and _is_binary(source):
                return None
            raise DataError(f"Cannot read the language model {source}: {error}.") from error
        if self.words is not None:
            return text.split()
        if text.startswith(_KENLM_BINARY.decode()):
            return None
        _, found, body = text.partition("\\1-grams:")
        rows = [line.split() for line in body.partition("\n\\")[0].splitlines() if line.strip()]
        if not found or any(len(row) < 2 for row in rows):
            raise DataError(f"{source} is no ARPA file or is damaged: it lists no 1-grams.")
        return [row[1] for row in rows if row[1] not in (START, END, UNKNOWN)]


def _is_binary(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(_KENLM_BINARY)) == _KENLM_BINARY


def greedy_labels(log_probability_FV: Tensor) -> tuple[int, ...]:
    """Return the classes of the best path: repeats joined, blanks dropped."""
    path_F: Tensor = torch.unique_consecutive(log_probability_FV.argmax(dim=1))
    return tuple(path_F[path_F != BLANK].tolist())


class Decoder:
    """Turns the posteriors of recordings into text, with one alphabet and language model."""

    def __init__(
        self,
        characters: Characters,
        config: DecodingConfig | None = None,
        language_model: LanguageModel | None = None,
    ) -> None:
        """Raises DataError for a language model that cannot be read or has another alphabet.

        Raises ConfigError where a beam is asked for and its packages are not installed.
        """
        self.characters = characters
        config = DecodingConfig() if config is None else config
        self._of_words = language_model is not None and language_model.unit == "word"
        best_path = config.beam == 1 and language_model is None and config.word_score == 0
        self._search: Any = None if best_path else _search(characters, config, language_model)

    def text(self, log_probability_FV: Tensor) -> str:
        """Return the best text found; raises DataError for posteriors that are not numbers."""
        if log_probability_FV.isnan().any():
            raise DataError("The model's output is not a number: its training has failed.")
        if self._search is None or not len(log_probability_FV):
            return self.characters.decode(greedy_labels(log_probability_FV))
        found = self._search(log_probability_FV.float().cpu().contiguous()[None])[0]
        if not found:
            return ""
        if self._of_words:
            # Not its letters, where a last word that the beam could not end would be cut short.
            return " ".join(normalise(word) for word in found[0].words)
        return self.characters.decode(found[0].tokens.tolist())


def _search(
    characters: Characters, config: DecodingConfig, language_model: LanguageModel | None
) -> Any:
    """Return torchaudio's decoder."""
    known = None if language_model is None else language_model.tokens()
    lexicon = ""
    if language_model is not None and language_model.unit == "word":
        lexicon = _lexicon(characters, known, language_model.path)
    elif known is not None:
        _check_characters(characters, known)
    try:
        from torchaudio.models.decoder import ctc_decoder
    except (ImportError, RuntimeError) as error:
        raise ConfigError(
            "A beam or a language model needs the packages flashlight-text and kenlm: "
            "pip install flashlight-text kenlm."
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        if lexicon:
            (Path(folder) / "lexicon.txt").write_text(lexicon, encoding="utf-8")
        try:
            return ctc_decoder(
                lexicon=str(Path(folder) / "lexicon.txt") if lexicon else None,
                tokens=[_BLANK_TOKEN, *characters.symbols],
                lm=None if language_model is None else str(language_model.path),
                beam_size=config.beam,
                beam_threshold=config.threshold,
                # KenLM's logarithms are of base 10.
                lm_weight=config.lm_weight * math.log(10),
                word_score=config.word_score if lexicon else 0.0,
                # Without words to count it is the word end that is counted.
                sil_score=0.0 if lexicon else config.word_score,
                log_add=True,
                blank_token=_BLANK_TOKEN,
                sil_token=WORD_END,
                unk_word=UNKNOWN,
            )
        except (OSError, RuntimeError, ValueError) as error:
            where = "" if language_model is None else f" {language_model.path}"
            reason = str(error).strip().splitlines()[-1]
            raise DataError(f"Cannot read the language model{where}: {reason}") from error


def _lexicon(characters: Characters, words: list[str] | None, path: Path) -> str:
    """Return flashlight's lexicon: each word of the model and its letters, the word end last.

    Our letters are upper case; many models' words are not. Words with other characters are left
    out; raises DataError where none is left.
    """
    if words is None:
        raise DataError(f"{path} is a binary, which does not list its words: give them as a file.")
    lines = []
    for word in dict.fromkeys(words):
        spelling = normalise(word)
        if spelling and " " not in spelling and not characters.unknown(spelling):
            lines.append(f"{word} {' '.join(spelling + WORD_END)}\n")
    if not lines:
        raise DataError(f"{path} has no word in the alphabet of the recogniser.")
    return "".join(lines)


def _check_characters(characters: Characters, known: list[str]) -> None:
    """Raise DataError for a character model of another alphabet."""
    missing = [symbol for symbol in characters.symbols if symbol not in known]
    # A short text may lack a rare letter; one without most of them is of another language.
    if 2 * len(missing) > len(characters.symbols):
        raise DataError(
            f"The character model does not know {' '.join(missing[:20])}: train it on text in the "
            "alphabet of the recogniser."
        )
