"""Where clips come from: tar shards with a manifest, tables of files, and well-known corpora.

LibriSpeech, LibriTTS, VCTK and LJSpeech folders are read through lhotse's recipes.

Every reader yields `ClipSource`, which says where a clip's bytes are without opening them, so that
worker processes can do the decoding.
"""

from __future__ import annotations

import csv
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from speechkit.core.errors import DataError

CorpusKind = Literal["auto", "manifest", "metadata", "librispeech", "libritts", "vctk", "ljspeech"]

_AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
# Such as "unknown" or "corpus:unknown(>50)": different clips, not one voice.
_UNKNOWN_SPEAKER = re.compile(r"(?:.*:)?unknown\b.*", re.IGNORECASE)
_MANIFEST_NAMES = ("manifest.jsonl", "metadata.jsonl")


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A corpus on disk, and what to assume where it does not say."""

    path: Path
    """Folder of the corpus, or a .jsonl or .csv file that lists its clips."""
    kind: CorpusKind = "auto"
    """Layout; "auto" looks at the folder."""
    language: str = "en"
    """Language of clips that name none."""
    license: str = "unknown"
    """Licence of clips that name none."""
    split: str = "train"
    """Split of clips that name none."""
    speaker: str | None = None
    """Speaker of clips that name none; None = each is its own, as nothing says who shares a voice.
    LJSpeech-style tables are one speaker's, by default named like the folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipSource:
    """One clip before decoding: where its bytes are and what is known about it."""

    id: str
    """Name of the clip, unique within one packed file."""
    path: Path
    """Audio file, or the tar shard that holds it."""
    offset_bytes: int = 0
    """First byte of the audio file within `path`."""
    size_bytes: int | None = None
    """Length of the audio file within `path`; None = all of it."""
    start_seconds: float = 0.0
    """Where the clip starts in the recording."""
    seconds: float | None = None
    """Length of the clip; None = to the end of the recording."""
    text: str | None = None
    """Transcript as the corpus has it; None = unknown."""
    speaker: str
    """Speaker name; the clip's own id where the corpus names none."""
    language: str
    """Language code."""
    license: str
    """Licence of the recording."""
    split: str
    """Split that the corpus puts the clip in: train, dev, test, eval ..."""
    source: str
    """File or shard in its corpus, for people who look for the original."""


def read_corpus(corpus: Corpus) -> Iterator[ClipSource]:
    """Yield the clips of a corpus in its own order.

    Raises DataError where the folder is missing, its layout is not recognised, or a table is
    broken. Audio files that a table names but that do not exist are yielded all the same: whoever
    decodes them counts them.
    """
    kind = detect_kind(corpus.path) if corpus.kind == "auto" else corpus.kind
    if kind == "manifest":
        yield from _manifest_clips(corpus)
    elif kind == "metadata":
        yield from _metadata_clips(corpus)
    else:
        yield from _known_corpus_clips(corpus, kind)


def detect_kind(path: Path) -> CorpusKind:
    """Return the layout of a corpus; raises DataError where it is none that we know."""
    if path.is_file():
        kinds: Mapping[str, CorpusKind] = {".jsonl": "manifest", ".csv": "metadata"}
        if path.suffix in kinds:
            return kinds[path.suffix]
        raise DataError(f"'{path}' is not a corpus; give a folder, a .jsonl or a .csv file.")
    if not path.is_dir():
        raise DataError(f"There is no corpus at '{path}'; check the path.")
    if any((path / name).is_file() for name in _MANIFEST_NAMES):
        return "manifest"
    if (path / "wavs" / "LJ001-0001.wav").is_file() and (path / "metadata.csv").is_file():
        return "ljspeech"
    if (path / "metadata.csv").is_file():
        return "metadata"
    if any((path / name).is_dir() for name in ("wav48_silence_trimmed", "wav48")):
        return "vctk"
    patterns: tuple[tuple[str, CorpusKind], ...] = (
        ("*/*/*/*.trans.txt", "librispeech"),
        ("*/*/*/*.trans.tsv", "libritts"),
    )
    for pattern, kind in patterns:
        if next(path.glob(pattern), None) or next(path.glob(f"*/{pattern}"), None):
            return kind
    raise DataError(
        f"'{path}' has no layout that prepare knows. Put a metadata.csv with the header "
        "file,text,speaker (or LJSpeech style id|text), or a manifest.jsonl with one "
        '{"file": ..., "text": ...} a line, into the folder.'
    )


