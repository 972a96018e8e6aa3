"""The letters of transformers' recognisers: vocab.json and the alphabet of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechkit.core.errors import CheckpointError
from speechkit.ssl.ctc.characters import BLANK, WORD_END, Characters

VOCABULARY_FILE = "vocab.json"
TOKENIZER_FILE = "tokenizer_config.json"
PAD = "<pad>"
"""What transformers calls the class that is CTC's blank."""

_SPECIAL = re.compile(r"<.+>|\[.+\]")


def read_characters(folder: Path, blank: object) -> tuple[Characters, list[int], tuple[str, ...]]:
    """Return our alphabet, which class of theirs each of ours is, and the classes left out.

    ``blank`` is config.json's pad_token_id. Special classes (<s>, </s>, <unk>) are fairseq's
    heritage and never trained with CTC. Raises CheckpointError where the vocabulary is damaged or
    is not one of letters.
    """
    classes = _read(folder / VOCABULARY_FILE)
    tokens = {index: token for token, index in classes.items()}
    known = type(blank) is int and tokens.get(blank, WORD_END) != WORD_END
    if len(tokens) != len(classes) or not known or WORD_END not in classes:
        raise CheckpointError(
            f"{folder / VOCABULARY_FILE} must give each token a number of its own, among them "
            f"'{WORD_END}' and pad_token_id {json.dumps(blank)} of config.json."
        )
    order, symbols, special = [int(str(blank)), classes[WORD_END]], [WORD_END], []
    for index, token in sorted(tokens.items()):
        if index in order:
            continue
        if _SPECIAL.fullmatch(token):
            special.append(token)
            continue
        # Our texts are in capitals (characters.normalise); some models know small letters only.
        symbols.append(token.upper() if len(token.upper()) == 1 else token)
        order.append(index)
    try:
        return Characters(tuple(symbols)), order, tuple(special)
    except ValueError as error:
        raise CheckpointError(
            f"{folder / VOCABULARY_FILE} is no alphabet of letters ({error}): import the encoder "
            "alone (--encoder-only)."
        ) from error


def vocabulary(characters: Characters) -> dict[str, int]:
    """Return vocab.json for an alphabet."""
    return {
        PAD: BLANK,
        **{symbol: index for index, symbol in enumerate(characters.symbols, start=1)},
    }


def tokenizer_config() -> dict[str, Any]:
    """Return what transformers' tokenizer is told: no classes but blank and letters."""
    return {
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "pad_token": PAD,
        "word_delimiter_token": WORD_END,
        "bos_token": None,
        "eos_token": None,
        "unk_token": None,
        "do_lower_case": False,
    }


def _read(path: Path) -> Mapping[str, int]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"Cannot read {path} ({error}): a recogniser's folder of transformers holds it."
        ) from error
    whole = isinstance(found, dict) and all(type(value) is int for value in found.values())
    if not whole:
        raise CheckpointError(f"{path} must be one table of tokens and numbers.")
    return dict(found)
