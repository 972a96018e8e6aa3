"""A server process with a tiny model of random weights, and clients of it."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import soundfile

from tests.cli.conftest import RATE_HZ, buzz
from tests.tiny import tiny_model

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Running:
    """A server process."""

    process: subprocess.Popen[str]
    base_url: str
    log: list[str] = field(default_factory=list)

    def end(self, seconds: float = 300) -> int:
        """Send SIGTERM and wait; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    @property
    def memory_bytes(self) -> int:
        """Resident memory of the process."""
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        match = re.search(r"VmRSS:\s+(\d+) kB", text)
        assert match
        return 1024 * int(match[1])

    @property
    def cpu_seconds(self) -> float:
        """What the process has computed so far, which other programs change little."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8")
        # User and system time, counted after the name, which may hold spaces.
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def start(*argv: str | Path, key: str = "") -> Running:
    """Run `speechkit serve` on a free port; returns when it answers."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "SPEECHKIT_API_KEY": key}
    process = subprocess.Popen(
        [sys.executable, "-m", "speechkit", "serve", "--port", "0", *map(str, argv)],
        cwd=ROOT,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    log: list[str] = []
    for line in process.stderr:
        log.append(line)
        match = re.match(r"speechkit server: (http://\S+)", line)
        if match:
            running = Running(process, match[1], log)
            threading.Thread(target=log.extend, args=(process.stderr,), daemon=True).start()
            return running
    raise AssertionError(f"the server ended: {''.join(log)}")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole model with random weights."""
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def server(model: Path) -> Iterator[Running]:
    """One server for all tests that leave it as it was."""
    running = start("--model", model, "--max-waiting", "200")
    yield running
    assert running.end() == 0, "".join(running.log)
    assert "Traceback" not in "".join(running.log)


@pytest.fixture
def client(server: Running) -> Iterator[httpx.Client]:
    """A plain HTTP client of that server."""
    with httpx.Client(base_url=server.base_url, timeout=120) as made:
        yield made


@pytest.fixture(scope="session")
def recording() -> bytes:
    """A good prompt as a WAV file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, buzz(2.0), RATE_HZ, format="WAV")
    return buffer.getvalue()
