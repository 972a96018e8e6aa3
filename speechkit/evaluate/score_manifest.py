"""Score a JSON-lines manifest: ``python -m speechkit.evaluate.score_manifest --manifest FILE``.

One object a clip: ``hyp`` (path), and optionally ``text`` (word errors), ``prompt`` (speaker
similarity), ``ref`` (measures against the same utterance), ``system`` (row), ``id``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from speechkit.core.audio import read_audio
from speechkit.core.errors import DataError, SpeechkitError
from speechkit.evaluate.pairs import SAMPLE_RATE_HZ
from speechkit.evaluate.scorers import ScorerConfig, Scorers, Wave, build_scorers
from speechkit.evaluate.scoring import score_against, score_speech
from speechkit.evaluate.speaker import similarity
from speechkit.evaluate.table import ClipRow, Report, summarise


def score_manifest(path: str | Path, scorers: Scorers, aligned: bool = False) -> Report:
    """Scores of every clip of a manifest. Raises DataError where a line is unusable."""
    rows: list[ClipRow] = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry: dict[str, Any] = json.loads(line)
            hyp = str(entry["hyp"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}, line {number}: give an object with at least hyp.") from error
        rows.append(_row(entry, hyp, scorers, aligned))
    return Report(
        rows=rows, summary=summarise(rows), settings=scorers.settings, notes=scorers.notes
    )


def _row(entry: dict[str, Any], hyp: str, scorers: Scorers, aligned: bool) -> ClipRow:
    """Scores of one clip."""
    wave = _wave(hyp)
    text = entry.get("text")
    values, heard = score_speech(
        wave, text or "", scorers if text else replace(scorers, words=None)
    )
    if entry.get("ref"):
        values |= score_against(wave, _wave(entry["ref"]), replace(scorers, embed=None), aligned)
    if entry.get("prompt"):
        prompt = _wave(entry["prompt"])
        for key, embed in (("sim", scorers.embed), ("sim_r", scorers.second_embed)):
            if embed is not None:
                values[key] = similarity(embed(prompt), embed(wave))
    return ClipRow(
        system=str(entry.get("system", "all")),
        id=str(entry.get("id", hyp)),
        speaker=str(entry.get("prompt") or entry.get("id", hyp)),
        values=values,
        heard=heard,
    )


def _wave(path: str) -> Wave:
    """A recording at 16 kHz."""
    wave: Wave = read_audio(path, SAMPLE_RATE_HZ).numpy()
    return wave


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; exit code 2 where the manifest cannot be scored."""
    parser = argparse.ArgumentParser(description="Score the clips of a JSON-lines manifest.")
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--asr", default="base", help="base, tiny.en, none, or a model folder")
    parser.add_argument("--resemblyzer", action="store_true", help="add the second speaker model")
    parser.add_argument("--no-dnsmos", action="store_true")
    parser.add_argument("--aligned", action="store_true", help="hyp and ref share their timing")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", help="write every clip and the summary here")
    given = parser.parse_args(arguments)
    try:
        config = ScorerConfig(
            asr=given.asr,
            resemblyzer=given.resemblyzer,
            dnsmos=not given.no_dnsmos,
            threads=given.threads,
        )
        report = score_manifest(given.manifest, build_scorers(config), given.aligned)
        if given.json:
            report.save(given.json)
    except (SpeechkitError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report.text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
