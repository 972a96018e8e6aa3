"""The codec alone: what it makes of recordings, and how it uses its books.

K code books, F frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.evaluate.pairs import EvalClip, spread
from speechkit.evaluate.scorers import Scorers, Wave
from speechkit.evaluate.scoring import (
    VERSION,
    RowBook,
    Scored,
    context_of,
    digest_of,
    file_name,
    score_against,
    score_speech,
    silent,
    stored_wave,
    write_manifest,
)
from speechkit.evaluate.table import Report, summarise
from speechkit.evaluate.usage import code_usage

Resynthesise = Callable[[Tensor], Tensor]
"""wave_T to the wave_T that the codec makes of it."""
Encode = Callable[[Tensor], Tensor]
"""wave_T to codes_KF."""

_CODEC_PARTS = ("words", "embed", "quality", "aligned", "world")


def run_codec_suite(
    resynthesise: Resynthesise,
    encode: Encode,
    clips: Sequence[EvalClip],
    out_folder: str | Path,
    *,
    entries: Sequence[int],
    scorers: Scorers,
    limit: int | None = None,
    earlier: str | Path | None = None,
    progress: Callable[[str], None] = silent,
) -> Report:
    """Score recordings and what the codec makes of them, and count the codes in use.

    ``sim`` is the similarity to the recording itself. ``entries`` has the size of each code book;
    the usage of each (``extra["usage"]``) is counted over the scored clips. ``limit`` and
    ``earlier`` as in `run_tts_suite`. Raises DataError without clips.
    """
    chosen = spread(clips, limit)
    if not chosen:
        raise DataError("There are no clips to score: give a held-out corpus.")
    folder = Path(out_folder)
    context = context_of(scorers, _CODEC_PARTS)
    book = RowBook(earlier, progress)
    manifest: list[dict[str, str]] = []
    for clip in chosen:
        real_path = folder / "recordings" / file_name(clip.id)
        path = folder / "codec" / file_name(clip.id)
        real = stored_wave(real_path, clip.wave_T)
        wave = stored_wave(path, resynthesise(clip.wave_T))

        def plain(clip: EvalClip = clip, real: Wave = real) -> Scored:
            return score_speech(real, clip.text, scorers)

        def against(clip: EvalClip = clip, wave: Wave = wave, real: Wave = real) -> Scored:
            values, heard = score_speech(wave, clip.text, scorers)
            return values | score_against(wave, real, scorers), heard

        book.add("recordings", clip.id, clip.speaker, digest_of(context, clip.text, real), plain)
        book.add("codec", clip.id, clip.speaker, digest_of(context, clip.text, real, wave), against)
        for system, hyp in (("recordings", real_path), ("codec", path)):
            manifest.append(
                {"system": system, "id": clip.id, "hyp": str(hyp)}
                | {"text": clip.text, "ref": str(real_path)}
            )
    write_manifest(folder / "manifest.jsonl", manifest)
    report = Report(
        rows=book.rows,
        summary=summarise(book.rows),
        settings=scorers.settings | {"version": VERSION},
        notes=list(scorers.notes),
    )
    usage = code_usage((encode(clip.wave_T) for clip in chosen), entries)
    report.extra["usage"] = [asdict(one) | {"used_share": one.used_share} for one in usage]
    return report
