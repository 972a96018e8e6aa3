"""One job at a time, stage by stage: its progress, its end, its faults, and how it is cancelled."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from speechkit.core.errors import TextError
from speechkit.demo.jobs import Report
from speechkit.demo.state import AppState, escaped, progress_bar, time_left

SOON_SECONDS = 20.0


def counting(report: Report) -> int:
    """A job of three stages."""
    for number in range(3):
        report(number / 3, f"stage_{number}")
    return 3


def test_a_job_tells_its_stages_and_then_its_result(app: AppState) -> None:
    rows = list(app.staged(counting, lambda made: ("sound", f"made {made}"), 2, 1))
    assert rows[-1] == ("sound", "made 3")
    assert all(first is None for first, _ in rows[:-1])
    told = [line for _, line in rows[:-1]]
    assert "waiting" in told[0]
    for number in range(3):
        assert any(f"stage&#95;{number}" in line for line in told)


def test_what_is_left_of_a_long_job_is_told() -> None:
    assert time_left(10.0, 0.05) == ""
    assert time_left(1.0, 0.5) == ""
    assert time_left(30.0, 0.5) == ", about 30 s left"
    assert time_left(120.0, 0.25) == ", about 6 min left"


def test_what_a_browser_shows_is_escaped() -> None:
    assert "<script>" not in escaped("<script>")
    assert "value='1.000'" in progress_bar(1.5, "<b>")
    assert "<b>" not in progress_bar(1.5, "<b>")


@pytest.mark.parametrize("fault", [TextError("Bad text."), ZeroDivisionError()])
def test_a_fault_is_raised_and_frees_the_worker(app: AppState, fault: Exception) -> None:
    def broken(report: Report) -> int:
        raise fault

    with pytest.raises(type(fault)):
        list(app.staged(broken, lambda made: (made,), 1, 0))
    again = list(app.staged(counting, lambda made: (made,), 1, 0))
    assert again[-1] == (3,)


def test_a_known_fault_is_said_where_the_progress_was(app: AppState) -> None:
    def broken(report: Report) -> int:
        raise TextError("Bad text.")

    job = app.staged(broken, lambda made: (made,), 1, 0)
    assert "waiting" in next(job)[0]
    said = next(row for (row,) in job if "waiting" not in row and "starting" not in row)
    assert said == "**Sorry.** Bad text."
    with pytest.raises(TextError):
        next(job)


def test_a_closed_job_ends_at_its_next_stage_and_jobs_never_overlap(app: AppState) -> None:
    reached, go_on = threading.Event(), threading.Event()
    stages: list[str] = []

    def long(report: Report) -> int:
        stages.append("first")
        reached.set()
        go_on.wait(SOON_SECONDS)
        report(0.5, "second")
        stages.append("second")
        return 1

    def short(report: Report) -> int:
        stages.append("short")
        return 2

    job = app.staged(long, lambda made: (made,), 1, 0)
    next(job)
    assert reached.wait(SOON_SECONDS)
    # What Gradio does when the job is cancelled or its tab is closed.
    job.close()  # type: ignore[attr-defined]
    results: list[Any] = []
    other = threading.Thread(
        target=lambda: results.extend(app.staged(short, lambda made: (made,), 1, 0))
    )
    other.start()
    other.join(0.3)
    assert stages == ["first"]
    go_on.set()
    other.join(SOON_SECONDS)
    assert stages == ["first", "short"]
    assert results[-1] == (2,)
    app.settle()
