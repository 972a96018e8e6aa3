"""The demo as a process of its own, and a Chromium with a fake microphone that visits it.

Screenshots stay in the folder that SPEECHKIT_SCREENSHOTS names, or in pytest's own. Where
SPEECHKIT_DEMO gives the address of a demo that runs already, that one is visited.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import soundfile

from tests.e2e.pages import PATIENCE_SECONDS, Demo

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from speechkit.evaluate.asr import WhisperWords

ROOT = Path(__file__).resolve().parents[2]
REPORT = pytest.StashKey[pytest.TestReport]()
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let fixtures know how the test went."""
    report = yield
    if report.when == "call":
        item.stash[REPORT] = report
    return report


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go."""
    named = os.environ.get("SPEECHKIT_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The running demo, on a free port of this machine."""
    if running := os.environ.get("SPEECHKIT_DEMO"):
        yield running.rstrip("/")
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    folder = tmp_path_factory.mktemp("demo")
    temporary = folder / "temporary"
    temporary.mkdir()
    log = folder / "log.txt"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, ROOT / "app.py", "--port", str(port)],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(temporary)},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_ready(url, process, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    left = [path for path in temporary.rglob("*") if path.is_file()]
    assert not left, "the demo left files behind"


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once the page is served; fail with the log when the process ends or takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"the demo ended with code {process.returncode}: {log.read_text()}")
        try:
            with urllib.request.urlopen(f"{url}/config", timeout=10) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"the demo is not ready after {PATIENCE_SECONDS} s: {log.read_text()}")


@pytest.fixture(scope="session")
def microphone(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the fake microphone hears, over and over."""
    path = tmp_path_factory.mktemp("microphone") / "heard.wav"
    wave, rate_hz = soundfile.read(examples / "synthetic_bf_emma.flac", dtype="int16")
    soundfile.write(path, wave, rate_hz)
    return path


@pytest.fixture(scope="session")
def chromium(microphone: Path) -> Iterator[Browser]:
    """The system's Chromium, without a window."""
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("needs playwright: make test-browser, or pip install 'speechkit[e2e]'")
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    if not found:
        pytest.skip("needs Chromium: make test-browser, or apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found[0],
            args=[
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                f"--use-file-for-fake-audio-capture={microphone}",
                # Drawing in software through OpenGL takes a core from the models.
                "--disable-gpu",
                # Chromium refuses to be its own jailer when it is root.
                *(["--no-sandbox"] if os.geteuid() == 0 else []),
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def demo(
    chromium: Browser, address: str, shots: Path, request: pytest.FixtureRequest
) -> Iterator[Demo]:
    """A fresh visitor of the demo, whose page must call nobody else and break nowhere."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page.set_default_timeout(1000 * PATIENCE_SECONDS)
    strangers: list[str] = []
    faults: list[str] = []
    own = (address, "data:", "blob:", "about:")
    page.on("request", lambda one: None if one.url.startswith(own) else strangers.append(one.url))
    # Gradio's player says this when it is emptied while it loads.
    harmless = "signal is aborted without reason"
    page.on(
        "pageerror", lambda error: None if harmless in str(error) else faults.append(str(error))
    )
    visitor = Demo(page, address, shots)
    yield visitor
    report = request.node.stash.get(REPORT, None)
    if report is not None and report.failed:
        visitor.shoot(f"failed_{request.node.name}")
    page.close()
    assert not strangers, "the page asked other machines"
    assert not faults, "scripts of the page broke"


@pytest.fixture(scope="session")
def whisper() -> WhisperWords | None:
    """Who hears what was said; nobody where the extra `eval` is not installed."""
    from speechkit.evaluate.asr import WhisperWords

    try:
        return WhisperWords("base", Path.home() / ".cache" / "speechkit")
    except ImportError:
        return None
