"""The machine: processors, memory, disk, GPU, and programs of use."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from speechkit.doctor.finding import Finding, ok, problem, warning

SYSTEM = Path("/")
MIB = 1024**2
GIB = 1024**3
DISK_NEEDED_BYTES = 64 * MIB
"""Half an hour of speech as 16-bit WAV at 16 kHz is 58 MB."""
DISK_WANTED_BYTES = GIB
MEMORY_NEEDED_BYTES = GIB // 2
MEMORY_WANTED_BYTES = 3 * GIB // 2
"""Speaking takes about 0.8 GiB at its peak, training small models more."""

PROGRAMS = {
    "ffmpeg": "webm and m4a recordings in the demo",
    "chromium": "the browser tests",
    "g++": "torch.compile",
}
"""What each optional program is for."""


def check_threads() -> Iterator[Finding]:
    """Threads that torch will use, against processors that it may use."""
    import torch

    cores, threads = usable_cores(), torch.get_num_threads()
    counted = f"torch uses {threads} thread{'s' * (threads > 1)} on {cores:g} of the cores"
    if os.environ.get("OMP_WAIT_POLICY", "").upper() == "ACTIVE":
        yield warning(
            "threads",
            f"{counted}, and OMP_WAIT_POLICY=ACTIVE lets waiting threads take a core each.",
            "Set OMP_WAIT_POLICY=PASSIVE: on a busy machine it is many times faster.",
        )
    elif threads > max(1.0, cores):
        yield warning(
            "threads",
            f"{counted}: they will wait for each other.",
            f"Set OMP_NUM_THREADS={max(1, int(cores))}, or give --threads.",
        )
    else:
        own = "programs of your own should set OMP_WAIT_POLICY=PASSIVE as this one does"
        yield ok("threads", f"{counted}; {own}.")


def usable_cores() -> float:
    """Processors that this process may use: those it is pinned to, within a container's quota."""
    pinned = len(os.sched_getaffinity(0))
    try:
        quota, period = (SYSTEM / "sys/fs/cgroup/cpu.max").read_text().split()
        return min(float(pinned), int(quota) / int(period))
    except (OSError, ValueError):
        return float(pinned)


def check_bfloat16() -> Iterator[Finding]:
    """Whether a product in bfloat16 is right, and whether the processor is made for it."""
    import torch

    ones = torch.ones(16, 16, dtype=torch.bfloat16)
    if not bool((ones @ ones == 16).all()):
        yield problem(
            "bfloat16", "A product of ones in bfloat16 is wrong.", "Stay with float32; report this."
        )
        return
    flags = set(re.findall(r"\w+_bf16", _read(SYSTEM / "proc/cpuinfo")))
    simd = torch.backends.cpu.get_cpu_capability()
    if flags:
        says = f"The processor has it ({', '.join(sorted(flags))}; {simd})."
    else:
        says = f"Works, but the processor has no instructions for it ({simd}): float32 is faster."
    yield ok("bfloat16", says)


def check_memory() -> Iterator[Finding]:
    """Memory that is free, within a container's limit."""
    free = free_memory_bytes()
    if free is None:
        says = "The system does not tell how much memory is free."
        yield warning("memory", says, "Have 1.5 GiB free to speak, more to train.")
    elif free < MEMORY_NEEDED_BYTES:
        says = f"{free / GIB:.2f} GiB are free: too little for the models."
        yield problem("memory", says, "Close other programs, or raise the container's limit.")
    elif free < MEMORY_WANTED_BYTES:
        says = f"{free / GIB:.2f} GiB are free: enough for short texts."
        yield warning("memory", says, "Close other programs before long texts or training.")
    else:
        yield ok("memory", f"{free / GIB:.1f} GiB are free.")


def free_memory_bytes() -> int | None:
    """Memory a new program can have, or None where the system does not say."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _read(SYSTEM / "proc/meminfo"), re.MULTILINE)
    free = int(found[1]) * 1024 if found else None
    group = SYSTEM / "sys/fs/cgroup"
    try:
        left = int(_read(group / "memory.max")) - int(_read(group / "memory.current"))
    except ValueError:  # "max", or no such file
        return free
    return left if free is None else min(free, left)


def check_disk() -> Iterator[Finding]:
    """Room where results and temporary files go, and whether a file can be written there."""
    yield _room("disk here", Path.cwd())
    try:
        temporary = Path(tempfile.gettempdir())
    except FileNotFoundError:
        says = "No folder for temporary files can be written to."
        yield problem("disk temporary", says, "Set TMPDIR to a folder with room.")
        return
    yield _room("disk temporary", temporary)


def _room(name: str, folder: Path) -> Finding:
    """What is to be said of one folder."""
    try:
        free = shutil.disk_usage(folder).free
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
            file.flush()
    except OSError as error:
        says = f"{folder} cannot be written to: {error.strerror}."
        return problem(name, says, "Go to another folder, or set TMPDIR, or make room.")
    if free < DISK_NEEDED_BYTES:
        says = f"{folder} is full: {free / MIB:.0f} MiB are free."
        return problem(name, says, "Make room: results are written whole or not at all.")
    if free < DISK_WANTED_BYTES:
        says = f"{folder} has {free / MIB:.0f} MiB free: enough to speak, not to train."
        return warning(name, says, "Make room before training or preparing data.")
    return ok(name, f"{folder} has {free / GIB:.1f} GiB free.")


def check_gpu() -> Iterator[Finding]:
    """Whether torch can compute on a GPU; none is needed."""
    import torch

    if not torch.cuda.is_available():
        if (SYSTEM / "dev/nvidia0").exists() or (SYSTEM / "proc/driver/nvidia").exists():
            says = f"There is one, but torch (CUDA {torch.version.cuda}) cannot use it."
            yield warning("gpu", says, "Bring the NVIDIA driver up to date; the CPU is used.")
        else:
            yield ok("gpu", "None, and none is needed: everything but large training runs fits.")
        return
    for index in range(torch.cuda.device_count()):
        name = torch.cuda.get_device_name(index)
        try:
            ones = torch.ones(64, 64, device=f"cuda:{index}")
            right = bool((ones @ ones == 64).all())
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            advice = "Free its memory or mend the driver; CUDA_VISIBLE_DEVICES= hides it."
            yield problem("gpu", f"{name} refuses to compute: {reason}", advice)
            continue
        if not right:
            yield problem("gpu", f"{name} computes wrongly.", "Hide it: CUDA_VISIBLE_DEVICES=.")
            continue
        free, total = torch.cuda.mem_get_info(index)
        fast = "" if torch.cuda.is_bf16_supported() else ", no bfloat16"
        yield ok("gpu", f"{name}, {free / GIB:.1f} of {total / GIB:.1f} GiB free{fast}.")


def check_programs() -> Iterator[Finding]:
    """Which programs of use are there; none is needed to speak."""
    there = [name for name in PROGRAMS if shutil.which(name)]
    absent = [f"{name} ({use})" for name, use in PROGRAMS.items() if name not in there]
    missing = f"; not there: {', '.join(absent)}" if absent else ""
    yield ok("programs", f"There: {', '.join(there) or 'none'}{missing}.")


def _read(path: Path) -> str:
    """A file's text, or nothing where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