def _manifest_clips(corpus: Corpus) -> Iterator[ClipSource]:
    """Yield the clips of a JSONL table: files beside it, or members of tar shards beside it."""
    table = _table_path(corpus.path, _MANIFEST_NAMES)
    members: dict[str, dict[str, tuple[int, int]]] = {}
    for line, text in enumerate(_lines(table), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"Line {line} of '{table}' is not JSON; repair it.") from error
        if not isinstance(row, dict) or not isinstance(row.get("file"), str):
            raise DataError(f"Line {line} of '{table}' has no \"file\"; give each clip one.")
        file, shard = row["file"], row.get("shard")
        if not isinstance(shard, str):
            yield _clip(corpus, table, row, table.parent / file)
            continue
        if shard not in members:
            members[shard] = _tar_members(table.parent / shard)
        # A member that is not there becomes a path that is not there, and is counted as missing.
        missing = (table.parent / shard / file, 0, None)
        found = members[shard].get(file)
        path, offset, size = (table.parent / shard, *found) if found else missing
        yield _clip(corpus, table, row, path, offset, size)


def _metadata_clips(corpus: Corpus) -> Iterator[ClipSource]:
    """Yield the clips of a metadata.csv, with a header or LJSpeech style `id|text`."""
    table = _table_path(corpus.path, ("metadata.csv",))
    first = next(_lines(table), "")
    delimiter = "|" if "|" in first else ","
    header = [name.strip(' "').lower() for name in first.strip().split(delimiter)]
    has_header = "file" in header
    if not has_header and delimiter == ",":
        raise DataError(
            f"'{table}' must start with the header file,text,speaker, or have LJSpeech's id|text."
        )
    lines = _lines(table)
    # LJSpeech has bare quotes in its texts.
    rows = (
        csv.reader(lines, delimiter="|", quoting=csv.QUOTE_NONE)
        if delimiter == "|"
        else csv.reader(lines)
    )
    try:
        for line, cells in enumerate(rows, start=1):
            if not any(cell.strip() for cell in cells) or (has_header and line == 1):
                continue
            if has_header:
                row = dict(zip(header, cells, strict=False))
                yield _clip(corpus, table, row, table.parent / row.get("file", "").strip())
            else:
                # The third column of LJSpeech is the second with numbers spelled out.
                texts = [cell for cell in cells[1:3] if cell.strip()]
                speaker = corpus.speaker or table.parent.resolve().name
                row = {"text": texts[-1] if texts else "", "speaker": speaker}
                yield _clip(corpus, table, row, _audio_file(table.parent, cells[0].strip()))
    except csv.Error as error:
        raise DataError(f"'{table}' cannot be read as CSV: {error}.") from error


def _clip(
    corpus: Corpus,
    table: Path,
    row: Mapping[str, Any],
    path: Path,
    offset_bytes: int = 0,
    size_bytes: int | None = None,
) -> ClipSource:
    """Return the clip that a table's row describes, with the corpus' values for empty cells."""

    def cell(name: str, otherwise: str) -> str:
        """Return a cell of the row as text."""
        value = row.get(name)
        return str(value).strip() if value not in (None, "") else otherwise

    folder = table.parent
    inside = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
    speaker = cell("speaker", corpus.speaker or "unknown")
    name = cell("id", f"{folder.resolve().name}/{inside.with_suffix('').as_posix()}")
    return ClipSource(
        id=name,
        path=path,
        offset_bytes=offset_bytes,
        size_bytes=size_bytes,
        text=cell("text", "") or None,
        speaker=name if _UNKNOWN_SPEAKER.fullmatch(speaker) else speaker,
        language=cell("language", corpus.language),
        license=cell("license", corpus.license),
        split=cell("split", corpus.split),
        source=cell("source", inside.as_posix()),
    )


def _audio_file(folder: Path, name: str) -> Path:
    """Return the audio file of an LJSpeech-style id, or where it was expected."""
    places = (folder / "wavs", folder)
    for place in places:
        if Path(name).suffix in _AUDIO_SUFFIXES and (place / name).is_file():
            return place / name
        for suffix in _AUDIO_SUFFIXES:
            path = place / f"{name}{suffix}"
            if path.is_file():
                return path
    return places[0] / f"{name}.wav"


def _table_path(path: Path, names: tuple[str, ...]) -> Path:
    """Return the table itself, or the first of `names` in a folder; raises DataError for none."""
    if path.is_file():
        return path
    for name in names:
        if (path / name).is_file():
            return path / name
    raise DataError(f"'{path}' has no {' or '.join(names)}; check the path.")


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 text file; raises DataError for another encoding."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield from stream
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"'{path}' cannot be read as UTF-8 text: {error}.") from error


