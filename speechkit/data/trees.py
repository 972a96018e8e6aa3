"""Corpora that are trees of folders: LibriSpeech, LibriTTS, VCTK, Kaldi's, and bare audio.

Nothing is opened but transcripts. A transcript whose audio is missing is yielded all the same, for
whoever decodes to count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from speechkit.core.errors import DataError
from speechkit.core.formats import AUDIO_SUFFIXES
from speechkit.data.clips import (
    ClipSource,
    Corpus,
    Found,
    find_audio,
    lines,
    row_clip,
)

_LICENSE = "CC-BY-4.0"
"""Of LibriSpeech, LibriTTS and VCTK, as their own READMEs say."""
_SIDECARS = (".normalized.txt", ".txt", ".lab")
_TABLES = (".csv", ".tsv", ".jsonl", ".json", ".txt", ".lab", ".trn", ".parquet", ".xlsx", ".gz")
_NO_TABLES = ("readme", "license", "licence", "copying", "notice", "changelog", "authors")


def librispeech_clips(corpus: Corpus) -> Iterator[ClipSource]:
    """Yield the clips of LibriSpeech's parts: part/speaker/chapter/speaker-chapter.trans.txt."""
    for table in _all(corpus.path, "*.trans.txt", "librispeech"):
        for line, text in enumerate(lines(table), start=1):
            name, _, transcript = text.strip().partition(" ")
            if name:
                where = f"Line {line} of '{table}'"
                yield _book_clip(corpus, "librispeech", table, name, transcript, where)


def libritts_clips(corpus: Corpus) -> Iterator[ClipSource]:
    """Yield the clips of LibriTTS' parts: tables of id, original and normalised text.

    Without tables the texts beside the audio are read, NAME.normalized.txt.
    """
    if not next(corpus.path.rglob("*.trans.tsv"), None):
        for file in _all(corpus.path, "*.normalized.txt", "libritts"):
            name = file.name.removesuffix(".normalized.txt")
            yield _book_clip(corpus, "libritts", file, name, _whole(file), f"'{file}'")
        return
    for table in _all(corpus.path, "*.trans.tsv", "libritts"):
        for line, text in enumerate(lines(table), start=1):
            where = f"Line {line} of '{table}'"
            cells = text.strip("\r\n").split("\t")
            if text.strip() and len(cells) != 3:
                raise DataError(f"{where} has {len(cells)} columns, not id, text and its reading.")
            if text.strip():
                yield _book_clip(corpus, "libritts", table, cells[0], cells[2], where)


def _book_clip(
    corpus: Corpus, kind: str, table: Path, name: str, text: str, where: str
) -> ClipSource:
    """Return a clip of a chapter's folder, which lies two folders below its part."""
    folder = table.parent
    parts = folder.resolve().parts
    part = parts[-3] if len(parts) > 2 else corpus.split
    row = {
        "id": f"{kind}/{name}",
        "text": text,
        "speaker": f"{kind}:{name.replace('_', '-').partition('-')[0]}",
        "split": part.partition("-")[0],
        "license": _LICENSE if corpus.license == "unknown" else "",
        "source": f"{'/'.join(parts[-3:])}/{name}",
    }
    return row_clip(corpus, where, folder, row, find_audio(folder, name, ("",)))


def vctk_clips(corpus: Corpus) -> Iterator[ClipSource]:
    """Yield VCTK's clips, by the second microphone where there are two, sorted by name.

    Recordings without a transcript, all of one speaker's, are yielded without.
    """
    root = next((txt.parent for txt in _all(corpus.path, "txt", "vctk") if txt.is_dir()), None)
    audio = [] if root is None else [
        root / name for name in ("wav48_silence_trimmed", "wav48") if (root / name).is_dir()
    ]  # fmt: skip
    if root is None or not audio:
        raise DataError(f"'{corpus.path}' is no vctk folder: it has no txt and wav48. Check it.")
    texts = {file.stem: file for file in sorted((root / "txt").glob("*/*.txt"))}
    recordings: dict[str, Path] = {}
    for file in sorted(audio[0].glob("*/*")):
        # The second microphone comes later and stays.
        if file.suffix.lower() in AUDIO_SUFFIXES and not file.name.startswith("."):
            recordings[file.stem.removesuffix("_mic1").removesuffix("_mic2")] = file
    for name in sorted(texts | recordings):
        speaker = name.partition("_")[0]
        expected = audio[0] / speaker / f"{name}.flac"
        missing = None if name in recordings else f"there is no '{expected}', _mic2 or _mic1"
        file = recordings.get(name, expected)
        row = {
            "id": f"vctk/{file.stem}",
            "text": _whole(texts[name]) if name in texts else "",
            "speaker": f"vctk:{speaker}",
            "license": _LICENSE if corpus.license == "unknown" else "",
        }
        found = Found(path=file, missing=missing)
        yield row_clip(corpus, f"'{texts.get(name, file)}'", root, row, found)


