"""Corpora in the layouts that people have them in; `read_corpus` yields the clips of any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from speechkit.core.errors import DataError
from speechkit.data.clips import ClipSource, Corpus, CorpusKind, forget_listings
from speechkit.data.manifests import is_lhotse, lhotse_clips, manifest_clips
from speechkit.data.tables import table_clips
from speechkit.data.trees import (
    folder_clips,
    kaldi_clips,
    librispeech_clips,
    libritts_clips,
    vctk_clips,
)

_MANIFESTS = ("manifest.jsonl", "metadata.jsonl")
_TABLES = ("metadata.csv", "metadata.tsv", "metadata.txt")
_COMMON_VOICE = ("train.tsv", "dev.tsv", "test.tsv")
_LJSPEECH = ("file", "text", "normalized")
_SPLITS = ("train", "dev", "validation", "valid", "val", "test", "eval")
_TREES = {
    "librispeech": librispeech_clips,
    "libritts": libritts_clips,
    "vctk": vctk_clips,
    "kaldi": kaldi_clips,
    "folder": folder_clips,
}


def read_corpus(corpus: Corpus) -> Iterator[ClipSource]:
    """Yield the clips of a corpus in its own order.

    Raises DataError where the folder is missing, its layout is not recognised, or a table is
    broken. Audio files that a table names but that do not exist are yielded all the same: whoever
    decodes them counts them.
    """
    forget_listings()
    kind = detect_kind(corpus.path) if corpus.kind == "auto" else corpus.kind
    if not corpus.path.exists():
        raise DataError(f"There is no corpus at '{corpus.path}'; check the path.")
    if kind in _TREES:
        yield from _TREES[kind](corpus)
    elif kind == "lhotse":
        yield from lhotse_clips(corpus, corpus.path)
    elif kind == "commonvoice":
        for table in _common_voice_tables(corpus.path):
            split = table.stem if table.name in _COMMON_VOICE else corpus.split
            yield from table_clips(replace(corpus, split=split), table)
    else:
        for table, split in _tables(corpus, _MANIFESTS if kind == "manifest" else _TABLES):
            part = replace(corpus, split=split)
            if kind == "manifest":
                yield from manifest_clips(part, table)
            elif kind == "ljspeech":
                yield from _ljspeech_clips(part, table)
            else:
                yield from table_clips(part, table)


def detect_kind(path: Path) -> CorpusKind:
    """Return the layout of a corpus; raises DataError where it is none that we know."""
    if path.is_file():
        return _kind_of_file(path)
    if not path.is_dir():
        raise DataError(f"There is no corpus at '{path}'; check the path.")
    kind = _kind_of_tables(path)
    if kind is not None:
        return kind
    if (path / "clips").is_dir() and _common_voice_tables(path):
        return "commonvoice"
    if (path / "wav.scp").is_file():
        return "kaldi"
    if next(path.glob("*cuts*.jsonl*"), None) or next(path.glob("*supervisions*.jsonl*"), None):
        return "lhotse"
    for folder in (path, *sorted(child for child in path.iterdir() if child.is_dir())):
        if (folder / "txt").is_dir() and next(folder.glob("wav48*"), None):
            return "vctk"
    patterns: Mapping[str, CorpusKind] = {
        "*.trans.txt": "librispeech",
        "*.trans.tsv": "libritts",
        "*.normalized.txt": "libritts",
    }
    for pattern, tree in patterns.items():
        if next(path.rglob(pattern), None):
            return tree
    return "folder"


def _kind_of_file(path: Path) -> CorpusKind:
    """Return the layout of a table; raises DataError for a file that is none."""
    name = path.name.lower()
    if name.endswith((".jsonl", ".json", ".jsonl.gz")):
        return "lhotse" if is_lhotse(path) else "manifest"
    if name.endswith((".csv", ".tsv", ".txt", ".psv")):
        return "metadata"
    if name == "wav.scp":
        return "kaldi"
    raise DataError(
        f"'{path}' is not a corpus; give a folder, or a table: .csv, .tsv, .txt, .jsonl or wav.scp."
    )


def _kind_of_tables(path: Path) -> CorpusKind | None:
    """Return the layout of the tables in a folder, or in its folders of splits; None for none."""
    for folder in (path, *(path / split for split in _SPLITS)):
        present = [name for name in (*_MANIFESTS, *_TABLES) if (folder / name).is_file()]
        if len(present) > 1:
            raise DataError(
                f"'{folder}' has {' and '.join(present)}: give the one that is to be read."
            )
        if present and (folder / "wavs" / "LJ001-0001.wav").is_file():
            return "ljspeech"
        if present:
            return "manifest" if present[0] in _MANIFESTS else "metadata"
    return None


def _tables(corpus: Corpus, names: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    """Yield the tables of a corpus, each with its split; raises DataError for none."""
    if corpus.path.is_file():
        yield corpus.path, corpus.split
        return
    here = [corpus.path / name for name in names if (corpus.path / name).is_file()]
    in_splits = [
        (corpus.path / split / name, split)
        for split in _SPLITS
        for name in names
        if (corpus.path / split / name).is_file()
    ]
    if not here and not in_splits:
        raise DataError(f"'{corpus.path}' has no {' or '.join(names)}; check the path.")
    yield from [(here[0], corpus.split)] if here else in_splits


def _common_voice_tables(path: Path) -> list[Path]:
    """Return the tables that share out Common Voice's clips; all validated ones without such."""
    if path.is_file():
        return [path]
    tables = [path / name for name in (*_COMMON_VOICE, "validated.tsv") if (path / name).is_file()]
    return [table for table in tables if table.name in _COMMON_VOICE] or tables


def _ljspeech_clips(corpus: Corpus, table: Path) -> Iterator[ClipSource]:
    """Yield the clips of LJSpeech itself, which says in its README that it is public domain."""
    license = "public-domain" if corpus.license == "unknown" else corpus.license
    for clip in table_clips(replace(corpus, license=license), table, _LJSPEECH):
        name = Path(clip.source).stem
        yield replace(clip, id=f"ljspeech/{name}", speaker="ljspeech:ljspeech")
