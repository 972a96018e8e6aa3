"""What every layout of a corpus comes down to: clips, and the rules a row must pass.

`ClipSource` says where a clip's bytes are without opening them, so that worker processes can do the
decoding. A row whose transcript or speaker cannot be what it says is refused with its line: a wrong
transcript that nobody notices costs more than a table to be repaired.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PureWindowsPath
from typing import Literal

from speechkit.core.errors import DataError
from speechkit.core.formats import AUDIO_SUFFIXES

CorpusKind = Literal[
    "auto", "manifest", "metadata", "ljspeech", "librispeech", "libritts", "vctk", "commonvoice",
    "kaldi", "lhotse", "folder",
]  # fmt: skip

FIRST_WAVS = ("wavs", "", "wav", "clips", "audio")
"""Where a row that names a clip, not a file, has its audio."""
FIRST_HERE = ("", *(place for place in FIRST_WAVS if place))
"""Where a file name is looked for, beginning at the folder of its table."""
_AUDIO_NAME = re.compile(r"[^\s|,;]+\.(?:wav|flac|ogg|opus|mp3|m4a|aac|aiff?|webm|wma)", re.I)
# Such as "unknown" or "corpus:unknown(>50)": different clips, not one voice.
_UNKNOWN_SPEAKER = re.compile(r"(?:.*:)?unknown\b.*|<?n/?an?>?|none|null|-", re.IGNORECASE)
_NO_TEXT = frozenset(("nan", "NaN", "<NA>", "#N/A", "null", "NULL", "None"))
"""What programs write for an empty cell; none of them was said."""
_SENTENCE = re.compile(r"\S+\s.*[^\s.!?]{4,}[.!?]+[\"'\u201d)]*|.*[!?]", re.DOTALL)
_MOST_SPEAKER_WORDS = 6
_MOST_SPEAKER_LETTERS = 200


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A corpus on disk, and what to assume where it does not say."""

    path: Path
    """Folder of the corpus, or a table that lists its clips."""
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
    """Name of the clip, unique within one corpus."""
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
    missing: str | None = None
    """Where the audio was looked for in vain; None = it was found or not looked for."""
    speed: float = 1.0
    """How many times faster it is played, which moves tempo, pitch and formants alike."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """An audio file, or where it was expected."""

    path: Path
    """The file, or the first place it could have been in."""
    missing: str | None = None
    """Where it was looked for, in a sentence; None = `path` is a file."""


def lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 text file; raises DataError for another encoding."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield from stream
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"'{path}' cannot be read as UTF-8 text: {error}.") from error


def find_audio(folder: Path, name: str, places: tuple[str, ...] = FIRST_HERE) -> Found:
    """Return the audio file that a row calls `name`: with or without suffix, in any case.

    A name spelt exactly so wins. Backslashes part folders where no file has them in its name.
    """
    if "\0" in name or len(name) > 4000:
        return Found(path=folder, missing=f"'{name[:40]}' ... is no file name")
    spellings = [name] if "\\" not in name else [name, name.replace("\\", "/")]
    has_suffix = name.lower().endswith(AUDIO_SUFFIXES)
    endings = ("", *AUDIO_SUFFIXES) if has_suffix else AUDIO_SUFFIXES
    candidates = [
        (place, f"{spelling}{ending}")
        for place in places
        for spelling in spellings
        for ending in endings
    ]
    for place, file in candidates:
        if _is_file(folder / place / file):
            return Found(path=folder / place / file)
    several = False
    for place, file in candidates:
        matches = _in_any_case(folder, Path(place) / file)
        if len(matches) == 1:
            return Found(path=matches[0])
        several = several or len(matches) > 1
    expected = folder / places[0] / (name if has_suffix else f"{name}.wav")
    return Found(path=expected, missing=_missing(folder, name, places, several=several))


def _missing(folder: Path, name: str, places: tuple[str, ...], *, several: bool) -> str:
    """Return where an audio file was looked for, and what may be wrong with its name."""
    if several:
        return f"'{name}' could be several files in '{folder}' that differ in case only"
    if PureWindowsPath(name).drive or Path(name).is_absolute():
        return f"there is no '{name}', a path of its own: write it relative to '{folder}'"
    looked = ", ".join(place for place in places if place)
    suffixes = "" if name.lower().endswith(AUDIO_SUFFIXES) else f" with {' '.join(AUDIO_SUFFIXES)}"
    return f"there is no '{name}'{suffixes} in '{folder}' or its folders {looked}"


def _is_file(path: Path) -> bool:
    """Return whether the path is a file; a name no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _in_any_case(folder: Path, inside: Path) -> list[Path]:
    """Return the files under `folder` whose path is `inside` but for case and composed accents."""
    if inside.is_absolute():
        folder, inside = inside.parent, Path(inside.name)
    found = [folder]
    for part in inside.parts:
        if part == "..":
            found = [path / part for path in found]
            continue
        found = [path / real for path in found for real in _listing(path).get(_folded(part), ())]
    return [path for path in found if _is_file(path)]


