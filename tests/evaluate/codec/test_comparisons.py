"""Systems beside each other with intervals, and how far a swap moves what it should."""

from __future__ import annotations

import pytest

from speechkit.evaluate.codec.reconstruction import Difference, compare_systems
from speechkit.evaluate.codec.swaps import SwapReport
from speechkit.evaluate.table import ClipRow


def _row(system: str, clip: int, **values: float) -> ClipRow:
    if "word_edits" in values:
        values["wer"] = values["word_edits"] / values["words"]
    return ClipRow(system=system, id=str(clip), speaker=f"s{clip % 4}", values=values)


def _compared(rows: list[ClipRow], measure: str) -> Difference:
    return compare_systems(rows, "codec", ["opus 6"]).by_system["opus 6"][measure]


def test_difference_is_paired_over_the_clips_both_have() -> None:
    rows = [_row("codec", i, sim=0.5 + 0.1 * i) for i in range(8)]
    rows += [_row("opus 6", i, sim=0.4 + 0.1 * i) for i in range(8)] + [_row("opus 6", 9, sim=0)]
    one = _compared(rows, "sim")
    assert one.ours - one.theirs == pytest.approx(0.1)
    # The clips differ much, the pairs not at all.
    assert one.interval.low == pytest.approx(0.1)
    report = compare_systems(rows, "codec", ["opus 6", "absent"])
    assert list(report.by_system) == ["opus 6"]
    assert list(report.by_system["opus 6"]) == ["sim"]
    assert "SIM +0.100* (+0.100 to +0.100)" in report.text()
    assert report.to_json()["opus 6"]["sim"]["interval"]["high"] == pytest.approx(0.1)


def test_word_errors_are_compared_as_rates_of_the_whole() -> None:
    rows = [_row("codec", 0, word_edits=1, words=1), _row("codec", 1, word_edits=0, words=9)]
    rows += [_row("opus 6", 0, word_edits=0, words=1), _row("opus 6", 1, word_edits=9, words=9)]
    one = _compared(rows, "wer")
    assert [one.ours, one.theirs] == pytest.approx([0.1, 0.9])
    assert one.interval.low < 0 < one.interval.high


def test_one_speaker_draws_clips() -> None:
    rows = [
        ClipRow(system=s, id=str(i), speaker="a", values={"sim": 0.1 * i + gain * (i % 2)})
        for s, gain in (("codec", 0.2), ("opus 6", 0.0))
        for i in range(10)
    ]
    one = _compared(rows, "sim")
    assert one.interval.low < one.ours - one.theirs < one.interval.high


def test_swaps_are_read_as_a_way_from_a_to_b() -> None:
    plain = {"sim_a": 0.7, "sim_b": 0.3, "pitch_a": 0.9, "pitch_b": 0.1}
    plain |= {"phone_a": 0.5, "phone_b": 0.1, "register_b": 0.0, "wer": 0.2}
    changed = {
        "timbre": {"sim_a": 0.3, "sim_b": 0.7, "register_b": 0.9},
        "prosody": {"pitch_a": 0.5, "pitch_b": 0.5},
        "content": {"phone_a": 0.1, "phone_b": 0.5, "sim_a": 0.4, "sim_b": 0.6},
        "detail": {},
    }
    swaps = SwapReport(
        figures={"nothing": plain, **{part: plain | new for part, new in changed.items()}}, pairs=5
    )
    assert swaps.moved["timbre"] == pytest.approx(
        {"voice": 1.0, "f0": 0.0, "words": 0.0, "register": 0.9}
    )
    assert swaps.moved["prosody"]["f0"] == pytest.approx(0.5)
    assert swaps.moved["content"]["voice"] == pytest.approx(0.75)
    assert set(swaps.moved["detail"].values()) == {0.0}
    lines = swaps.text().splitlines()
    assert "SIM to A" in lines[0]
    assert "timbre of B moves: voice 100 %, f0 0 %, words 0 %, register 90 %" in lines
    assert swaps.to_json()["moved"]["timbre"]["voice"] == pytest.approx(1.0)
    # An aspect in which A and B are alike can not be told to move.
    alike = SwapReport(figures={"nothing": plain | {"sim_b": 0.7}, "timbre": plain}, pairs=1)
    assert "voice" not in alike.moved["timbre"]
