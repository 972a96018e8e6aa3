"""Differences with intervals, and what a report says in words."""

from __future__ import annotations

import pytest

from speechkit.core.errors import DataError
from speechkit.evaluate.codec.differences import (
    all_differences,
    column_of,
    difference_lines,
    paired_difference,
)
from speechkit.evaluate.codec.findings import Findings
from speechkit.evaluate.codec.rate import CodingRate, RateReport
from speechkit.evaluate.codec.swaps import Swaps
from speechkit.evaluate.codec.verdicts import claim_lines, moved, swap_lines, swap_verdicts
from speechkit.evaluate.table import ClipRow
from speechkit.evaluate.usage import BookUsage


def _row(system: str, clip: int, **values: float) -> ClipRow:
    if "word_edits" in values:
        values["wer"] = values["word_edits"] / values["words"]
    return ClipRow(system=system, id=str(clip), speaker=f"s{clip % 4}", values=values)


def test_difference_is_paired_over_the_clips_both_have() -> None:
    rows = [_row("codec", i, sim=0.5 + 0.1 * i) for i in range(8)]
    rows += [_row("opus 6", i, sim=0.4 + 0.1 * i) for i in range(8)] + [_row("opus 6", 9, sim=0)]
    one = paired_difference(rows, "codec", "opus 6", "sim")
    assert one is not None
    assert one.value == pytest.approx(0.1)
    # The clips differ much, the pairs not at all.
    assert one.interval.low == pytest.approx(0.1)
    assert one.better
    assert one.sure
    assert paired_difference(rows, "codec", "opus 6", "stoi") is None


def test_word_errors_are_compared_as_rates_of_the_whole() -> None:
    rows = [_row("codec", 0, word_edits=1, words=1), _row("codec", 1, word_edits=0, words=9)]
    rows += [_row("opus 6", 0, word_edits=0, words=1), _row("opus 6", 1, word_edits=9, words=9)]
    one = paired_difference(rows, "codec", "opus 6", "wer")
    assert one is not None
    assert [one.ours, one.theirs] == pytest.approx([0.1, 0.9])
    assert one.better
    assert not one.sure


def test_one_speaker_draws_clips() -> None:
    rows = [
        ClipRow(system=s, id=str(i), speaker="a", values={"sim": 0.1 * i + gain * (i % 2)})
        for s, gain in (("codec", 0.2), ("opus 6", 0.0))
        for i in range(10)
    ]
    one = paired_difference(rows, "codec", "opus 6", "sim")
    assert one is not None
    assert one.interval.low < one.value < one.interval.high
    with pytest.raises(DataError, match="measure"):
        column_of("beauty")


def _systems(sim: float, stoi: float) -> list[ClipRow]:
    rows = []
    for i in range(8):
        rows.append(_row("codec", i, sim=0.6, stoi=0.8 + 0.01 * (i % 4), word_edits=1, words=10))
        rows.append(_row("opus 6", i, sim=sim, stoi=stoi, word_edits=2, words=10))
    return rows


def test_claims_hold_or_not_and_say_where() -> None:
    (line,) = claim_lines(all_differences(_systems(0.5, 0.7), "codec", ["opus 6"]))
    assert line == "above opus 6 in WER%, SIM, STOI: holds, every interval clear of 0"
    (line,) = claim_lines(all_differences(_systems(0.5, 0.814), "codec", ["opus 6"]))
    assert line.endswith("holds on these clips; within chance: STOI")
    (line,) = claim_lines(all_differences(_systems(0.7, 0.7), "codec", ["opus 6"]))
    assert line.endswith("does not hold: behind in SIM (0.600 to 0.700)")
    lines = difference_lines(all_differences(_systems(0.7, 0.7), "codec", ["opus 6"]))
    assert "WER% -10.00 (-10.00 to -10.00, better)" in lines[0]
    assert "SIM -0.100 (-0.100 to -0.100, worse)" in lines[0]


def _swaps(**changed: dict[str, float]) -> Swaps:
    plain = {"sim_a": 0.7, "sim_b": 0.3, "pitch_a": 0.9, "pitch_b": 0.1}
    plain |= {"phone_a": 0.5, "phone_b": 0.1, "register_b": 0.0, "wer": 0.2}
    return Swaps(
        figures={"nothing": plain, **{part: plain | new for part, new in changed.items()}}, pairs=5
    )


def test_swaps_are_read_as_a_way_from_a_to_b() -> None:
    swaps = _swaps(
        timbre={"sim_a": 0.3, "sim_b": 0.7, "register_b": 0.9},
        prosody={"pitch_a": 0.5, "pitch_b": 0.5},
        content={"phone_a": 0.1, "phone_b": 0.5, "sim_a": 0.4, "sim_b": 0.6},
        detail={},
    )
    table = moved(swaps)
    assert table["timbre"] == pytest.approx(
        {"voice": 1.0, "melody": 0.0, "words": 0.0, "register": 0.9}
    )
    assert table["prosody"]["melody"] == pytest.approx(0.5)
    good = {one.part: one.good for one in swap_verdicts(swaps)}
    assert good == {"timbre": True, "prosody": True, "content": False, "detail": True}
    lines = swap_lines(swaps)
    assert "SIM to A" in lines[0]
    assert "20.000" in lines[1]
    assert any(line.startswith("content: voice goes over (75 %)") for line in lines)


def test_a_swap_that_moves_nothing_may_still_do_harm() -> None:
    (verdict,) = swap_verdicts(_swaps(detail={"wer": 0.5, "register_b": -0.4}))
    assert not verdict.good
    assert "words stays (0 %)" in verdict.words
    assert "register goes astray (-40 %)" in verdict.words
    assert verdict.words.endswith("words suffer (WER 20 to 50 %)")
    (verdict,) = swap_verdicts(_swaps(content={"phone_a": 0.1, "phone_b": 0.5, "wer": 1.0}))
    assert verdict.good


def test_summary_says_what_was_measured_and_nothing_else() -> None:
    assert Findings().summary() == []
    assert Findings().sections([]) == {}
    rate = RateReport(
        seconds=1.0,
        rates=(
            CodingRate(name="nominal", kbps=3.0, bits_a_code=(10.0,)),
            CodingRate(name="adaptive, order 0", kbps=2.5, bits_a_code=(8.3,)),
        ),
        timbre_bits=16,
        timbre_kbps=0.1,
        checked_bytes=10,
        checked_bits=79.0,
    )
    found = Findings(
        differences=all_differences(_systems(0.7, 0.7), "codec", ["opus 6"]),
        swaps=_swaps(detail={"sim_a": 0.3, "sim_b": 0.7}),
        usage=[BookUsage(book=0, entries=8, used=6, perplexity=4.0)],
        rate=rate,
    )
    summary = "\n".join(found.summary())
    assert "above opus 6" in summary
    assert "nothing else: none; not: detail (voice goes over (100 %)" in summary
    assert "at least 75 % of the entries" in summary
    assert "3.00 kb/s nominal, 2.50 kb/s coded (adaptive, order 0)" in summary
    assert "probes" not in summary
    sections = found.sections(["prosody"])
    assert sections["usage"] == ["prosody: 6 of 8 entries used, 2 dead, perplexity 4"]
    assert list(sections)[-1] == "summary"
    assert found.to_json()["swaps"]["moved"]["detail"]["voice"] == pytest.approx(1.0)
