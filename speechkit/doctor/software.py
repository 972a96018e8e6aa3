"""Python and packages, against what the installed speechkit demands of them."""

from __future__ import annotations

import ctypes.util
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from speechkit.doctor.finding import Finding, ok, problem, warning

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "speechkit"
REINSTALL = "Install again: make venv in a checkout, or pip install speechkit."

_FAIRSEQ2_SECONDS = 120
# In a process of its own: a native library bound to another torch may end it without a word.
_IMPORT_FAIRSEQ2 = "import soundfile, fairseq2n.bindings; print(fairseq2n.__version__)"


def check_python() -> Iterator[Finding]:
    """The running Python against Requires-Python, and the system it runs on."""
    from packaging.specifiers import SpecifierSet

    version, system = platform.python_version(), f"{platform.system()} {platform.machine()}"
    wanted = _requires_python()
    if wanted is None:
        yield warning("python", f"Python {version} on {system}; {_not_installed()}", REINSTALL)
    elif not SpecifierSet(wanted).contains(version, prereleases=True):
        yield problem(
            "python",
            f"Python {version} does not fit: speechkit needs {wanted}.",
            "Make the environment with another Python: make venv PYTHON=python3.11.",
        )
    elif platform.system() != "Linux":
        yield warning(
            "python",
            f"Python {version} fits; {system} was never tried.",
            "Use Linux where something does not work, a container will do.",
        )
    else:
        yield ok("python", f"Python {version} on {system}.")


def check_packages() -> Iterator[Finding]:
    """Every package that speechkit cannot do without: there, and of a version that fits."""
    needed = _requirements(None)
    if needed is None:
        yield warning("packages", f"Not looked at: {_not_installed()}", REINSTALL)
        return
    faults = [fault for one in needed if (fault := _fault(one))]
    if faults:
        yield problem("packages", f"{'; '.join(faults)}.", REINSTALL)
    else:
        torch_version = metadata.version("torch")
        yield ok("packages", f"All {len(needed)} are there and fit, torch is {torch_version}.")


def check_extras() -> Iterator[Finding]:
    """Which optional sets of packages are complete; none has to be."""
    complete, incomplete, misfits = [], [], []
    for extra in _extras():
        faults = {one: fault for one in _requirements(extra) or [] if (fault := _fault(one))}
        absent = [one.name for one in faults if _version(one.name) is None]
        misfits += [fault for one, fault in faults.items() if one.name not in absent]
        if absent:
            incomplete.append(f"{extra} (lacks {', '.join(absent)})")
        elif not faults:
            complete.append(extra)
    if misfits:
        yield warning(
            "extras",
            f"{'; '.join(dict.fromkeys(misfits))}.",
            "Install the extra again: pip install 'speechkit[NAME]'.",
        )
        return
    absent_ones = f"; not installed: {', '.join(incomplete)}" if incomplete else ""
    yield ok("extras", f"Installed: {', '.join(complete) or 'none'}{absent_ones}.")


def check_fairseq2() -> Iterator[Finding]:
    """Whether fairseq2's native half loads; it is bound to one release of torch."""
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _IMPORT_FAIRSEQ2],
            capture_output=True,
            text=True,
            timeout=_FAIRSEQ2_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        says = f"Loading its native half takes more than {_FAIRSEQ2_SECONDS} s."
        yield warning("fairseq2", says, "Try again when the machine is less busy.")
        return
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        reason = lines[-1] if lines else f"ended with code {done.returncode}"
        yield problem(
            "fairseq2",
            f"Its native half does not load, so speechkit.ssl cannot work: {reason}",
            f"It fits one release of torch only. {REINSTALL}",
        )
        return
    own = ctypes.util.find_library("sndfile") is None
    order = "; the system has no libsndfile, so programs must import soundfile before it"
    yield ok("fairseq2", f"Its native half {done.stdout.strip()} loads{order if own else ''}.")


def _requires_python() -> str | None:
    """What the installed speechkit says of Python; None where it is not installed."""
    try:
        return "".join(metadata.metadata(DISTRIBUTION).get_all("Requires-Python") or [])
    except metadata.PackageNotFoundError:
        return None


def _not_installed() -> str:
    """Why demands are not known."""
    return f"{DISTRIBUTION} is on the path but not installed, so its demands are not known."


def _extras() -> list[str]:
    """Names of the optional sets."""
    try:
        return metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return []


def _requirements(extra: str | None) -> list[Requirement] | None:
    """What is needed always, or for an extra alone; None where speechkit is not installed."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return None
    found = [Requirement(line) for line in lines]
    always = [one for one in found if one.marker is None or one.marker.evaluate({"extra": ""})]
    if extra is None:
        return always
    return [
        one
        for one in found
        if one not in always and one.marker and one.marker.evaluate({"extra": extra})
    ]


def _version(name: str) -> str | None:
    """The installed version, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _fault(wanted: Requirement) -> str | None:
    """What is wrong with one package, or None."""
    version = _version(wanted.name)
    if version is None:
        return f"{wanted.name} is missing"
    if not wanted.specifier.contains(version, prereleases=True):
        return f"{wanted.name} is {version} and not {wanted.specifier}"
    return None
