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

from speechkit import doctor
from speechkit.cli import main
from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.checksums import SUMS_FILE, read_sums, record_sums
from speechkit.core.errors import CheckpointError
from speechkit.doctor import machine, models, software, sound
from speechkit.doctor.finding import Finding, ok, problem, warning
from speechkit.train.release import release

ROOT = Path(__file__).resolve().parents[1]
Usage = namedtuple("Usage", "total used free")


def by_name(findings: Iterable[Finding]) -> dict[str, Finding]:
    """Findings under their names; fails where two share one."""
    found = list(findings)
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


def the_one(findings: Iterable[Finding]) -> Finding:
    """The only finding."""
    (finding,) = findings
    return finding


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root folder of the system that holds nothing yet."""
    folder = tmp_path / "system"
    (folder / "proc").mkdir(parents=True)
    (folder / "sys/fs/cgroup").mkdir(parents=True)
    monkeypatch.setattr(machine, "SYSTEM", folder)
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A weights folder with one small model and its checksums."""
    save_checkpoint(tmp_path / "weights" / "codec", {"a": torch.arange(8.0)}, {"size": 8})
    record_sums(tmp_path / "weights" / "codec")
    return tmp_path / "weights"


def test_every_check_finds_something_in_plain_words() -> None:
    findings = by_name(doctor.examine())
    assert {name.split()[0] for name in findings} == set(doctor.CHECKS)
    for one in findings.values():
        assert one.says
        assert (one.status == "ok") == (one.advice == ""), one
        assert "Traceback" not in one.says
    # What this very test run stands on.
    for name in ("python", "packages", "bfloat16", "audio wav", "audio flac", "audio ogg vorbis"):
        assert findings[name].status == "ok", findings[name]
    for model in ("aligner", "codec", "generator"):
        assert findings[f"weights {model}"].status == "ok", findings[f"weights {model}"]


def test_command_without_torch_names_it(tmp_path: Path) -> None:
    # Only the checks that stay: the command itself has to live on a machine it finds ill.
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from speechkit import cli, doctor\n"
        "doctor.examine.__defaults__ = ({k: v for k, v in doctor.CHECKS.items()"
        " if k in ('python', 'weights', 'bfloat16', 'audio')},)\n"
        "sys.exit(cli.main(['doctor', '--json']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1, done.stderr
    told = {one["name"]: one for one in json.loads(done.stdout)["checks"]}
    assert told["weights codec"]["status"] == "ok"
    assert told["bfloat16"]["status"] == "problem"
    assert "torch" in told["bfloat16"]["says"]


@pytest.mark.parametrize(
    ("findings", "code", "last"),
    [
        ([ok("a", "Good.")], 0, "All is well."),
        ([ok("a", "Good."), warning("b", "Hm.", "Look.")], 0, "1 warning."),
        (
            [
                problem("a", "Bad.", "Mend it."),
                warning("b", "Hm.", "Look."),
                problem("c", "B", "M"),
            ],
            1,
            "2 problems and 1 warning.",
        ),
    ],
)
def test_exit_code_and_report(
    findings: list[Finding],
    code: int,
    last: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    assert main(["doctor"]) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == last
    assert sum("-> " in line for line in lines) == sum(bool(one.advice) for one in findings)
    assert main(["doctor", "--json"]) == code
    told = json.loads(capsys.readouterr().out)
    assert told["well"] == (code == 0)
    assert [one["status"] for one in told["checks"]] == [one.status for one in findings]


def test_a_check_that_breaks_leaves_the_others() -> None:
    def broken() -> NoReturn:
        raise ImportError("libsomething.so: cannot\nopen")

    findings = by_name(doctor.examine({"first": broken, "second": lambda: [ok("second", "Good.")]}))
    assert findings["first"].status == "problem"
    assert "libsomething.so: cannot open" in findings["first"].says
    assert findings["second"].status == "ok"


def test_bundled_checksums_are_those_of_the_files() -> None:
    weights = ROOT / "speechkit" / "weights"
    wrong = [one.says for one in models.check_weights(weights) if one.status != "ok"]
    advice = f"in speechkit/weights: sha256sum */config.json */model.safetensors > {SUMS_FILE}"
    assert not wrong, f"{wrong}; after a release by hand, {advice}"
    assert set(read_sums(weights)) == {
        f"{path.parent.name}/{name}"
        for path in weights.glob("*/model.safetensors")
        for name in ("config.json", "model.safetensors")
    }


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_damaged_weights(weights: Path, file: str) -> None:
    assert the_one(models.check_weights(weights)).status == "ok"
    path = weights / "codec" / file
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(bytes(data))
    finding = the_one(models.check_weights(weights))
    assert finding.status == "problem"
    assert str(path) in finding.says
    path.unlink()
    assert the_one(models.check_weights(weights)).status == "problem"


def test_weights_without_checksums(weights: Path) -> None:
    shutil.copytree(weights / "codec", weights / "stranger")
    findings = by_name(models.check_weights(weights))
    assert findings["weights codec"].status == "ok"
    assert findings["weights stranger"].status == "problem"
    (weights / SUMS_FILE).write_text("no checksum\n")
    assert the_one(models.check_weights(weights)).status == "problem"
    with pytest.raises(CheckpointError):
        read_sums(weights)
    (weights / SUMS_FILE).unlink()
    assert the_one(models.check_weights(weights)).status == "problem"


def test_a_release_writes_its_checksums(weights: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "run", {"a": torch.ones(4)}, {"size": 4})
    before = read_sums(weights)
    release(tmp_path / "run", weights / "generator", {"minutes": 1})
    assert {one.status for one in models.check_weights(weights)} == {"ok"}
    assert before.items() < read_sums(weights).items()


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
    finding = the_one(software.check_packages())
    assert finding.status == "problem"
    assert "no-such-package-here is missing" in finding.says
    assert f"numpy is {metadata.version('numpy')} and not >=999" in finding.says
    assert "torch" not in finding.says
    assert "windows" not in finding.says
    assert "another-absent-one" not in finding.says
    extras = the_one(software.check_extras())
    assert extras.status == "warning"
    assert "torch" in extras.says
    demands.pop()
    extras = the_one(software.check_extras())
    assert extras.status == "ok"
    assert "eval (lacks another-absent-one)" in extras.says


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "DISTRIBUTION", "no-such-package-here")
    for check in (software.check_python, software.check_packages):
        assert the_one(check()).status == "warning"
    assert the_one(software.check_extras()).status == "ok"


