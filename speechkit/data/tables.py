"""Tables of clips: CSV, TSV and pipes, with a header or without.

With a header: Coqui's `audio_file|text|speaker_name`, F5-TTS' `audio_file|text`, Common Voice's
TSV, and the like. Without: LJSpeech's `id|raw|normalised` and `id|text`, Piper's `id|speaker|text`,
VITS' `file|text|speaker`. What the columns mean is decided for the table as a whole; a row that
does not fit is refused with its line.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from speechkit.core.errors import DataError
from speechkit.data.clips import (
    FIRST_HERE,
    FIRST_WAVS,
    ClipSource,
    Corpus,
    find_audio,
    lines,
    looks_like_file,
    row_clip,
)
from speechkit.text import normalize

_COLUMNS: Mapping[str, str] = {
    **dict.fromkeys((
        "file", "file_name", "filename", "file_path", "filepath", "audio", "audio_file",
        "audio_filename", "audio_file_name", "audio_filepath", "audio_file_path", "audio_path",
        "audiopath", "wav", "wav_file", "wav_filename", "wav_path", "wavpath", "path", "clip",
        "clip_path",
    ), "file"),
    **dict.fromkeys((
        "normalized_text", "normalised_text", "text_normalized", "text_normalised", "normalized",
        "normalised", "normalized_transcription", "normalized_transcript", "normalized_sentence",
    ), "normalized"),
    **dict.fromkeys((
        "text", "transcript", "transcription", "sentence", "raw_text", "raw_transcription",
        "utterance", "caption",
    ), "text"),
    **dict.fromkeys((
        "speaker", "speaker_name", "speaker_id", "speakerid", "spk", "spk_id", "spkid", "client_id",
        "voice", "narrator", "reader", "talker",
    ), "speaker"),
    **dict.fromkeys(("id", "clip_id", "utt_id", "utterance_id", "segment_id"), "id"),
    **dict.fromkeys(("language", "lang", "locale", "language_id"), "language"),
    **dict.fromkeys(("license", "licence"), "license"),
    **dict.fromkeys(("split", "subset"), "split"),
    **dict.fromkeys(("duration", "duration_seconds", "duration_s"), "seconds"),
    **dict.fromkeys(("offset", "start", "start_time", "start_seconds"), "start"),
    **dict.fromkeys(("end", "end_time", "end_seconds"), "end"),
    "source": "source",
}  # fmt: skip
"""What people call their columns, and what we call them."""
_OTHER = frozenset((
    "gender", "sex", "age", "accent", "accents", "dialect", "variant", "emotion", "emotion_name",
    "seconds", "sample_rate", "sampling_rate", "num_samples", "samples", "frames", "channels",
    "size", "bytes", "snr", "up_votes", "down_votes", "segment", "book", "chapter", "",
))  # fmt: skip
"""Columns that nobody writes a transcript into."""
_MAY_BE_TEXT = re.compile(r"text|trans|sent|utter|caption|lyric|phrase|script|spoken|words", re.I)
_HOW = "Give the table a header such as file|text|speaker."
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*|[A-Za-z]*[-_ ]?\d+[A-Za-z]?")
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class _Row:
    """A row and where it stands."""

    line: int
    """Its first line in the file, from 1."""
    cells: list[str]
    """Its cells as written."""


def column_of(name: str) -> str | None:
    """Return our name of a column, whatever its case; None for one that we do not read."""
    return _COLUMNS.get(re.sub(r"[\s-]+", "_", name.strip(" \t\r\n\"'\ufeff").lower()))


def may_be_text(name: str) -> bool:
    """Return whether a column that we do not read may hold transcripts by its name."""
    return _MAY_BE_TEXT.search(name) is not None


def is_unread(name: str, value: object) -> bool:
    """Return whether a column that nobody reads has words, which a transcript could be."""
    return column_of(name) is None and name.lower() not in _OTHER and isinstance(value, str)


def table_clips(
    corpus: Corpus, table: Path, columns: tuple[str, ...] | None = None
) -> Iterator[ClipSource]:
    """Yield the clips of a table in its order; `columns` = what it is known to have, no header.

    Raises DataError, with the line, for a table whose columns are not clear, and for a row that has
    too few or too many of them or holds what cannot be a transcript or a speaker.
    """
    first = next((line for line in lines(table) if line.strip()), "")
    delimiter = _delimiter(first, table)
    rows = _rows(table, delimiter, first)
    header = [column_of(name) for name in rows[0].cells] if rows else []
    if _is_header(header, rows, table):
        yield from _with_header(corpus, table, header, rows, delimiter)
    elif delimiter in ",;":
        raise DataError(
            f"Line {rows[0].line if rows else 1} of '{table}' is no header: start the table with "
            "file,text,speaker or the like, or write LJSpeech's id|text."
        )
    else:
        yield from _without_header(corpus, table, rows, columns or _guessed_columns(table, rows))


def _delimiter(first: str, table: Path) -> str:
    """Return the sign between columns, from the first line that is not empty."""
    for sign in "|\t,;":
        if sign in first and any(column_of(name) for name in first.split(sign)):
            return sign
    if "|" in first:
        return "|"
    return "\t" if "\t" in first or table.suffix.lower() == ".tsv" else ","


def _rows(table: Path, delimiter: str, first: str) -> list[_Row]:
    """Return the rows that are not empty; raises DataError where the file is not such a table."""
    # Tables with tabs and pipes have bare quotes in their texts.
    reader = csv.reader(
        lines(table),
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if delimiter in "|\t" else csv.QUOTE_MINIMAL,
        strict=True,
        skipinitialspace=f"{delimiter} " in first,
    )
    found: list[_Row] = []
    before = 0
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                found.append(_Row(before + 1, cells))
            before = reader.line_num
    except csv.Error as error:
        raise DataError(
            f"Line {before + 1} of '{table}' cannot be read as CSV: {error}. A text with quotes is "
            'written "so, with ""quotes"" doubled".'
        ) from error
    return found


def _is_header(header: Sequence[str | None], rows: Sequence[_Row], table: Path) -> bool:
    """Return whether the first row names columns; raises DataError for one without the file."""
    known = [name for name in header if name]
    if not known:
        return False
    first = rows[0]
    if len(known) > 1 and {"file", "id"} & set(known):
        return True
    if not find_audio(table.parent, first.cells[0].strip(), FIRST_WAVS).missing:
        return False
    if "file" in known:
        return True
    named = ", ".join(cell.strip() for cell in first.cells)
    raise DataError(
        f"Line {first.line} of '{table}' looks like a header ({named[:80]}) but does not say which "
        "column has the audio file: call it file."
    )


def _with_header(
    corpus: Corpus,
    table: Path,
    header: Sequence[str | None],
    rows: Sequence[_Row],
    delimiter: str,
) -> Iterator[ClipSource]:
    """Yield the clips of a table whose first row says what its columns are."""
    where = f"Line {rows[0].line} of '{table}'"
    twice = [name for name, count in Counter(filter(None, header)).items() if count > 1]
    if twice:
        raise DataError(f"{where} has two columns for the {twice[0]}: rename all but one of them.")
    unread = [
        cell.strip()
        for cell, name in zip(rows[0].cells, header, strict=True)
        if name is None and cell.strip(" \ufeff\"'").lower() not in _OTHER
    ]
    if unread and not {"text", "normalized"} & set(header):
        raise DataError(
            f"{where} names no text, but {', '.join(unread)[:80]}: call the transcripts' column "
            "text, or take the columns away that are not read."
        )
    if len(rows) == 1:
        raise DataError(f"'{table}' has a header but lists no clip.")
    names = [cell.strip(" \ufeff\"'") for cell in rows[0].cells]
    spaced = any(cell[:1].isspace() for cell in rows[0].cells[1:])
    for row in rows[1:]:
        where = f"Line {row.line} of '{table}'"
        cells = _fitted(row, names, where, delimiter)
        text_at = header.index("text") if "text" in header else -1
        if not spaced and _is_split_text(cells, text_at):
            raise DataError(
                f"{where}: a text that goes on after '{delimiter}' and a blank? Put a text that "
                f"holds '{delimiter}' into quotes, or take the blank away."
            )
        values = {name: cell for name, cell in zip(header, cells, strict=True) if name}
        _check_swallowed(values, table, where, delimiter)
        values["text"] = values.pop("normalized", "").strip() or values.get("text", "")
        file = values.get("file", "").strip()
        places = FIRST_HERE
        if "file" not in values:
            file, places = values.pop("id").strip(), FIRST_WAVS
            values["file"] = file
        if not file:
            raise DataError(f"{where} names no audio file; give it one or take the row away.")
        yield row_clip(corpus, where, table.parent, values, find_audio(table.parent, file, places))


def _fitted(row: _Row, names: Sequence[str], where: str, delimiter: str) -> list[str]:
    """Return as many cells as there are columns; raises DataError for more or fewer."""
    cells = list(row.cells)
    while len(cells) > len(names) and not cells[-1].strip():
        cells.pop()
    if len(cells) != len(names):
        how = (
            f'put a text that holds "{delimiter}" into quotes'
            if delimiter in ",;"
            else f'take "{delimiter}" out of the text'
        )
        raise DataError(
            f"{where} has {len(cells)} columns, but the header has {len(names)} "
            f"({delimiter.join(names)[:80]}): write all of them, and {how}."
        )
    for position, (name, cell) in enumerate(zip(names, cells, strict=True)):
        # Programs number their rows in a first column without a name.
        if not name and cell.strip() and not (position == 0 and cell.strip().isdigit()):
            raise DataError(f"{where} has '{cell[:40]}' in a column that the header does not name.")
    return cells


def _is_split_text(cells: Sequence[str], text_at: int) -> bool:
    """Return whether the cell after the text begins with a blank, as those before it do not."""
    if not 0 <= text_at < len(cells) - 1:
        return False
    return cells[text_at + 1][:1].isspace() and not any(
        cell[:1].isspace() for cell in cells[: text_at + 1]
    )


def _check_swallowed(values: Mapping[str, str], table: Path, where: str, delimiter: str) -> None:
    """Raise DataError for a cell in quotes that holds further rows."""
    for value in values.values():
        for line in value.splitlines()[1:]:
            start = line.split(delimiter)[0].strip().strip('"')
            is_row = delimiter in line and start and not find_audio(table.parent, start).missing
            if looks_like_file(start) or is_row:
                raise DataError(f"{where}: a quote opens that is closed rows later; close it.")


def _without_header(
    corpus: Corpus, table: Path, rows: Sequence[_Row], columns: tuple[str, ...]
) -> Iterator[ClipSource]:
    """Yield the clips of an LJSpeech-style table, one speaker's where it has none."""
    for row in rows:
        where = f"Line {row.line} of '{table}'"
        cells = [cell.strip() for cell in row.cells]
        if len(cells) > len(columns):
            raise DataError(f"{where} has {len(cells)} columns, not {len(columns)}. {_HOW}")
        values = dict(zip(columns, cells, strict=False))
        if not values["file"]:
            raise DataError(f"{where} names no audio file; give it one or take the row away.")
        values["text"] = values.pop("normalized", "") or values.get("text", "")
        values.setdefault("speaker", corpus.speaker or table.parent.resolve().name)
        found = find_audio(table.parent, values["file"], FIRST_WAVS)
        yield row_clip(corpus, where, table.parent, values, found)


