"""What `speechkit doctor` finds: on this machine, and on ones that lack something."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from torch.utils import collect_env

from speechkit import doctor
from speechkit.cli import main
from speechkit.doctor import CheckResult, checks

ROOT = Path(__file__).resolve().parents[1]
Usage = namedtuple("Usage", "total used free")


def by_name(results: Iterable[CheckResult]) -> dict[str, CheckResult]:
    """Results under their names; fails where two share one."""
    found = list(results)
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


def the_one(results: Iterable[CheckResult]) -> CheckResult:
    """The only result."""
    (result,) = results
    return result


def test_all_is_well_where_the_tests_run() -> None:
    results = by_name(doctor.examine())
    assert {name.split()[0] for name in results} == {*doctor.CHECKS, "extras"}
    for one in results.values():
        assert one.says
        assert (one.status == "ok") == (one.advice == ""), one
    # A fresh install has no warning; memory, disk and driver are the machine's own.
    own = ("memory", "disk here", "disk temporary", "gpu", "processor")
    assert {one.status for name, one in results.items() if name not in own} == {"ok"}


def test_command_without_torch_names_it() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from speechkit import cli, doctor\n"
        "doctor.examine.__defaults__ = ({k: v for k, v in doctor.CHECKS.items()"
        " if k in ('packages', 'models', 'processor', 'audio')},)\n"
        "sys.exit(cli.main(['doctor', '--json']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1, done.stderr
    told = {one["name"]: one for one in json.loads(done.stdout)["checks"]}
    assert told["packages"]["status"] == "ok"
    assert told["processor"]["status"] == "problem"
    assert "torch" in told["processor"]["says"]


@pytest.mark.parametrize(
    ("statuses", "code", "last"),
    [
        (["ok"], 0, "All is well."),
        (["ok", "warning"], 0, "1 warning."),
        (["problem", "warning", "problem"], 1, "2 problems and 1 warning."),
    ],
)
def test_exit_code_and_report(
    statuses: list[doctor.Status],
    code: int,
    last: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = [
        CheckResult(f"n{index}", status, "Said.", "" if status == "ok" else "Do it.")
        for index, status in enumerate(statuses)
    ]
    monkeypatch.setattr(doctor, "examine", lambda: results)
    assert main(["doctor"]) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == last
    assert sum("-> " in line for line in lines) == sum(bool(one.advice) for one in results)
    assert main(["doctor", "--json"]) == code
    told = json.loads(capsys.readouterr().out)
    assert told["well"] == (code == 0)
    assert [one["status"] for one in told["checks"]] == statuses


def test_a_check_that_breaks_leaves_the_others() -> None:
    def broken() -> NoReturn:
        raise ImportError("libsomething.so: cannot\nopen")

    def fine() -> list[CheckResult]:
        return [CheckResult("second", "ok", "Good.")]

    results = by_name(doctor.examine({"first": broken, "second": fine}))
    assert results["first"].status == "problem"
    assert "libsomething.so: cannot open" in results["first"].says
    assert results["second"].status == "ok"


def test_missing_and_misfitting_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    demands = [
        "numpy>=999",
        "no-such-package-here<2,>=1",
        "torch",
        "nothing-windows-only; sys_platform == 'win32'",
        "another-absent-one; extra == 'eval'",
        "torch<1; extra == 'dev'",
    ]
    monkeypatch.setattr(metadata, "requires", lambda name: demands)
    result, extras = checks.check_packages()
    assert result.status == "problem"
    assert "no-such-package-here is missing" in result.says
    assert f"numpy is {metadata.version('numpy')} and not >=999" in result.says
    assert "torch" not in result.says
    assert "windows" not in result.says
    assert "another-absent-one" not in result.says
    assert extras.status == "ok"
    assert "eval (another-absent-one is missing)" in extras.says
    assert f"dev (torch is {metadata.version('torch')} and not <1)" in extras.says

    monkeypatch.setattr(platform, "python_version", lambda: "3.9.2")
    assert "Python is 3.9.2 and not " in next(iter(checks.check_packages())).says


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "DISTRIBUTION", "no-such-package-here")
    result = the_one(checks.check_packages())
    assert result.status == "warning"
    assert "not installed" in result.says


def test_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, status in ((10 << 20, "problem"), (5 << 30, "ok")):
        monkeypatch.setattr(shutil, "disk_usage", lambda folder, free=free: Usage(9, 0, free))
        assert {one.status for one in checks.check_disk()} == {status}

    def full(**_: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    for one in checks.check_disk():
        assert one.status == "problem"
        assert os.strerror(errno.ENOSPC) in one.says


@pytest.mark.parametrize(
    ("available_kb", "limit", "used", "status"),
    [
        (8 << 20, "max", "0", "ok"),
        (8 << 20, str(512 << 20), str(100 << 20), "problem"),
        (100 << 10, "max", "0", "problem"),
        (8 << 20, str(8 << 30), str(2 << 30), "ok"),
    ],
)
def test_memory(
    available_kb: int,
    limit: str,
    used: str,
    status: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "SYSTEM", tmp_path)
    assert the_one(checks.check_memory()).status == "ok"
    (tmp_path / "proc").mkdir()
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable:  {available_kb} kB\n")
    (tmp_path / "sys/fs/cgroup/memory.max").write_text(f"{limit}\n")
    (tmp_path / "sys/fs/cgroup/memory.current").write_text(f"{used}\n")
    assert the_one(checks.check_memory()).status == status


def test_threads_and_a_gpu_without_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert the_one(checks.check_processor()).status == "ok"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert "PASSIVE" in the_one(checks.check_processor()).advice
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert "OMP_NUM_THREADS=2" in the_one(checks.check_processor()).advice

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for driver, status in ((None, "ok"), ("470.1", "warning")):
        monkeypatch.setattr(collect_env, "get_nvidia_driver_version", lambda run, d=driver: d)
        assert the_one(checks.check_gpu()).status == status


@pytest.mark.gpu
def test_gpu_computes() -> None:
    assert {one.status for one in checks.check_gpu()} == {"ok"}


def test_audio_that_comes_back_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    from speechkit.core import audio, formats

    encode = audio.encode_audio
    monkeypatch.setattr(
        audio, "encode_audio", lambda wave, rate, suffix: encode(wave, 8000, suffix)
    )
    # Without MP3 everything else works.
    monkeypatch.setitem(formats.AUDIO_FORMATS, ".mp3", ("MP3", "NO_SUCH_SUBTYPE"))
    results = by_name(checks.check_audio())
    assert results["audio wav"].status == "problem"
    assert "220 Hz" in results["audio wav"].says
    assert results["audio mp3"].status == "warning"


def test_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "ffmpeg" else name)
    assert "not there: ffmpeg" in the_one(checks.check_programs()).says
