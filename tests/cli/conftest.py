"""A tiny model, a prompt, and a way to run one command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from speechkit.cli import main
from tests.tiny import tiny_model

RATE_HZ = 16_000


@dataclass(frozen=True)
class Ran:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The error line; fails unless there is one, and but warnings and progress beside it."""
        asides = ("speechkit: warning: ", "speechkit: progress: ")
        errors = [line for line in self.err.splitlines() if not line.startswith(asides)]
        assert self.code == 2, self.err
        assert self.out == ""
        assert len(errors) == 1, self.err
        assert errors[0].startswith("speechkit: error: "), self.err
        return errors[0].removeprefix("speechkit: error: ")


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `speechkit …` in this process."""

    def call(*argv: str | Path) -> Ran:
        capsys.readouterr()
        code = main([str(arg) for arg in argv])
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return call


def buzz(seconds: float, pitch_hz: float = 120.0) -> npt.NDArray[np.float32]:
    """A voiced sound that comes and goes like syllables."""
    time_T = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    partials = range(1, int(7800 / pitch_hz))
    harmonics = sum(np.sin(2 * np.pi * pitch_hz * n * time_T) / n for n in partials)
    syllables = np.clip(1.5 * np.sin(2 * np.pi * 2 * time_T) ** 2 - 0.5, 0, 1)
    return np.asarray(0.2 * harmonics * syllables, np.float32)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole model with random weights."""
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def prompt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good prompt."""
    path = tmp_path_factory.mktemp("prompt") / "prompt.wav"
    soundfile.write(path, buzz(2.0), RATE_HZ)
    return path


@pytest.fixture(scope="session")
def other_prompt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, of another pitch and length."""
    path = tmp_path_factory.mktemp("prompt") / "other.flac"
    soundfile.write(path, buzz(2.6, pitch_hz=210.0), RATE_HZ)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output file in an empty folder of its own."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "speech.wav"
