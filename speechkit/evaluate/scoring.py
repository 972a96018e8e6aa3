"""What the suites share: waves on disk, the figures of one clip, rows that are scored once.

Waves are written first and scored as read back, so the figures are those of the files.

T samples at 16 kHz.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from torch import Tensor

from speechkit.core.audio import read_audio, write_audio
from speechkit.core.files import write_atomically
from speechkit.evaluate.pairs import SAMPLE_RATE_HZ
from speechkit.evaluate.scorers import Scorers, Wave
from speechkit.evaluate.speaker import similarity
from speechkit.evaluate.table import ClipRow, load_rows

Scored = tuple[dict[str, float], str]
"""Figures of a clip, and what was heard in it."""

# Raised when a measure changes, so that no row of an earlier report is taken over.
VERSION = 1

_ROWS_A_SAVE = 5


def silent(_: str) -> None:
    """Report nothing."""


def stored_wave(path: Path, wave_T: Tensor) -> Wave:
    """Write a wave and hand back what the file holds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, wave_T, SAMPLE_RATE_HZ)
    read: Wave = read_audio(path, SAMPLE_RATE_HZ).numpy()
    return read


def file_name(clip_id: str) -> str:
    """A clip id as the name of a wave file."""
    return clip_id.replace("/", "_") + ".wav"


def digest_of(*parts: Wave | str) -> str:
    """Checksum of waves and strings."""
    total = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes()
        total.update(len(content).to_bytes(8, "big") + content)
    return total.hexdigest()


def context_of(scorers: Scorers, parts: Sequence[str]) -> str:
    """All that figures depend on besides the audio: version, models, which ``parts`` are on."""
    on = [name for name in parts if getattr(scorers, name) is not None]
    return json.dumps([VERSION, on, scorers.settings], sort_keys=True)


def score_speech(wave_T: Wave, text: str, scorers: Scorers) -> Scored:
    """Seconds, words and quality of one clip, and what was heard in it."""
    values: dict[str, float] = {"seconds": len(wave_T) / SAMPLE_RATE_HZ}
    heard = ""
    if scorers.words is not None:
        errors = scorers.words(wave_T, text)
        heard = errors.heard
        values |= {
            "wer": errors.wer,
            "cer": errors.cer,
            "word_edits": errors.word_edits,
            "words": errors.words,
            "character_edits": errors.character_edits,
            "characters": errors.characters,
        }
    if scorers.quality is not None:
        values |= asdict(scorers.quality(wave_T))
    return values, heard


def score_against(
    wave_T: Wave, reference_T: Wave, scorers: Scorers, aligned: bool = True
) -> dict[str, float]:
    """Figures of a clip beside its reference; STOI and PESQ only where both share their timing."""
    out: dict[str, float] = {}
    if scorers.world is not None:
        out |= scorers.world(wave_T, reference_T, aligned)
    if scorers.aligned is not None and aligned:
        out |= scorers.aligned(wave_T, reference_T)
    if scorers.embed is not None:
        out["sim"] = similarity(scorers.embed(wave_T), scorers.embed(reference_T))
    return out


class RowBook:
    """Rows so far, and rows of earlier reports that need no second scoring."""

    def __init__(
        self,
        earlier: str | Path | None,
        progress: Callable[[str], None],
        unfinished: Path | None = None,
    ) -> None:
        """Read the earlier report, if there is one.

        New rows are also kept in the file `unfinished`, so that a run that was cut short goes on
        where it stopped; whoever saves the report may remove it.
        """
        sources = [Path(path) for path in (earlier, unfinished) if path is not None]
        known = [row for path in sources if path.is_file() for row in load_rows(path)]
        self._known = {(row.system, row.id, row.digest): row for row in known if row.digest}
        self._progress = progress
        self._unfinished = unfinished
        self._unsaved = 0
        self.rows: list[ClipRow] = []

    def add(
        self,
        system: str,
        name: str,
        speaker: str,
        digest: str,
        score: Callable[[], Scored],
    ) -> ClipRow:
        """Score a clip, or take the row an earlier report has of exactly this one."""
        row = self._known.get((system, name, digest))
        if row is None:
            values, heard = score()
            row = ClipRow(
                system=system,
                id=name,
                speaker=speaker,
                values=values,
                heard=heard,
                digest=digest,
            )
            self._known[(system, name, digest)] = row
            self._unsaved += 1
            if self._unsaved >= _ROWS_A_SAVE:
                self._save()
        self.rows.append(row)
        self._progress(f"{system} {name}")
        return row

    def _save(self) -> None:
        if self._unfinished is None:
            return
        self._unsaved = 0
        rows = [asdict(row) for row in self._known.values()]
        text = json.dumps({"clips": rows})
        write_atomically(self._unfinished, lambda temporary: _write_text(temporary, text))


def write_manifest(path: str | Path, entries: Sequence[Mapping[str, str]]) -> None:
    """Write JSON lines with ``system, id, hyp, text`` and ``prompt`` or ``ref``."""
    lines = "".join(json.dumps(dict(entry)) + "\n" for entry in entries)

    write_atomically(path, lambda temporary: _write_text(temporary, lines))


def _write_text(path: Path, text: str) -> None:
    """Write UTF-8."""
    path.write_text(text, encoding="utf-8")