def _guessed_columns(table: Path, rows: Sequence[_Row]) -> tuple[str, ...]:
    """Return what the columns of a table without header are; raises DataError where two fit."""
    for row in rows:
        if not 2 <= len(row.cells) <= 3:
            raise DataError(
                f"Line {row.line} of '{table}' has {len(row.cells)} columns; without a header it "
                f"is id|text, id|text|normalised or id|speaker|text. {_HOW}"
            )
    wide = [row for row in rows if len(row.cells) == 3]
    readings = [_is_reading(*row.cells[1:]) for row in wide]
    if sum(readings) > len(wide) / 2 or len(wide) <= len(rows) / 2:
        for row, is_reading in zip(wide, readings, strict=True):
            if not is_reading:
                raise DataError(
                    f"Line {row.line} of '{table}': '{row.cells[2][:40]}' is not "
                    f"'{row.cells[1][:40]}' in words, and the other rows have no speaker; does the "
                    f"text hold the sign between columns? {_HOW}"
                )
        return ("file", "text", "normalized") if wide else ("file", "text")
    for row in rows:
        if len(row.cells) != 3:
            raise DataError(
                f"Line {row.line} of '{table}' has 2 columns where others have 3. {_HOW}"
            )
    second = [row.cells[1] for row in rows]
    third = [row.cells[2] for row in rows]
    speakers = _are_speakers(second), _are_speakers(third)
    if speakers == (True, False):
        return ("file", "speaker", "text")
    if speakers == (False, True):
        return ("file", "text", "speaker")
    raise DataError(
        f"Line {rows[0].line} of '{table}' has three columns, and nothing tells a speaker from a "
        f"text: '{second[0][:40]}' and '{third[0][:40]}'. {_HOW}"
    )


def _is_reading(raw: str, normalized: str) -> bool:
    """Return whether the second text is the first with its numbers and the like in words."""
    first, second = raw.strip().casefold(), normalized.strip().casefold()
    if not second or first == second:
        return True
    said = Counter(_WORD.findall(second))
    for words in (Counter(_WORD.findall(x.casefold())) for x in (raw, normalize(raw))):
        shared = (words & said).total()
        if shared and shared >= 0.6 * max(words.total(), said.total()):
            return True
    return SequenceMatcher(None, first, second, autojunk=False).ratio() > 0.7


def _are_speakers(cells: Sequence[str]) -> bool:
    """Return whether all cells of a column may be names of speakers, and some are for certain."""
    names = Counter(cell.strip() for cell in cells)
    if any(
        not name or len(name.split()) > 3 or name[-1] in ".,!?;:" or len(name) > 60
        for name in names
    ) or any(cell != cell.strip() for cell in cells):
        return False
    if all(_IDENTIFIER.fullmatch(name) for name in names):
        return True
    return len(names) <= len(cells) / 2
