"""Work on a corpus, shard by shard: in this process, in several, or on several machines.

What is made of a shard is one file, written whole; what is there already is not made again. So a
program may be killed at any moment and started again, and `--shard 2/4` on four machines that share
a folder divides its work. Each process computes on one thread unless told otherwise, so that no sum
is taken in another order, and the files do not depend on who made them.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing.queues import SimpleQueue
from typing import Any, Protocol, TypeVar

import torch

from speechkit.core.errors import ConfigError, DataError
from speechkit.data.packed import PackedCorpus, Source
from speechkit.data.ray import do_with_ray
from speechkit.train.progress import progress

Report = Callable[[int], object]
"""Is told how many clips more are done."""
TaskT = TypeVar("TaskT")
TaskT_contra = TypeVar("TaskT_contra", contravariant=True)
Do = Callable[[TaskT, Report], None]

_LOOK_SECONDS = 0.2
_TASKS_AHEAD = 2


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who does the work, and where."""

    workers: int = 1
    """Processes; with one, all is done in this one."""
    threads: int = 1
    """CPU threads of each."""
    device: str = "cpu"
    """Where networks compute."""
    part: tuple[int, int] = (1, 1)
    """(2, 4) is every fourth shard, beginning with the second."""
    ray: int = 0
    """Workers of Ray Data that do it instead."""

    def __post_init__(self) -> None:
        number, of = self.part
        if not 1 <= number <= of:
            raise ConfigError(f"--shard {number}/{of} is no part: give 1/{of} to {of}/{of}.")
        if self.workers < 1 or self.threads < 1 or self.ray < 0:
            raise ConfigError(f"At least one worker and one thread must do the work, not {self}.")

    @property
    def is_here(self) -> bool:
        """Whether all is done in this process."""
        return self.workers == 1 and not self.ray


ALONE = Crew()
"""This process, on one thread."""


class Work(Protocol[TaskT_contra]):
    """How to do tasks; it is sent to other processes, so it holds paths and settings alone."""

    def load(self) -> Callable[[TaskT_contra, Report], None]:
        """Load, once a process, what all tasks need, and return what does one."""


def part_of(tasks: Sequence[TaskT], part: tuple[int, int]) -> list[TaskT]:
    """Every n-th task, beginning with the i-th, for the part (i, n)."""
    number, of = part
    return list(tasks[number - 1 :: of])


def run_tasks(
    what: str,
    work: Work[TaskT],
    tasks: Sequence[tuple[TaskT, int]],
    *,
    crew: Crew = ALONE,
    done: int = 0,
) -> None:
    """Do tasks, each given with its number of clips, and show how far, how fast and how long still.

    `done` clips were done before. With one worker all is done here. Raises what a task raises;
    others that are at work are finished first.
    """
    workers, threads = crew.workers, crew.threads
    total = done + sum(clips for _, clips in tasks)
    if not tasks:
        return
    if crew.ray:
        all_tasks = [task for task, _ in tasks]
        do_with_ray(work, all_tasks, workers=crew.ray, threads=threads, device=crew.device)
        return
    with progress(what, total=total, unit="clip", initial=done) as bar:
        if workers == 1:
            with on_threads(threads):
                do = work.load()
                for task, _ in tasks:
                    do(task, bar.update)
            return
        for count in _from_processes(work, [task for task, _ in tasks], workers, threads):
            bar.update(count)


def run_shards(
    what: str,
    work: Work[int],
    corpus: PackedCorpus,
    is_done: Callable[[int], bool],
    crew: Crew,
) -> list[Source]:
    """Do the shards of a corpus that are not done, or this part of them.

    Returns the shards that are done now, by whomever; as sources they are a corpus too. Raises
    DataError where that is none.
    """
    mine = part_of(range(len(corpus.shards)), crew.part)
    clips = {number: len(corpus.clips_of(number)) for number in mine}
    missing = [(number, clips[number]) for number in mine if not is_done(number)]
    before = sum(clips.values()) - sum(count for _, count in missing)
    run_tasks(what, work, missing, crew=crew, done=before)
    done = [
        Source(path=str(shard.path))
        for number, shard in enumerate(corpus.shards)
        if is_done(number)
    ]
    if not done:
        number, of = crew.part
        raise DataError(f"Part {number}/{of} of {corpus} has no shard to do: divide it less.")
    return done


def _from_processes(
    work: Work[TaskT], tasks: Sequence[TaskT], workers: int, threads: int
) -> Iterator[int]:
    """Do tasks in processes; yields numbers of clips as they are done."""
    # Forking a process that has started torch's threads can hang.
    context = multiprocessing.get_context("spawn")
    counts: SimpleQueue[int] = context.SimpleQueue()
    remaining = iter(tasks)
    with ProcessPoolExecutor(
        min(workers, len(tasks)), context, initializer=_start, initargs=(work, counts, threads)
    ) as pool:
        waiting: set[Future[None]] = set()
        try:
            while True:
                for task in islice(remaining, _TASKS_AHEAD * workers - len(waiting)):
                    waiting.add(pool.submit(_do, task))
                if not waiting:
                    break
                finished, waiting = wait(waiting, _LOOK_SECONDS, FIRST_COMPLETED)
                while not counts.empty():
                    yield counts.get()
                for future in finished:
                    future.result()
        except BrokenProcessPool as error:
            raise DataError(
                "A worker process died, perhaps for want of memory. What is finished is kept; run "
                "again with fewer workers, or with one to see why."
            ) from error
        finally:
            for future in waiting:
                future.cancel()
        while not counts.empty():
            yield counts.get()


_loaded: list[tuple[Do[Any], SimpleQueue[int]]] = []
"""What a worker process has loaded; stays empty in the process that started it."""


def _start(work: Work[Any], counts: SimpleQueue[int], threads: int) -> None:
    """Load once what all tasks of this process need."""
    torch.set_num_threads(threads)
    _loaded.append((work.load(), counts))


def _do(task: Any) -> None:
    """Do one task in a worker process."""
    do, counts = _loaded[0]
    do(task, counts.put)


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Let torch compute on so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