def _tar_members(path: Path) -> dict[str, tuple[int, int]]:
    """Return first byte and size of each file in an uncompressed tar; nothing is extracted."""
    try:
        with tarfile.open(path, "r:") as tar:
            return {
                member.name: (member.offset_data, member.size) for member in tar if member.isreg()
            }
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"The shard '{path}' is not a readable plain tar: {error}.") from error


@dataclass(frozen=True, kw_only=True)
class _KnownCorpus:
    """What lhotse does not say about a corpus."""

    license: str
    """Licence in the corpus' own README."""
    marker: str
    """A file pattern under the folder that lhotse wants; archives put it one folder deeper."""


_KNOWN: Mapping[str, _KnownCorpus] = {
    "librispeech": _KnownCorpus(license="CC-BY-4.0", marker="*/*/*/*.trans.txt"),
    "libritts": _KnownCorpus(license="CC-BY-4.0", marker="*/*/*/*.trans.tsv"),
    "vctk": _KnownCorpus(license="CC-BY-4.0", marker="speaker-info.txt"),
    "ljspeech": _KnownCorpus(license="public-domain", marker="metadata.csv"),
}
_LANGUAGES = {"English": "en"}


def _known_corpus_clips(corpus: Corpus, kind: str) -> Iterator[ClipSource]:
    """Yield the clips of a LibriSpeech, LibriTTS, VCTK or LJSpeech folder, sorted by id.

    Raises DataError where lhotse is missing or finds the folder broken.
    """
    known = _KNOWN[kind]
    root = _known_root(corpus.path, known.marker, kind)
    for part, manifests in _lhotse_manifests(kind, root):
        recordings = {recording.id: recording for recording in manifests["recordings"]}
        for segment in sorted(manifests["supervisions"], key=lambda item: str(item.id)):
            recording = recordings[segment.recording_id]
            path = Path(recording.sources[0].source)
            whole = segment.start == 0 and abs(segment.duration - recording.duration) < 1e-3
            text = (segment.custom or {}).get("normalized_text") or segment.text
            yield ClipSource(
                id=f"{kind}/{segment.id}",
                path=path,
                start_seconds=float(segment.start),
                seconds=None if whole else float(segment.duration),
                text=(text or "").strip() or None,
                speaker=f"{kind}:{segment.speaker or kind}",
                language=_LANGUAGES.get(segment.language, segment.language or corpus.language),
                license=known.license if corpus.license == "unknown" else corpus.license,
                split=part.split("-")[0] if part else corpus.split,
                source=path.relative_to(root).as_posix(),
            )


def _lhotse_manifests(kind: str, root: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """Return name and manifests of each part of the corpus (name "" where it has no parts)."""
    recipes = _lhotse_recipes()
    parts = sorted(path.name for path in root.iterdir() if path.is_dir())
    try:
        if kind == "librispeech":
            return sorted(recipes.prepare_librispeech(root).items())
        if kind == "libritts":
            known_parts = recipes.libritts.LIBRITTS
            present = [part for part in parts if part in known_parts]
            return sorted(recipes.prepare_libritts(root, dataset_parts=present).items())
        if kind == "vctk":
            trimmed = "wav48_silence_trimmed" in parts
            return [("", recipes.prepare_vctk(root, use_edinburgh_vctk_url=trimmed))]
        return [("", recipes.prepare_ljspeech(root))]
    # Recipes meet a broken folder with whatever their parsing raises, asserts included.
    except Exception as error:
        # Only its first line: lhotse goes on with each of its audio backends.
        why = next(iter(str(error).splitlines()), "")
        raise DataError(
            f"lhotse cannot read '{root}' as {kind}: {type(error).__name__}: {why} "
            "Remove or repair what it names, or list the clips in a manifest.jsonl."
        ) from error


def _known_root(path: Path, marker: str, kind: str) -> Path:
    """Return the folder that holds the corpus' parts: `path` or a folder in it."""
    if path.is_dir():
        for folder in (path, *sorted(child for child in path.iterdir() if child.is_dir())):
            if next(folder.glob(marker), None):
                return folder
    raise DataError(f"'{path}' is no {kind} folder: it has no {marker}. Check the path.")


def _lhotse_recipes() -> Any:
    """Return lhotse.recipes; raises DataError that says how to install it."""
    try:
        import lhotse.recipes
    except ImportError as error:
        raise DataError(
            "This corpus is read through lhotse, which is not installed: pip install lhotse."
        ) from error
    return lhotse.recipes
