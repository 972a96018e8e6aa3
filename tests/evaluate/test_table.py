from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechkit.core.errors import DataError
from speechkit.evaluate.table import ClipRow, Report, load_rows, render, summarise


def _row(system: str, clip: str, speaker: str = "a", **values: float) -> ClipRow:
    return ClipRow(system=system, id=clip, speaker=speaker, values=values)


def _words(clip: str, edits: int, words: int, speaker: str = "a") -> ClipRow:
    return _row("tts", clip, speaker, wer=edits / words, word_edits=edits, words=words)


def test_word_error_rate_is_that_of_the_whole_set() -> None:
    summary = summarise([_words("1", 1, 1), _words("2", 0, 9)])
    assert summary["tts"].values["wer"] == pytest.approx(0.1)


def test_other_figures_are_means_over_the_clips_that_have_them() -> None:
    summary = summarise([_row("tts", "1", sim=0.2), _row("tts", "2", sim=0.4), _row("tts", "3")])
    assert summary["tts"].values["sim"] == pytest.approx(0.3)
    assert summary["tts"].clips == 3


def test_table_has_a_line_a_system_and_no_empty_column() -> None:
    rows = [_row("recordings", "1", sim=0.8), _row("tts", "1", wer=0.5, word_edits=1, words=2)]
    lines = render(summarise(rows)).splitlines()
    assert lines[0].split() == ["system", "n", "WER%", "SIM"]
    assert lines[1].split() == ["recordings", "1", "-", "0.800"]
    assert lines[2].split() == ["tts", "1", "50.00", "-"]


def test_report_round_trip(tmp_path: Path) -> None:
    rows = [_words("1", 1, 4), _row("tts", "2", margin=0.25)]
    report = Report(rows=rows, summary=summarise(rows), notes=["SIM is off"])
    report.save(tmp_path / "report.json")
    assert load_rows(tmp_path / "report.json") == rows
    saved = json.loads((tmp_path / "report.json").read_text())
    assert saved["summary"]["tts"]["intervals"]["margin"] == {"low": 0.25, "high": 0.25}
    assert "note: SIM is off" in report.text()
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(DataError, match="report"):
        load_rows(tmp_path / "report.json")
