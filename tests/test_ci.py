"""What the check of every change runs, in which order: `.ci/run` with a `make` that notes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAKE = """#!/bin/sh
for target; do :; done
echo "$target" >> "$MADE"
case "$target" in
  chromium) [ "$BROWSER" != none ] || { echo "Chromium is missing, no way" >&2; exit 1; } ;;
  test-browser) [ "$BROWSER" != fails ] || exit 3 ;;
  test) echo "1 passed" ;;
esac
"""
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it is a shell script")


def checked(folder: Path, browser: str) -> tuple[list[str], subprocess.CompletedProcess[str]]:
    """The targets that were made, and how it ended."""
    make = folder / "make"
    make.write_text(MAKE)
    make.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "MADE": str(folder / "made"),
        "BROWSER": browser,
    }
    done = subprocess.run(
        ["bash", str(ROOT / ".ci" / "run")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return (folder / "made").read_text().split(), done


def test_the_browser_comes_first_and_the_main_summary_last(tmp_path: Path) -> None:
    made, done = checked(tmp_path, "there")
    assert made == ["chromium", "test-browser", "test"]
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "1 passed"


def test_without_a_browser_it_says_why(tmp_path: Path) -> None:
    made, done = checked(tmp_path, "none")
    assert made == ["chromium", "test"]
    assert "browser tests skipped: Chromium is missing, no way" in done.stdout
    assert done.returncode == 0


def test_a_failure_in_the_browser_fails_after_the_main_tests(tmp_path: Path) -> None:
    made, done = checked(tmp_path, "fails")
    assert made[-1] == "test"
    assert done.stdout.splitlines()[-1] == "1 passed"
    assert done.returncode != 0
