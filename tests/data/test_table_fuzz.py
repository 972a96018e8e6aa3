"""Mutated tables, by the thousand: no traceback, and every clip is read right, counted or refused.

The truth is known: each clip has words that no other has. Whatever the mutation, a transcript that
comes out must be the one that went in, as far as the mutated table still has it whole.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from speechkit.core.errors import DataError
from speechkit.data.clips import Corpus
from speechkit.data.corpora import read_corpus

TABLES = int(os.environ.get("FUZZ_TABLES", "2000"))
WORDS = ["apple", "river", "garden", "window", "yellow", "kitchen", "summer", "basket", "marble"]
SPEAKERS = ["anna", "ben", "p225", "Lee"]

Row = tuple[str, str, str]
"""Name of the clip, its transcript, its speaker."""


def _truth(rng: random.Random) -> list[Row]:
    """Clips with transcripts that no two share a word of, and speakers."""
    words = rng.sample(WORDS, len(WORDS))
    rows = []
    for clip in range(rng.randint(1, 3)):
        text = " ".join(words[3 * clip : 3 * clip + rng.randint(1, 3)]).capitalize()
        text += rng.choice((".", "", "!", ", so.", ' "yes".'))
        rows.append((f"c{clip}", text, rng.choice(SPEAKERS)))
    return rows


def _csv(rows: list[Row], delimiter: str, header: list[str], suffix: str) -> str:
    """A table with a header, as the csv module writes it."""
    out = io.StringIO()
    plain = delimiter in "|\t"
    writer = csv.writer(
        out,
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL,
        quotechar=None if plain else '"',
        lineterminator="\n",
    )
    writer.writerow(header)
    writer.writerows([f"{name}{suffix}", text, speaker] for name, text, speaker in rows)
    return out.getvalue()


LAYOUTS: dict[str, Callable[[list[Row]], str]] = {
    "metadata.csv": lambda rows: _csv(rows, ",", ["file", "text", "speaker"], ".wav"),
    "coqui.csv": lambda rows: _csv(rows, "|", ["audio_file", "text", "speaker_name"], ".wav"),
    "cv.tsv": lambda rows: _csv(rows, "\t", ["path", "sentence", "client_id"], ".wav"),
    "lj.csv": lambda rows: "".join(f"{name}|{text}\n" for name, text, _ in rows),
    "piper.csv": lambda rows: "".join(f"{name}|{who}|{text}\n" for name, text, who in rows),
    "nemo.jsonl": lambda rows: "".join(
        json.dumps({"audio_filepath": f"{name}.wav", "text": text, "speaker": who}) + "\n"
        for name, text, who in rows
    ),
}


def _mutated(text: str, rng: random.Random) -> str:
    """The table with one to three things done to it that people and programs do."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(text) + 1)
        lines = text.splitlines(keepends=True) or [""]
        line = rng.randrange(len(lines))
        kind = rng.randrange(9)
        if kind < 2:
            text = text[:at] + rng.choice(("|", ",", ", ", " | ", "\t", ";", '"', "\\")) + text[at:]
        elif kind == 2:
            text = text[:at] + text[at + rng.randint(1, 4) :]
        elif kind == 3:
            text = text[:at] + rng.choice(("\n", "\r\n", "\x00", "\u2028", "\ufeff")) + text[at:]
        elif kind == 4:
            text = "".join(lines[:line] + lines[line + 1 :])
        elif kind == 5:
            text = "".join([*lines[:line], lines[line], *lines[line:]])
        elif kind == 6:
            text = text[:at] + chr(rng.randint(1, 0x2FF)) + text[at:]
        elif kind == 7:
            text = rng.choice((text.upper(), text.replace("\n", "\r\n"), text.replace(",", ";")))
        else:
            text = text[:at]
    return text


def _core(text: str) -> str:
    """The words of a transcript that only it has."""
    return text.removesuffix(' "yes".').removesuffix(", so.").rstrip(".!").casefold()


def _check(text: str, clip: str, truth: list[Row], table: str) -> None:
    """Fail where a clip has words that are another's, or lost words that its line still has."""
    text = text.casefold()
    lines = [line for line in table.casefold().replace("\r", "\n").split("\n") if clip in line]
    for name, right, _ in truth:
        if name != clip:
            taken = [word for word in _core(right).split() if word in text]
            # Rows that lost the line break between them are one to every reader.
            assert all(any(word in line for line in lines) for word in taken), (table, clip, text)
        elif len(lines) == 1 and right.casefold() in lines[0]:
            assert _core(right) in text, (table, clip, text)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_mutated_tables(tmp_path: Path, layout: str) -> None:
    _fuzz(tmp_path, layout, 200 // len(LAYOUTS) + 1, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_thousands_of_mutated_tables(tmp_path: Path, layout: str) -> None:
    _fuzz(tmp_path, layout, TABLES // len(LAYOUTS) + 1, seed=2)


def _fuzz(folder: Path, layout: str, tables: int, seed: int) -> None:
    """Read mutated tables of one layout."""
    rng = random.Random(seed)
    (folder / "wavs").mkdir()
    for clip in range(3):
        (folder / "wavs" / f"c{clip}.wav").write_bytes(b"")
    refused = 0
    for _ in range(tables):
        truth = _truth(rng)
        table = _mutated(LAYOUTS[layout](truth), rng)
        (folder / layout).write_bytes(table.encode("utf-8", "surrogatepass"))
        try:
            clips = list(read_corpus(Corpus(path=folder / layout)))
        except DataError:
            refused += 1
            continue
        found = {clip.path.stem for clip in clips if not clip.missing}
        for name, text, _ in truth:
            whole = [x for x in table.splitlines() if name in x and text in x and ".wav" in x]
            assert not whole or name in found or any(clip.missing for clip in clips), table
        times = Counter(clip.path for clip in clips)
        for source in clips:
            # What two rows say of one file is compared when it is packed.
            if not source.missing and times[source.path] == 1:
                _check(source.text or "", source.path.stem, truth, table)
    assert 0.05 * tables < refused < 0.95 * tables
