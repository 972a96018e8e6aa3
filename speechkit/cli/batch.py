"""Verbs that turn files into files: one into one, or folders into a folder of the same shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from speechkit.cli import inputs, output
from speechkit.core.errors import ConfigError, SpeechkitError, listed

NAMES_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Job:
    """One file to make."""

    source: Path
    """What it is made from."""
    out: Path
    """Where it goes."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All files to make, known to collide with nothing."""

    jobs: tuple[Job, ...]
    """In order."""
    kept: tuple[Path, ...] = ()
    """Outputs that exist and are left alone."""
    single: bool = False
    """Whether it is one named file: its fault is the command's."""


@dataclass(kw_only=True)
class Done:
    """What became of a plan."""

    finished: list[Job] = field(default_factory=list)
    """Jobs whose output is there."""
    failed: list[tuple[Path, str]] = field(default_factory=list)
    """Sources that could not be used, and why."""

    @property
    def exit_code(self) -> int:
        """0, or that of bad input if anything failed."""
        return SpeechkitError.exit_code if self.failed else 0


def plan(
    sources: Sequence[Path],
    out: Path,
    *,
    reads: tuple[str, ...],
    writes: tuple[str, ...],
    suffix: str,
    overwrite: bool,
) -> Plan:
    """What is to be made of the sources, files or folders, before anything is read.

    One file goes to the file `out`, which must end in one of `writes`, or into the folder `out`.
    Otherwise `out` is a folder that takes the files of `sources` that end in one of `reads`, at the
    same place under it and ending in `suffix`; what it has already is kept without `overwrite`.
    Raises ConfigError where a source is missing or holds no such file, where two would become one,
    and where an output would replace a source.
    """
    sources = list(dict.fromkeys(sources))
    for source in sources:
        if not source.exists():
            raise ConfigError(f"There is no input {source}: check the path.")
    if len(sources) == 1 and not sources[0].is_dir():
        (source,) = sources
        target = out / f"{source.stem}{suffix}" if out.is_dir() else out
        inputs.check_output(target, writes, source)
        return Plan(jobs=(Job(source=source, out=target),), single=True)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"The output {out} is a file, and several go there: give a folder.")
    jobs = [job for source in sources for job in _jobs(source, out, reads, suffix)]
    if not jobs:
        raise ConfigError(
            f"{' and '.join(map(str, sources))} holds nothing that ends in {', '.join(reads)}."
        )
    _check_distinct(jobs)
    existing = {job.out for job in jobs if job.out.exists()}
    folders = [path for path in existing if path.is_dir()]
    if folders:
        raise ConfigError(f"The output {folders[0]} is a folder: move it away.")
    kept = set() if overwrite else existing
    return Plan(
        jobs=tuple(job for job in jobs if job.out not in kept),
        kept=tuple(job.out for job in jobs if job.out in kept),
    )


def _jobs(source: Path, out: Path, reads: tuple[str, ...], suffix: str) -> Iterable[Job]:
    """A file, or the usable files of a folder and what lies in it, hidden ones left out."""
    if not source.is_dir():
        yield Job(source=source, out=out / f"{source.stem}{suffix}")
        return
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        hidden = any(part.startswith(".") for part in inside.parts)
        if not hidden and path.suffix.lower() in reads and path.is_file():
            yield Job(source=path, out=out / inside.with_suffix(suffix))


def _check_distinct(jobs: Sequence[Job]) -> None:
    """Raise ConfigError where two jobs share an output, or one's output is another's source."""
    taken: dict[Path, Path] = {}
    clashes = []
    for job in jobs:
        other = taken.setdefault(job.out, job.source)
        if other is not job.source:
            clashes.append(f"{other} and {job.source} would both become {job.out}")
    if clashes:
        shown = listed(clashes, NAMES_SHOWN, "; ")
        raise ConfigError(f"{shown}: rename one, or give them outputs of their own.")
    sources = {job.source.resolve() for job in jobs}
    for job in jobs:
        if job.out.resolve() in sources:
            raise ConfigError(f"The output {job.out} is also an input: give another folder.")


def carry_out(planned: Plan, work: Callable[[Job], str], verb: str) -> Done:
    """Do the jobs one after the other, with a line each, which `work` returns.

    The fault of a single file is raised; of many, the others are done and the faults reported at
    the end.
    """
    done = Done()
    for number, job in enumerate(planned.jobs, start=1):
        try:
            if not planned.single:
                job.out.parent.mkdir(parents=True, exist_ok=True)
            told = work(job)
        except (SpeechkitError, OSError) as error:
            if planned.single:
                raise
            done.failed.append((job.source, str(error)))
            told = "failed"
        else:
            done.finished.append(job)
        if not planned.single:
            output.say_aside(verb, f"{number} of {len(planned.jobs)}: {job.source}: {told}")
    for path, reason in done.failed:
        output.fail(reason if str(path) in reason else f"{path}: {reason}")
    return done
