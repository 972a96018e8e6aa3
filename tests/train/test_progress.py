"""Progress: quiet unless asked, plain lines where there is no terminal, rate and time left."""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Iterator

import pytest

from speechkit.train import progress as module
from speechkit.train.progress import progress, show_progress


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave the package's logger as it was."""
    logger = logging.getLogger("speechkit")
    level, handlers = logger.level, list(logger.handlers)
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_it_is_quiet_until_it_is_wanted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", 0.0)
    assert list(progress("packing", range(5), total=5, unit="clip")) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err == ""


def test_plain_lines_say_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", 0.01)
    show_progress()
    for _ in progress("packing", range(4), total=4, unit="clip"):
        time.sleep(0.02)
        logging.getLogger("speechkit.data").info("a clip is odd")
    lines = capsys.readouterr().err.splitlines()
    assert sum("a clip is odd" in line for line in lines) == 4
    shown = [line for line in lines if line.startswith("packing: ")]
    assert shown[-1].startswith("packing: 4 of 4 clips")
    assert all("clip/s" in line and line.endswith(" left") for line in shown)
    assert not any("\r" in line for line in lines)


def test_short_work_and_hidden_bars_print_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_progress()
    assert sum(progress("packing", range(5), total=5, unit="clip")) == 10
    with progress("training", total=None, unit="step", plain=False) as bar:
        bar.update(3)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_one_line_that_is_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    show_progress()
    with progress("training", total=3, unit="step", plain=False) as bar:
        for _ in range(3):
            time.sleep(0.4)
            bar.update()
    assert "\n" not in terminal.getvalue().strip()
    assert "training: 100%" in terminal.getvalue()
