"""What all tabs share: the models, the limits, the uploads, and the one worker that computes."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from speechkit.core.audio import pcm16
from speechkit.core.errors import SpeechkitError
from speechkit.demo.jobs import Models, Report
from speechkit.demo.limits import Limits, checked_path, read_recording

if TYPE_CHECKING:
    import gradio as gr

    from speechkit.demo.plots import Array

_Made = TypeVar("_Made")

_SIGNS = {ord(sign): f"&#{ord(sign)};" for sign in "\\`*_[]<>#|&$~"}
"""What Markdown, HTML and formulas start with."""

_YIELD_SECONDS = 0.5
"""How often a job yields at least: only there can Gradio close it."""

_TELL_SECONDS = 5.0
"""Less than this to come is not told."""

_LOG = logging.getLogger(__name__)


class CancelledError(SpeechkitError):
    """The job was cancelled, or its tab closed."""


@dataclass(kw_only=True)
class AppState:
    """Everything a tab needs to do a job."""

    models: Models
    """Loaded once."""

    limits: Limits
    """What is accepted."""

    uploads: Path
    """Folder that the browser's files come to; the only one they are read from."""

    examples: tuple[Path, ...] = ()
    """Bundled prompts."""

    finished: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """Tab → the example that it opens with, made when somebody first looks at it."""

    shared: set[str] = field(default_factory=set)
    """Names and paths of files in `uploads` that no single session owns."""

    _seen: dict[str, set[Path]] = field(default_factory=dict)
    """Session → uploads it used; they go when it goes."""

    _lock: threading.Lock = field(default_factory=threading.Lock)

    # One thread for all jobs: a cancelled one still ends its stage before the next one begins.
    _worker: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="demo-job")
    )

    def __post_init__(self) -> None:
        self.shared |= {example.name for example in self.examples}

    @property
    def sample_rate_hz(self) -> int:
        """Samples a second of everything that is computed."""
        return self.models.tts.sample_rate_hz

    def recording(
        self, path: str | None, field: str, session: str, *, max_seconds: float | None = None
    ) -> Tensor:
        """`wave_T` of an uploaded recording; raises AudioError or PathError."""
        if path:
            real = checked_path(path, (self.uploads,), field)
            self.owns(session, real)
        return read_recording(
            path,
            self.sample_rate_hz,
            (self.uploads,),
            self.limits,
            field=field,
            max_seconds=max_seconds,
        )

    def prompt(self, path: str | None, field: str, session: str) -> Tensor:
        """`wave_T` of a recording that a prompt is cut from; raises AudioError or PathError."""
        longest = self.limits.max_prompt_seconds
        return self.recording(path, field, session, max_seconds=longest)

    def owns(self, session: str, path: Path) -> None:
        """Let a file of `uploads` go with this session, unless it is everybody's."""
        if not {path.name, str(path)} & self.shared:
            with self._lock:
                self._seen.setdefault(session, set()).add(path)

    def leave(self, session: str) -> None:
        """A tab was closed: remove what nobody else uploaded too."""
        with self._lock:
            own = self._seen.pop(session, set())
            used = set().union(*self._seen.values()) if self._seen else set()
        for path in own - used:
            path.unlink(missing_ok=True)

    def settle(self) -> None:
        """Wait until what was cancelled has ended."""
        self._worker.submit(lambda: None).result()

    def staged(
        self,
        work: Callable[[Report], _Made],
        view: Callable[[_Made], tuple[Any, ...]],
        outputs: int,
        told: int,
    ) -> Iterator[tuple[Any, ...]]:
        """A job of the page: its progress in output number `told`, at last its result.

        Gradio closes this when the job is cancelled or its tab closed; the work then ends at its
        next stage. Raises what the work raises.
        """
        lines: SimpleQueue[str | None] = SimpleQueue()
        closed = threading.Event()

        began = time.monotonic()

        def report(share: float, stage: str) -> None:
            if closed.is_set():
                raise CancelledError("Cancelled. Nothing of it was kept.")
            lines.put(progress_bar(share, stage + time_left(time.monotonic() - began, share)))

        def run() -> tuple[Any, ...]:
            nonlocal began
            try:
                began = time.monotonic()
                report(0.0, "starting")
                return view(work(report))
            finally:
                # Figures are cyclic: without this those of many jobs wait for their turn.
                gc.collect()
                lines.put(None)

        def row(said: str) -> tuple[Any, ...]:
            return tuple(said if index == told else None for index in range(outputs))

        try:
            job = self._worker.submit(run)
            line: str | None = progress_bar(0.0, "waiting for its turn")
            while line is not None:
                yield row(line)
                with suppress(Empty):
                    line = lines.get(timeout=_YIELD_SECONDS)
            if isinstance(error := job.exception(), SpeechkitError):
                yield row(f"**Sorry.** {escaped(str(error))}")
            yield job.result()
        finally:
            closed.set()


def progress_bar(share: float, stage: str) -> str:
    """How far a job is, as Markdown."""
    return f"<progress value='{min(share, 1.0):.3f}' max='1'></progress> {escaped(stage)}"


def time_left(took_seconds: float, share: float) -> str:
    """What is still to come of a job that is not soon over, guessed from what is done."""
    left = took_seconds * (1 - share) / share if share > 0.1 else 0.0
    if left < _TELL_SECONDS:
        return ""
    return f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left"


def session_of(request: gr.Request) -> str:
    """The name of a browser tab or client."""
    return request.session_hash or "no session"


@contextmanager
def shown_errors() -> Iterator[None]:
    """Turn what goes wrong into one sentence in the page; only a fault of ours is logged."""
    import gradio as gr

    try:
        yield
    except SpeechkitError as error:
        raise gr.Error(str(error), title="Sorry", print_exception=False) from error
    except gr.Error:
        raise
    except Exception as error:
        _LOG.exception("a job of the demo failed")
        raise gr.Error(
            "Something went wrong here, and it is not your fault. Try again.",
            title="Sorry",
            print_exception=False,
        ) from error


def playable(wave_T: Tensor, sample_rate_hz: int) -> tuple[int, Array]:
    """A wave as Gradio's audio takes it without ffmpeg: rate and 16-bit samples."""
    return sample_rate_hz, pcm16(wave_T)


def note_lines(notes: tuple[str, ...]) -> str:
    """Notes as a Markdown list, safe to show: they may quote the user's text."""
    return "".join(f"\n- {escaped(note)}" for note in notes)


def folded(lines: str) -> str:
    """Markdown that opens with a click."""
    return f"<details><summary>Details</summary>\n\n{lines}\n\n</details>"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return text.translate(_SIGNS)