def kaldi_clips(corpus: Corpus) -> Iterator[ClipSource]:
    """Yield the utterances of a Kaldi data folder: wav.scp, and text, utt2spk and segments.

    Raises DataError for commands, which are not run, and for utterances that one file names and
    another does not.
    """
    folder = corpus.path if corpus.path.is_dir() else corpus.path.parent
    recordings = _kaldi_map(folder / "wav.scp")
    segments = _kaldi_map(folder / "segments")
    utterances = segments or recordings
    texts, speakers = _kaldi_map(folder / "text"), _kaldi_map(folder / "utt2spk")
    languages = _kaldi_map(folder / "utt2lang")
    for name, entries in (("text", texts), ("utt2spk", speakers)):
        _check_keys(folder, name, entries, utterances)
    for name, entry in utterances.items():
        where = f"Line {entry.line} of '{folder / ('segments' if segments else 'wav.scp')}'"
        row = {
            "id": name,
            "text": texts[name].value if texts else "",
            "speaker": speakers[name].value if speakers else "",
            "language": languages[name].value if name in languages else "",
        }
        recording = entry
        if segments:
            cells = entry.value.split()
            if len(cells) != 3 or cells[0] not in recordings:
                raise DataError(f"{where} is not a recording of wav.scp with start and end.")
            recording = recordings[cells[0]]
            row |= {"start": cells[1], "end": "" if cells[2] == "-1" else cells[2]}
        if recording.value.endswith("|"):
            raise DataError(
                f"Line {recording.line} of '{folder / 'wav.scp'}' is a command, which is not run: "
                "write the audio to a file and name that."
            )
        found = find_audio(folder, recording.value, ("",))
        # Kaldi's own programs take paths from where they are started.
        if found.missing and Path(recording.value).is_file():
            found = Found(path=Path(recording.value))
        yield row_clip(corpus, where, folder, row, found)


@dataclass(frozen=True)
class _Entry:
    """What a line of one of Kaldi's files says of its key."""

    line: int
    """From 1."""
    value: str
    """All after the key."""


def _kaldi_map(file: Path) -> Mapping[str, _Entry]:
    """Return the lines of one of Kaldi's files by key; empty where there is no such file."""
    entries: dict[str, _Entry] = {}
    if not file.is_file():
        return entries
    for line, text in enumerate(lines(file), start=1):
        key, *value = text.split(maxsplit=1)[:2] or [""]
        if not key:
            continue
        if key in entries:
            raise DataError(f"Line {line} of '{file}' names '{key}' again; keep one of the two.")
        if not value and file.name != "text":
            raise DataError(f"Line {line} of '{file}' says nothing of '{key}'; complete it.")
        entries[key] = _Entry(line, value[0].strip() if value else "")
    return entries


def _check_keys(
    folder: Path, name: str, entries: Mapping[str, _Entry], utterances: Mapping[str, _Entry]
) -> None:
    """Raise DataError where one file knows utterances that the others do not."""
    for key, entry in entries.items():
        if key not in utterances:
            raise DataError(
                f"Line {entry.line} of '{folder / name}': no audio is listed for '{key}'."
            )
    for key in utterances:
        if entries and key not in entries:
            raise DataError(f"'{folder / name}' does not name '{key}', which has audio; add it.")


def folder_clips(corpus: Corpus) -> Iterator[ClipSource]:
    """Yield the audio files under a folder, sorted; the first folder below it is the speaker.

    A text file of the same name beside the audio is its transcript. Raises DataError where other
    files may be a table of transcripts, unless the corpus is said to be a folder.
    """
    root = corpus.path
    files = sorted(path for path in root.rglob("*") if not _is_hidden(path, root))
    audio = [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file()]
    if not audio:
        raise DataError(
            f"'{root}' has no layout that prepare knows, and no audio file. Put a metadata.csv "
            "with the header file,text,speaker (or LJSpeech style id|text), or a manifest.jsonl "
            'with one {"file": ..., "text": ...} a line, into the folder.'
        )
    present = set(files)
    texts = {path: _sidecar(path, present) for path in audio}
    if corpus.kind != "folder":
        _check_tables(root, files, {text for text in texts.values() if text})
    for path in audio:
        inside = path.relative_to(root)
        sidecar = texts[path]
        row = {
            "text": _whole(sidecar) if sidecar else "",
            "speaker": inside.parts[0] if len(inside.parts) > 1 else "",
        }
        yield row_clip(corpus, f"'{sidecar or path}'", root, row, Found(path=path))


def _check_tables(root: Path, files: list[Path], read: set[Path]) -> None:
    """Raise DataError for the first file that may list transcripts and is not read."""
    for path in files:
        is_table = path.suffix.lower() in _TABLES and path.is_file() and path not in read
        if is_table and not path.stem.lower().startswith(_NO_TABLES):
            raise DataError(
                f"'{root}' has no layout that prepare knows, and '{path.relative_to(root)}' may "
                "hold transcripts: give that table itself (a header such as file,text,speaker "
                "makes it clear), name it metadata.csv or manifest.jsonl, or take the audio alone "
                "with --kind folder."
            )


def _sidecar(audio: Path, present: set[Path]) -> Path | None:
    """Return the text file that goes with an audio file."""
    names = (audio.with_name(f"{audio.stem}{suffix}") for suffix in _SIDECARS)
    return next((name for name in names if name in present), None)


def _is_hidden(path: Path, root: Path) -> bool:
    """Return whether the path or a folder on the way to it begins with a dot."""
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _whole(file: Path) -> str:
    """Return a transcript that is a file of its own, on one line."""
    text = " ".join(line.strip() for line in lines(file) if line.strip())
    first = text.split(maxsplit=2)
    if file.suffix == ".lab" and len(first) == 3 and all(cell.isdigit() for cell in first[:2]):
        raise DataError(f"'{file}' has times of phones, not a transcript; write the text.")
    return text


def _all(root: Path, pattern: str, kind: str) -> list[Path]:
    """Return the paths under the folder that fit, sorted; raises DataError for none."""
    found = sorted(path for path in root.rglob(pattern) if not path.name.startswith("."))
    if not found:
        raise DataError(f"'{root}' is no {kind} folder: it has no {pattern}. Check the path.")
    return found
