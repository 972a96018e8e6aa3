"""What the suites share: waves on disk, the figures of one clip, rows that are scored once.

Waves are written first and scored as read back, so the figures are those of the files.

T samples at 16 kHz, F frames of 20 ms.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from speechkit.core.audio import read_audio, write_audio
from speechkit.core.files import write_text
from speechkit.core.timebase import SAMPLE_RATE_HZ
from speechkit.evaluate.pairs import frame_levels_db
from speechkit.evaluate.scorers import Embedding, Scorers, Wave
from speechkit.evaluate.speaker import similarity
from speechkit.evaluate.table import ClipRow, load_rows

Scored = tuple[dict[str, float], str]
"""Figures of a clip, and what was heard in it."""

# Raised when a measure changes, so that no row of an earlier report is taken over.
VERSION = 3

RECORDINGS = "recordings"
"""The system that is what people said."""
SPEECH_PARTS = ("words", "second_words", "embed", "second_embed", "quality")
"""Measures that need no recording of the same utterance."""
UNFINISHED = "unfinished.json"
"""Rows of a run that was cut short."""

_ROWS_A_SAVE = 5
_SPEECH_DB = 30.0


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


def speech_level_db(wave_T: Wave) -> float:
    """Level of speech in dB of full scale: power of the frames within 30 dB of the loud ones."""
    level_F: NDArray[np.float64] = frame_levels_db(wave_T)
    if not len(level_F):
        return -120.0
    spoken_F = level_F[level_F >= np.quantile(level_F, 0.95) - _SPEECH_DB]
    return float(10 * np.log10(np.mean(10 ** (spoken_F / 10))))


def score_speech(wave_T: Wave, text: str, scorers: Scorers) -> Scored:
    """Seconds, level, words and quality of one clip, and what was heard in it."""
    values: dict[str, float] = {
        "seconds": len(wave_T) / SAMPLE_RATE_HZ,
        "level": speech_level_db(wave_T),
    }
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
        } | ({} if errors.nll is None else {"nll": errors.nll})
    if scorers.second_words is not None:
        errors = scorers.second_words(wave_T, text)
        values |= {
            "wer2": errors.wer,
            "word_edits2": errors.word_edits,
            "words": errors.words,
        } | ({} if errors.nll is None else {"nll2": errors.nll})
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
    for key, embed in verifiers(scorers).items():
        out[f"sim{key}"] = similarity(embed(wave_T), embed(reference_T))
    return out


def verifiers(scorers: Scorers) -> dict[str, Callable[[Wave], Embedding]]:
    """The speaker models that are on, by what their columns end with."""
    found = {"": scorers.embed, "_r": scorers.second_embed}
    return {key: embed for key, embed in found.items() if embed is not None}


class RowLog:
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
            if self._unfinished is not None and self._unsaved >= _ROWS_A_SAVE:
                self._unsaved = 0
                rows = [asdict(one) for one in self._known.values()]
                write_text(self._unfinished, json.dumps({"clips": rows}))
        self.rows.append(row)
        self._progress(f"{system} {name}")
        return row


def write_manifest(path: str | Path, entries: Sequence[Mapping[str, str]]) -> None:
    """Write JSON lines with ``system, id, hyp, text`` and ``prompt`` or ``ref``."""
    write_text(path, "".join(json.dumps(dict(entry)) + "\n" for entry in entries))
