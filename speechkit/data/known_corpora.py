"""LibriSpeech, LibriTTS, VCTK and LJSpeech folders, read through lhotse's recipes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechkit.core.errors import DataError
from speechkit.data.corpora import ClipSource, Corpus


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


def known_corpus_clips(corpus: Corpus, kind: str) -> Iterator[ClipSource]:
    """Yield the clips of a LibriSpeech, LibriTTS, VCTK or LJSpeech folder, sorted by id.

    Raises DataError where lhotse is missing or finds the folder broken.
    """
    known = _KNOWN[kind]
    root = _root(corpus.path, known.marker, kind)
    for part, manifests in _manifests(kind, root):
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


def _manifests(kind: str, root: Path) -> list[tuple[str, Mapping[str, Any]]]:
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


def _root(path: Path, marker: str, kind: str) -> Path:
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
