"""What the system refuses: space, streams, permission, a signal. Exit code 2 and one sentence."""

from __future__ import annotations

import argparse
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import soundfile
import torch

from speechkit.cli import build_parser, main
from speechkit.cli.arguments import Verbs
from speechkit.core.audio import write_audio
from speechkit.core.errors import AudioError, CheckpointError
from speechkit.core.files import write_atomically
from tests.diffusion.builders import random_voice

from .conftest import RATE_HZ, Run, buzz

Command = Callable[[Path], tuple[str | Path, ...]]


@contextmanager
def no_space(after_bytes: int = 100) -> Iterator[None]:
    """No file can grow beyond this, as on a full disk; Python ignores the signal for it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="session")
def coded(model: Path, prompt: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("coded") / "a.skc"
    assert main(["codec", "encode", str(prompt), "-o", str(path), "--codec", f"{model}/codec"]) == 0
    return path


SPEAKERS = ("say.wav", "say.ogg", "say.flac", "swap.wav", "voice.safetensors", "convert.wav")
WRITERS = (*SPEAKERS, "encode.skc", "decode.wav", "decode.flac", "embed.wav", "embed.flac")


@pytest.fixture
def command(model: Path, prompt: Path, coded: Path) -> Callable[[Path], tuple[str | Path, ...]]:
    """The command that writes a file, by the file's name."""

    def words(out: Path) -> tuple[str | Path, ...]:
        codec = model / "codec"
        text = ("--text", "Hello there.", "--model", model, "--steps", "1")
        return {
            "say": ("say", "--prompt", prompt, *text),
            "swap": ("swap", "--timbre", prompt, *text),
            "voice": ("voice", prompt, "--model", model),
            "convert": ("convert", "--source", prompt, "--target", prompt, "--codec", codec),
            "encode": ("codec", "encode", prompt, "--codec", codec),
            "decode": ("codec", "decode", coded, "--codec", codec),
            "embed": ("watermark", "embed", prompt),
        }[out.stem] + ("-o", out)

    return words


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_told_with_the_file(
    run: Run, command: Command, tmp_path: Path, name: str
) -> None:
    out = tmp_path / name
    for older in (None, b"older"):
        if older:
            out.write_bytes(older)
        argv = command(out)
        with no_space():
            ran = run(*argv)
        assert str(out) in ran.error
        assert "File too large" in ran.error
        assert [path.name for path in tmp_path.iterdir()] == ([name] if older else [])
        assert older is None or out.read_bytes() == older


@pytest.mark.parametrize("name", WRITERS)
def test_a_read_only_file_stays(run: Run, command: Command, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    out.write_bytes(b"precious")
    out.chmod(0o444)
    assert f"{out}: the file that is there is read-only" in run(*command(out)).error
    assert out.read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_permissions_and_links_outlive_a_new_version(tmp_path: Path) -> None:
    real, link = tmp_path / "real.wav", tmp_path / "link.wav"
    real.write_bytes(b"older")
    real.chmod(0o600)
    link.symlink_to(real)
    write_audio(link, torch.from_numpy(buzz(0.1)), RATE_HZ)
    assert link.is_symlink()
    assert len(soundfile.read(real)[0]) == 1600
    assert stat.S_IMODE(real.stat().st_mode) == 0o600


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(AudioError, match=r"a\.wav: there is something that is not a regular file"):
        write_audio(tmp_path / "a.wav", torch.from_numpy(buzz(0.1)), RATE_HZ)
    assert stat.S_ISFIFO((tmp_path / "a.wav").stat().st_mode)


def test_the_api_tells_the_file_too(tmp_path: Path) -> None:
    voice, path = random_voice(0), tmp_path / "v.safetensors"
    with no_space(), pytest.raises(CheckpointError, match=rf"Cannot write {path}: File too large"):
        voice.save(path)
    with pytest.raises(CheckpointError, match="Cannot write .*No such file"):
        voice.save(tmp_path / "none" / "v.safetensors")
    with no_space(), pytest.raises(OSError, match="File too large") as caught:
        write_atomically(path, lambda part: part.write_bytes(bytes(1000)))
    assert caught.value.filename == str(path)
    assert not list(tmp_path.iterdir())


def shell(line: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a line of sh in which `skit` is the program."""
    program = f'skit() {{ "{sys.executable}" -m speechkit "$@"; }}\n'
    return subprocess.run(
        ["sh", "-c", program + line, "sh", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )


def told(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What the program said, whatever Python's own start may have printed; no traceback."""
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("speechkit: ")]
    return [line for line in lines if not line.startswith("speechkit: progress: ")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("skit codec info $1 >&-", "Standard output is closed"),
        ("skit codec info $1 --json >&-", "Standard output is closed"),
        ("skit codec info $1 >/dev/full", "Cannot write to standard output: No space left"),
        ("skit --help >/dev/full", "Cannot write to standard output: No space left"),
        ("skit say --prompt $1 --text - -o $2 <&-", "Standard input is closed"),
        ("skit codec info none.skc >&-", "none.skc"),
    ],
)
def test_streams_that_refuse_are_told(coded: Path, tmp_path: Path, line: str, words: str) -> None:
    done = shell(line, coded, tmp_path / "o.wav")
    assert done.returncode == 2, done.stderr
    (line,) = told(done)
    assert line.startswith("speechkit: error: ")
    assert words in line
    assert not list(tmp_path.iterdir())


