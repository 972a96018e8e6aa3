"""Clips in JSON lines: our own manifests and shards, NeMo's, Hugging Face's and lhotse's."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speechkit.core.errors import DataError
from speechkit.data.clips import ClipSource, Corpus, Found, find_audio, lines, row_clip
from speechkit.data.tables import column_of, is_unread, may_be_text


def manifest_clips(corpus: Corpus, table: Path) -> Iterator[ClipSource]:
    """Yield the clips of a JSONL table: files beside it, or members of tar shards beside it.

    Raises DataError, with the line, for what is not an object with an audio file.
    """
    members: dict[str, dict[str, tuple[int, int]]] = {}
    empty = True
    unread: Counter[str] = Counter()
    without_text: dict[str, str] = {}
    for line, text in enumerate(lines(table), start=1):
        if not text.strip():
            continue
        empty = False
        where = f"Line {line} of '{table}'"
        written = _object(text, where)
        row = _values(written, where)
        others = [name for name, value in written.items() if is_unread(name, value)]
        unread.update(others)
        if not row["text"]:
            without_text |= dict.fromkeys(others, where)
        file = row.get("file")
        if not file:
            raise DataError(f'{where} has no "file"; give each clip one.')
        shard = row.pop("shard", None)
        if shard is None:
            yield row_clip(corpus, where, table.parent, row, find_audio(table.parent, file))
            continue
        if shard not in members:
            members[shard] = _tar_members(table.parent / shard)
        inside = members[shard].get(file)
        # A member that is not there becomes a path that is not there, and is counted as missing.
        place = table.parent / shard
        found = (
            Found(path=place)
            if inside
            else Found(path=place / file, missing=f"there is no '{file}' in '{place}'")
        )
        yield row_clip(corpus, where, table.parent, row, found, inside or (0, None))
    if empty:
        raise DataError(f"'{table}' lists no clip.")
    for name, where in without_text.items():
        if unread[name] == 1:
            raise DataError(f'{where} has no "text", but "{name[:40]}", which no other line has.')


def is_lhotse(table: Path) -> bool:
    """Return whether a JSON lines file is one of lhotse's manifests."""
    if table.name.endswith(".jsonl.gz"):
        return True
    first = next((line for line in lines(table) if line.strip()), "")
    return '"recording_id"' in first or ('"recording"' in first and '"supervisions"' in first)


def lhotse_clips(corpus: Corpus, path: Path) -> Iterator[ClipSource]:
    """Yield the segments of lhotse's cuts, or of recordings and supervisions, in their order.

    `path` is a file of cuts, or a folder with one of them or with recordings and supervisions.
    Raises DataError where lhotse is missing or the manifests are not such.
    """
    table, cuts = _lhotse_cuts(path)
    for number, cut in enumerate(cuts, start=1):
        where = f"Cut {number} of '{table}'"
        segments = getattr(cut, "supervisions", None)
        recording = getattr(cut, "recording", None)
        sources = recording.sources if recording is not None else []
        if recording is None or segments is None or [x.type for x in sources] != ["file"]:
            raise DataError(f"{where} is not a part of one audio file, which is all prepare reads.")
        found = find_audio(table.parent, str(sources[0].source))
        for segment in segments:
            start, seconds = cut.start + segment.start, segment.duration
            whole = start == 0 and abs(seconds - recording.duration) < 1e-3
            row = {
                "id": str(segment.id),
                "text": segment.text or "",
                "speaker": segment.speaker or "",
                "language": _LANGUAGES.get(segment.language, segment.language or ""),
            }
            if not whole:
                row |= {"start": repr(float(start)), "seconds": repr(float(seconds))}
            yield row_clip(corpus, where, table.parent, row, found)
        if not segments:
            raise DataError(f"{where} has no supervision: nothing says who speaks.")


_LANGUAGES = {"English": "en"}


def _lhotse_cuts(path: Path) -> tuple[Path, Any]:
    """Return the table that was read, and its cuts."""
    try:
        import lhotse
    except ImportError as error:
        raise DataError(
            "This corpus is read through lhotse, which is not installed: pip install lhotse."
        ) from error
    files = [path] if path.is_file() else sorted(path.glob("*.jsonl*"))
    cuts = [file for file in files if "cuts" in file.name or path.is_file()]
    recordings = [file for file in files if "recordings" in file.name]
    supervisions = [file for file in files if "supervisions" in file.name]
    try:
        if len(cuts) == 1:
            return cuts[0], lhotse.CutSet.from_file(cuts[0])
        if not cuts and len(recordings) == len(supervisions) == 1:
            made = lhotse.CutSet.from_manifests(
                recordings=lhotse.RecordingSet.from_file(recordings[0]),
                supervisions=lhotse.SupervisionSet.from_file(supervisions[0]),
            )
            return recordings[0], made
    # lhotse meets a broken manifest with whatever its parsing raises.
    except Exception as error:
        why = next(iter(str(error).splitlines()), "")
        raise DataError(
            f"lhotse cannot read '{path}': {type(error).__name__}: {why[:200]} Give its cuts."
        ) from error
    raise DataError(f"'{path}' has not one file of lhotse's cuts: name the one to read.")


def _object(text: str, where: str) -> dict[str, Any]:
    """Return the object that a line holds; raises DataError for anything else."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Return the pairs as a dict, none of them hidden by a later one."""
        if len({name for name, _ in pairs}) < len(pairs):
            raise DataError(f"{where} gives a value twice; take one of them away.")
        return dict(pairs)

    try:
        row = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON; repair it.") from error
    if not isinstance(row, dict):
        raise DataError(f'{where} is no {{"file": ..., "text": ...}}; make it one.')
    return row


def _values(row: dict[str, Any], where: str) -> dict[str, str]:
    """Return what we read of an object as text, by our names of the columns."""
    values: dict[str, str] = {}
    for name, value in row.items():
        column = "shard" if name == "shard" else column_of(name)
        # Hugging Face writes an audio column as {"path": ...}.
        if column == "file" and isinstance(value, dict):
            value = value.get("path")
        if column is None or value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise DataError(f'{where}: "{name}" is neither text nor a number; make it one.')
        if column in values:
            raise DataError(f"{where} has two values for the {column}; take one of them away.")
        try:
            str(value).encode()
        except UnicodeEncodeError as error:
            raise DataError(f'{where}: "{name}" holds half a character; repair it.') from error
        values[column] = str(value)
    hidden = [name for name in row if column_of(name) is None and may_be_text(name)]
    if hidden and not {"text", "normalized"} & set(values):
        raise DataError(f'{where} has no "text", but "{hidden[0]}": call the transcript text.')
    values["text"] = values.pop("normalized", "").strip() or values.get("text", "")
    return values


def _tar_members(path: Path) -> dict[str, tuple[int, int]]:
    """Return first byte and size of each file in an uncompressed tar; nothing is extracted."""
    try:
        with tarfile.open(path, "r:") as tar:
            return {
                member.name: (member.offset_data, member.size) for member in tar if member.isreg()
            }
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"The shard '{path}' is not a readable plain tar: {error}.") from error