def test_wrong_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "python_version", lambda: "3.9.2")
    finding = the_one(software.check_python())
    assert finding.status == "problem"
    assert "3.9.2" in finding.says


@pytest.mark.parametrize(
    ("code", "status", "word"),
    [
        ("raise RuntimeError('needs torch 2.9.1')", "problem", "RuntimeError: needs torch 2.9.1"),
        ("import os; os.abort()", "problem", "ended with code"),
        ("print('0.8.1')", "ok", "0.8.1 loads"),
    ],
)
def test_native_half_of_fairseq2(
    code: str, status: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(software, "_IMPORT_FAIRSEQ2", code)
    finding = the_one(software.check_fairseq2())
    assert finding.status == status
    assert word in finding.says


@pytest.mark.parametrize(
    ("free", "status"), [(10 << 20, "problem"), (500 << 20, "warning"), (5 << 30, "ok")]
)
def test_disk_room(free: int, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1 << 40, 0, free))
    findings = by_name(machine.check_disk())
    assert {one.status for one in findings.values()} == {status}
    assert set(findings) == {"disk here", "disk temporary"}


def test_disk_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    for one in machine.check_disk():
        assert one.status == "problem"
        assert "No space left on device" in one.says


@pytest.mark.parametrize(
    ("available_kb", "limit", "used", "status"),
    [
        (8 << 20, "max", "1", "ok"),
        (1 << 20, "max", "1", "warning"),
        (100 << 10, "max", "1", "problem"),
        (8 << 20, str(2 << 30), str((2 << 30) - (100 << 20)), "problem"),
    ],
)
def test_memory(available_kb: int, limit: str, used: str, status: str, system: Path) -> None:
    (system / "proc/meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable:  {available_kb} kB\n")
    (system / "sys/fs/cgroup/memory.max").write_text(f"{limit}\n")
    (system / "sys/fs/cgroup/memory.current").write_text(f"{used}\n")
    assert the_one(machine.check_memory()).status == status


def test_memory_that_nobody_tells(system: Path) -> None:
    assert the_one(machine.check_memory()).status == "warning"


def test_threads(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3})
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert the_one(machine.check_threads()).status == "ok"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert "PASSIVE" in the_one(machine.check_threads()).advice
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    (system / "sys/fs/cgroup/cpu.max").write_text("150000 100000\n")
    assert machine.usable_cores() == 1.5
    finding = the_one(machine.check_threads())
    assert finding.status == "warning"
    assert "OMP_NUM_THREADS=1" in finding.advice


def test_bfloat16_instructions(system: Path) -> None:
    (system / "proc/cpuinfo").write_text("flags\t\t: fpu avx512f avx512_bf16 amx_bf16\n")
    assert "amx_bf16, avx512_bf16" in the_one(machine.check_bfloat16()).says
    (system / "proc/cpuinfo").write_text("flags\t\t: fpu avx2\n")
    assert "no instructions" in the_one(machine.check_bfloat16()).says


def test_gpu_without_driver(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert the_one(machine.check_gpu()).status == "ok"
    (system / "proc/driver/nvidia").mkdir(parents=True)
    assert the_one(machine.check_gpu()).status == "warning"


@pytest.mark.gpu
def test_gpu_computes() -> None:
    assert {one.status for one in machine.check_gpu()} == {"ok"}


def test_audio_that_comes_back_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    from speechkit.core import audio

    encode = audio.encode_audio
    monkeypatch.setattr(
        audio, "encode_audio", lambda wave, rate, suffix: encode(wave, 8000, suffix)
    )
    findings = by_name(sound.check_audio())
    assert findings["audio wav"].status == "problem"
    assert "220 Hz" in findings["audio wav"].says
    # What speechkit does not write is no fault of the machine when it cannot be read.
    monkeypatch.setattr(sound, "_READ_ONLY", {"mp3": ("MP3", "NO_SUCH_SUBTYPE")})
    assert by_name(sound.check_audio())["audio mp3"].status == "warning"


def test_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "ffmpeg" else name)
    finding = the_one(machine.check_programs())
    assert finding.status == "ok"
    assert "not there: ffmpeg" in finding.says