def test_an_error_nobody_can_read_is_still_an_error(coded: Path) -> None:
    for line in ("skit codec info none.skc 2>&-", "skit codec info none.skc 2>/dev/full"):
        done = shell(line)
        assert (done.returncode, done.stdout) == (2, "")


def test_a_reader_that_went_away_is_told(coded: Path) -> None:
    done = shell('{ sleep 0.1; skit codec info "$1"; echo "code $?" >&2; } | true', coded)
    assert told(done) == ["speechkit: error: Standard output was closed by what was reading it."]
    assert done.stderr.endswith("code 2\n")


def test_with_closed_streams_the_file_is_written_whole(
    model: Path, coded: Path, tmp_path: Path
) -> None:
    line = "skit codec decode $1 -o $2 --codec $3 <&- >&- 2>&-"
    done = shell(line, coded, tmp_path / "o.wav", model / "codec")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(soundfile.read(tmp_path / "o.wav")[0]) == 2 * RATE_HZ


def interrupted(module: str, name: str, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command that gets a signal when it imports a module."""
    code = (
        "import os, signal, sys\n"
        f"class Finder:\n    def find_spec(self, name, *rest):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.{name})\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from speechkit.__main__ import run\n"
        "sys.exit(run())\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, argv)], capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("module", ["argparse", "speechkit.cli", "speechkit.cli.say", "torch"])
def test_an_interrupt_at_any_import_is_plain(
    module: str, prompt: Path, model: Path, tmp_path: Path
) -> None:
    argv = ("say", "--prompt", prompt, "--text", "Hi.", "-o", tmp_path / "o.wav", "--model", model)
    done = interrupted(module, "SIGINT", *argv)
    assert done.returncode == 130
    lines = [line for line in told(done) if not line.startswith("speechkit: progress: ")]
    assert lines == ["speechkit: error: interrupted"]
    assert not list(tmp_path.iterdir())


def test_being_ended_leaves_nothing_half_written(prompt: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from speechkit.core.files import write_atomically\n"
        "from speechkit import cli, __main__\n"
        "def main():\n"
        "    def write(part):\n"
        "        part.write_bytes(b'half')\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        f"    write_atomically({str(tmp_path / 'a')!r}, write)\n"
        "cli.main = main\n"
        "__main__.run()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 143
    assert told(done) == ["speechkit: error: SIGTERM ended it"]
    assert not list(tmp_path.iterdir())


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of all verbs."""
    nested = [action for action in parser._actions if isinstance(action, Verbs)]
    if not nested:
        yield parser
    for verbs in nested:
        for verb in verbs.choices.values():
            yield from leaves(verb)


def test_every_verb_can_be_quiet(run: Run, command: Command, tmp_path: Path) -> None:
    verbs = list(leaves(build_parser()))
    assert len(verbs) > 20
    assert [verb.prog for verb in verbs if "--quiet" not in verb.format_help()] == []
    for name in ("say.wav", "voice.safetensors", "encode.skc", "decode.wav", "embed.wav"):
        ran = run(*command(tmp_path / name), "--quiet")
        lines = [line for line in ran.err.splitlines() if "warning" not in line]
        assert (ran.code, ran.out, lines) == (0, "", [])
    loud = run(*command(tmp_path / "decode.wav"))
    assert str(tmp_path) in loud.out