def forget_listings() -> None:
    """Look at folders anew: a corpus may have been repaired since it was read."""
    _listing.cache_clear()


def _folded(name: str) -> str:
    """Return a file name without its case."""
    return unicodedata.normalize("NFC", name).casefold()


@lru_cache(maxsize=256)
def _listing(folder: Path) -> Mapping[str, tuple[str, ...]]:
    """Return the names in a folder by their folded form; empty where it cannot be read."""
    names: dict[str, tuple[str, ...]] = {}
    try:
        present = sorted(entry.name for entry in folder.iterdir())
    except (OSError, ValueError):
        return names
    for name in present:
        names[_folded(name)] = (*names.get(_folded(name), ()), name)
    return names


def row_clip(
    corpus: Corpus,
    where: str,
    folder: Path,
    row: Mapping[str, str],
    found: Found,
    member: tuple[int, int | None] = (0, None),
) -> ClipSource:
    """Return the clip that a table's row describes, with the corpus' values for empty cells.

    `row` has the columns file, text, speaker, id, language, license, split, source, start, seconds
    and end, all of them optional; `member` is offset and size in bytes within a shard. Raises
    DataError, which begins with `where`, for a transcript or a speaker that cannot be one.
    """
    row = {name: value.strip() for name, value in row.items() if value.strip()}
    start, seconds = _span(where, row)
    path = found.path
    inside = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
    stem = f"{folder.resolve().name}/{(inside.parent / inside.stem).as_posix()}"
    name = row.get("id") or (f"{stem}@{start:g}" if "start" in row else stem)
    text = row.get("text")
    if text is not None:
        check_text(where, text, row.get("file", ""))
    speaker = row.get("speaker") or corpus.speaker or "unknown"
    check_speaker(where, speaker)
    return ClipSource(
        id=name,
        path=path,
        offset_bytes=member[0],
        size_bytes=member[1],
        start_seconds=start,
        seconds=seconds,
        text=text,
        speaker=name if _UNKNOWN_SPEAKER.fullmatch(speaker) else speaker,
        language=row.get("language") or corpus.language,
        license=row.get("license") or corpus.license,
        split=row.get("split") or corpus.split,
        source=row.get("source") or inside.as_posix(),
        missing=found.missing,
    )


def check_text(where: str, text: str, file: str = "") -> None:
    """Raise DataError for a transcript that nobody can have said."""
    if text in _NO_TEXT:
        raise DataError(f"{where}: the transcript is '{text}'; leave the cell of no text empty.")
    is_id = text == file and any(letter.isdigit() for letter in text)
    if is_id or _AUDIO_NAME.fullmatch(text):
        raise DataError(
            f"{where}: the transcript '{text[:60]}' is a file name; are columns swapped, or is the "
            "header not right?"
        )
    if "\0" in text:
        raise DataError(f"{where}: the transcript holds a zero byte; repair the table.")


def check_speaker(where: str, speaker: str) -> None:
    """Raise DataError for a speaker that is a sentence or a file."""
    if _AUDIO_NAME.fullmatch(speaker):
        raise DataError(
            f"{where}: the speaker '{speaker[:60]}' is a file name; are columns swapped?"
        )
    if (
        len(speaker.split()) > _MOST_SPEAKER_WORDS
        or len(speaker) > _MOST_SPEAKER_LETTERS
        or "\0" in speaker
        or _SENTENCE.fullmatch(speaker)
    ):
        raise DataError(
            f"{where}: the speaker '{speaker[:60]}' is a sentence, not a name; are columns "
            "swapped, or does the text hold the sign between columns?"
        )


def looks_like_file(cell: str) -> bool:
    """Return whether a cell is the name of an audio file."""
    return _AUDIO_NAME.fullmatch(cell.strip()) is not None


def _span(where: str, row: Mapping[str, str]) -> tuple[float, float | None]:
    """Return start and length that a row gives; raises DataError for what is no time."""

    def number(name: str) -> float | None:
        """Return a cell in seconds."""
        if name not in row:
            return None
        try:
            value = float(row[name])
        except ValueError:
            value = -1.0
        if not 0 <= value < 1e7:
            raise DataError(f"{where}: '{row[name][:40]}' is no time in seconds for its {name}.")
        return value

    start, seconds, end = number("start"), number("seconds"), number("end")
    if end is not None:
        seconds = end - (start or 0.0)
    if seconds is not None and seconds <= 0:
        raise DataError(f"{where}: the clip ends where it starts or before; give its seconds.")
    return start or 0.0, seconds
