"""The checks: packages, machine, models, audio files. What a fresh install lacks is no warning.

Legend: T samples.
"""

from __future__ import annotations

import io
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from speechkit.core.timebase import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from torch import Tensor

Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class CheckResult:
    """One check's result, in plain words."""

    name: str
    """What was looked at: one or two words, the same on every machine."""
    status: Status
    """A warning leaves everything working; a problem is something broken."""
    says: str
    """One sentence on what was found."""
    advice: str = ""
    """What to do about it; empty where all is well."""


Check = Callable[[], Iterable[CheckResult]]


DISTRIBUTION = "speechkit"
FAULTS_SHOWN = 2
"""Of an extra; most people have installed none of most."""
REINSTALL = "Install again: make venv in a checkout, or pip install speechkit."

SYSTEM = Path("/")
GIB = 1024**3
MEMORY_NEEDED_BYTES = GIB
"""Speaking takes about 0.8 GiB at its peak."""
DISK_NEEDED_BYTES = GIB // 16
"""Half an hour of speech as 16-bit WAV at 16 kHz is 58 MB."""

TONE_HZ = 440
NEEDED_AUDIO = (".wav", ".flac")
"""Without other kinds, which an old libsndfile may lack, everything works."""

PROGRAMS = {
    "ffmpeg": "webm and m4a recordings in the demo",
    "chromium": "the browser tests",
    "g++": "torch.compile",
}
"""What each optional program is for."""


def check_packages() -> Iterator[CheckResult]:
    """Python and every package that speechkit needs, and which optional sets are complete."""
    from packaging.requirements import Requirement

    system = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    try:
        found = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or []]
        python = metadata.metadata(DISTRIBUTION)["Requires-Python"]
        extras = metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        says = f"{system}; packages were not looked at: speechkit is on the path, not installed."
        yield CheckResult("packages", "warning", says, REINSTALL)
        return
    needed = [one for one in found if one.marker is None or one.marker.evaluate({"extra": ""})]
    faults = [fault for one in needed if (fault := _fault(one))]
    if not Requirement(f"python{python}").specifier.contains(platform.python_version()):
        faults.insert(0, f"Python is {platform.python_version()} and not {python}")
    if faults:
        yield CheckResult("packages", "problem", f"{'; '.join(faults)}.", REINSTALL)
    else:
        says = f"{system}; all {len(needed)} are there and fit, torch {metadata.version('torch')}."
        yield CheckResult("packages", "ok", says)
    rest = [one for one in found if one not in needed]
    lacks = {
        name: [
            f
            for one in rest
            if one.marker and one.marker.evaluate({"extra": name})
            if (f := _fault(one))
        ]
        for name in extras
    }
    there = ", ".join(name for name in extras if not lacks[name]) or "none"
    missing = "".join(f"; not {name} ({_few(lacks[name])})" for name in extras if lacks[name])
    # None has to be complete, so what they lack is no warning.
    yield CheckResult("extras", "ok", f"Complete: {there}{missing}.")


def _few(faults: list[str]) -> str:
    """All faults, or how many they are."""
    return ", ".join(faults) if len(faults) <= FAULTS_SHOWN else f"{len(faults)} packages"


def _fault(wanted: Requirement) -> str | None:
    """What is wrong with one package, or None."""
    try:
        version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return f"{wanted.name} is missing"
    if wanted.specifier.contains(version, prereleases=True):
        return None
    return f"{wanted.name} is {version} and not {wanted.specifier}"


def check_processor() -> Iterator[CheckResult]:
    """System, vector instructions, and torch's threads against the cores it may use."""
    import torch
    from torch.utils import collect_env

    system = collect_env.get_os(collect_env.run)  # type: ignore[no-untyped-call]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = torch.get_num_threads()
    says = (
        f"{system}, {torch.backends.cpu.get_cpu_capability()}; torch "
        f"uses {threads} thread{'s' * (threads > 1)} on {cores or 1} core{'s' * (cores != 1)}."
    )
    if os.environ.get("OMP_WAIT_POLICY", "").upper() == "ACTIVE":
        advice = "Set OMP_WAIT_POLICY=PASSIVE: waiting threads take a core each otherwise."
        yield CheckResult("processor", "warning", says, advice)
    elif threads > (cores or 1):
        advice = f"Set OMP_NUM_THREADS={cores}, or give --threads: they wait for each other."
        yield CheckResult("processor", "warning", says, advice)
    else:
        yield CheckResult("processor", "ok", says)


def check_memory() -> Iterator[CheckResult]:
    """Memory that is free, within a container's limit."""
    free = free_memory_bytes()
    if free is None:
        yield CheckResult(
            "memory", "ok", "The system does not tell how much is free; 1 GiB is needed."
        )
    elif free < MEMORY_NEEDED_BYTES:
        advice = "Close other programs, or raise the container's limit."
        yield CheckResult(
            "memory", "problem", f"{free / GIB:.2f} GiB are free, 1 is needed.", advice
        )
    else:
        yield CheckResult("memory", "ok", f"{free / GIB:.1f} GiB are free.")


