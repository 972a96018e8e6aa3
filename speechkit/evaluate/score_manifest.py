"""Scores of the clips of a JSON-lines manifest, whoever made them: `speechkit eval manifest`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from speechkit.core.audio import read_audio
from speechkit.core.errors import DataError
from speechkit.core.timebase import SAMPLE_RATE_HZ
from speechkit.evaluate.scorers import Scorers, Wave
from speechkit.evaluate.scoring import score_against, score_speech, silent, verifiers
from speechkit.evaluate.speaker import similarity
from speechkit.evaluate.table import ClipRow, Report, summarise


def score_manifest(
    path: str | Path,
    scorers: Scorers,
    aligned: bool = False,
    progress: Callable[[str], None] = silent,
) -> Report:
    """Scores of every clip of a manifest.

    One object a clip: ``hyp`` (path), and optionally ``text`` (word errors), ``prompt`` (speaker
    similarity), ``ref`` (measures against the same utterance; ``aligned`` says that it shares its
    timing), ``system`` (row of the table), ``id``. Raises DataError where a line is unusable.
    """
    rows: list[ClipRow] = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry: dict[str, Any] = json.loads(line)
            hyp = str(entry["hyp"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}, line {number}: give an object with at least hyp.") from error
        name, text, prompt = str(entry.get("id", hyp)), entry.get("text"), entry.get("prompt")
        wave_T = _wave(hyp)
        with_words = scorers if text else replace(scorers, words=None, second_words=None)
        values, heard = score_speech(wave_T, text or "", with_words)
        if entry.get("ref"):
            timing = replace(scorers, embed=None, second_embed=None)
            values |= score_against(wave_T, _wave(entry["ref"]), timing, aligned)
        for key, embed in (verifiers(scorers) if prompt else {}).items():
            values[f"sim{key}"] = similarity(embed(_wave(str(prompt))), embed(wave_T))
        system = str(entry.get("system", "all"))
        speaker = str(prompt or name)
        rows.append(ClipRow(system=system, id=name, speaker=speaker, values=values, heard=heard))
        progress(f"{system} {name}")
    return Report(
        rows=rows, summary=summarise(rows), settings=scorers.settings, notes=scorers.notes
    )


def _wave(path: str) -> Wave:
    """A recording at 16 kHz."""
    wave_T: Wave = read_audio(path, SAMPLE_RATE_HZ).numpy()
    return wave_T
