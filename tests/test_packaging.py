"""The set-up as a stranger meets it: lock, README commands, bundled clips, size of the weights."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
MAX_WEIGHTS_BYTES = 64 * 10**6
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_lock_holds_hashes_and_no_addresses() -> None:
    assert "://" not in LOCK
    assert not re.search(r"^--?(index|extra|find|i )", LOCK, flags=re.MULTILINE)
    requirements = re.findall(r"^[a-z0-9].*?(?=^[a-z0-9]|\Z)", LOCK, flags=re.MULTILINE | re.DOTALL)
    assert requirements
    bare = [text.split()[0] for text in requirements if "--hash=sha256:" not in text]
    assert not bare


def test_lock_has_every_dependency() -> None:
    locked = set(re.findall(r"^([a-z0-9._-]+)==", LOCK, flags=re.MULTILINE))
    extras = PROJECT["optional-dependencies"]
    inside = re.search(r"\[(.+)\]", extras["dev"][0])
    assert inside
    wanted = [*PROJECT["dependencies"], *extras["dev"]]
    wanted += [one for name in inside[1].split(",") for one in extras[name]]
    wanted = [one for one in wanted if "python_version <" not in one]
    names = {re.split(r"[\[<>=~! ;]", requirement)[0].lower() for requirement in wanted}
    assert names - {"speechkit"} <= locked


@pytest.mark.parametrize("command", ["demo", "test"])
def test_readme_commands_exist(command: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"\nmake {command} " in readme
    assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_ci_runs_the_readme_command() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111, ".ci/run must be executable"
    *_, tests, end = script.read_text(encoding="utf-8").splitlines()
    # What the browser found decides after the main tests, whose summary comes last.
    assert (tests, end) == ("make test", 'exit "$browser"')


def test_source_archive_has_what_git_has() -> None:
    listed = subprocess.run(
        ["git", "ls-tree", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("needs the git checkout")
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = pyproject["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    # hatchling adds these two by itself.
    missing = set(listed.stdout.split()) - {name.strip("/") for name in included}
    assert missing <= {"pyproject.toml", ".gitignore"}


def test_examples_are_what_the_manifest_says(examples: Path) -> None:
    manifest = json.loads((examples / "manifest.json").read_text(encoding="utf-8"))
    assert {clip["file"] for clip in manifest} == {path.name for path in examples.glob("*.flac")}
    for clip in manifest:
        wave, sample_rate_hz = soundfile.read(examples / clip["file"], dtype="float32")
        assert sample_rate_hz == 16000
        assert len(wave) / sample_rate_hz == pytest.approx(clip["seconds"], abs=0.02)
        assert 0.05 < float(np.abs(wave).max()) <= 1.0
        assert clip["text"]


def test_weights_are_small_and_documented() -> None:
    weights = ROOT / "speechkit" / "weights"
    models = sorted(weights.rglob("*.safetensors"))
    if not models:
        pytest.skip("no weights are bundled yet")
    assert sum(path.stat().st_size for path in weights.rglob("*")) <= MAX_WEIGHTS_BYTES
    for model in models:
        assert (model.parent / "config.json").is_file(), f"{model.parent} has no config.json"
        assert (model.parent / "MODEL_CARD.md").is_file(), f"{model.parent} has no MODEL_CARD.md"