def free_memory_bytes() -> int | None:
    """Memory a new program can have, or None where the system does not say."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _read("proc/meminfo"), re.MULTILINE)
    free = [int(found[1]) * 1024] if found else []
    limit, used = _read("sys/fs/cgroup/memory.max"), _read("sys/fs/cgroup/memory.current")
    if limit.strip().isdigit() and used.strip().isdigit():
        free.append(int(limit) - int(used))
    return min(free, default=None)


def _read(name: str) -> str:
    """A file of the system, or nothing where there is none."""
    try:
        return (SYSTEM / name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def check_disk() -> Iterator[CheckResult]:
    """Room where results and temporary files go, and whether a file can be written there."""
    for name, where in (("disk here", Path.cwd), ("disk temporary", tempfile.gettempdir)):
        try:
            folder = where()
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"\0" * 4096)
                file.flush()
            free = shutil.disk_usage(folder).free
        except OSError as error:
            says = f"Nothing can be written there: {error.strerror}."
            advice = "Go to another folder, or set TMPDIR, or make room."
            yield CheckResult(name, "problem", says, advice)
            continue
        says = f"{folder} has {free / GIB:.1f} GiB free."
        if free < DISK_NEEDED_BYTES:
            advice = "Make room: results are written whole or not at all."
            yield CheckResult(name, "problem", says, advice)
        else:
            yield CheckResult(name, "ok", says)


def check_models() -> Iterator[CheckResult]:
    """Whether the bundled models load."""
    from speechkit.core.checkpoint import WEIGHTS
    from speechkit.data.align.model import load_aligner
    from speechkit.tts import ZeroShotTTS

    tts = ZeroShotTTS.from_pretrained()
    load_aligner(WEIGHTS / "aligner")
    yield CheckResult("models", "ok", f"They load: {tts.weights}, aligner.")


def check_audio() -> Iterator[CheckResult]:
    """A tone through every kind of file, in memory: is it the same tone afterwards?"""
    import torch

    from speechkit.core.audio import encode_audio, read_audio
    from speechkit.core.formats import AUDIO_SUFFIXES

    tone_T = 0.5 * torch.sin(2 * torch.pi * TONE_HZ * torch.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ)
    for suffix in AUDIO_SUFFIXES:
        name = suffix[1:]
        try:
            file = io.BytesIO(encode_audio(tone_T, SAMPLE_RATE_HZ, suffix))
            heard_hz = _pitch_hz(read_audio(file, SAMPLE_RATE_HZ))
            reason = f"a tone of {TONE_HZ} Hz came back as {heard_hz:.0f} Hz"
            broken = abs(heard_hz - TONE_HZ) > 4
        except Exception as error:
            reason, broken = str(error), True
        if broken:
            status: Status = "problem" if suffix in NEEDED_AUDIO else "warning"
            advice = "Install soundfile again: its wheel brings the library that does this."
            yield CheckResult(f"audio {name}", status, f"Cannot be used: {reason}.", advice)
        else:
            yield CheckResult(f"audio {name}", "ok", "The tone came back.")


def _pitch_hz(wave_T: Tensor) -> float:
    """The strongest frequency."""
    import torch

    return int(torch.fft.rfft(wave_T).abs().argmax()) * SAMPLE_RATE_HZ / len(wave_T)


def check_gpu() -> Iterator[CheckResult]:
    """Whether torch can compute on a GPU; none is needed."""
    import torch
    from torch.utils import collect_env

    if not torch.cuda.is_available():
        driver = collect_env.get_nvidia_driver_version(collect_env.run)  # type: ignore[no-untyped-call]
        if driver is None:
            yield CheckResult("gpu", "ok", "None, and none is needed: the CPU speaks fast enough.")
        else:
            says = f"Driver {driver} is there, but torch (CUDA {torch.version.cuda}) cannot use it."
            advice = "Bring the NVIDIA driver up to date; the CPU is used until then."
            yield CheckResult("gpu", "warning", says, advice)
        return
    for index in range(torch.cuda.device_count()):
        name = f"gpu {index}"
        says = torch.cuda.get_device_name(index)
        try:
            ones = torch.ones(64, 64, device=f"cuda:{index}")
            right = bool((ones @ ones == 64).all())
            free, total = torch.cuda.mem_get_info(index)
        except RuntimeError as error:
            right, says = False, f"{says}: {str(error).splitlines()[0]}"
        if right:
            yield CheckResult(
                name, "ok", f"{says}, {free / GIB:.1f} of {total / GIB:.1f} GiB free."
            )
        else:
            advice = "Free its memory or fix the driver; CUDA_VISIBLE_DEVICES= hides it."
            yield CheckResult(name, "problem", f"It does not compute rightly: {says}.", advice)


def check_programs() -> Iterator[CheckResult]:
    """Which programs of use are there; none is needed to speak."""
    there = [name for name in PROGRAMS if shutil.which(name)]
    absent = [f"{name} ({use})" for name, use in PROGRAMS.items() if name not in there]
    missing = f"; not there: {', '.join(absent)}" if absent else ""
    yield CheckResult("programs", "ok", f"There: {', '.join(there) or 'none'}{missing}.")
