"""What all tabs share: the models, the limits, the desk, the uploads, and how errors are shown."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from speechkit.core.errors import SpeechkitError
from speechkit.demo.desk import Desk
from speechkit.demo.jobs import Models, Report
from speechkit.demo.limits import Limits, checked_path, read_recording

if TYPE_CHECKING:
    import gradio as gr

    from speechkit.demo.plots import Array

_SIGNS = {ord(sign): f"&#{ord(sign)};" for sign in "\\`*_[]<>#|&$~"}
"""What Markdown, HTML and formulas start with."""

_LOG = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Studio:
    """Everything a tab needs to do a job."""

    models: Models
    """Loaded once."""

    limits: Limits
    """What is accepted."""

    uploads: Path
    """Folder that the browser's files come to; the only one they are read from."""

    examples: tuple[Path, ...] = ()
    """Bundled prompts."""

    desk: Desk = field(init=False)
    """Who may compute."""

    _seen: dict[str, set[Path]] = field(default_factory=dict)
    """Session → uploads it used; they go when it goes."""

    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.desk = Desk(self.limits.max_waiting)

    @property
    def sample_rate_hz(self) -> int:
        """Samples a second of everything that is computed."""
        return self.models.tts.sample_rate_hz

    def recording(
        self, path: str | None, field: str, session: str, *, max_seconds: float | None = None
    ) -> Tensor:
        """`wave_T` of an uploaded recording; raises AudioError or PathError."""
        folders = (self.uploads,)
        if path:
            self._remember(session, checked_path(path, folders, field))
        return read_recording(
            path,
            self.sample_rate_hz,
            folders,
            self.limits,
            field=field,
            max_seconds=max_seconds,
        )

    def prompt(self, path: str | None, field: str, session: str) -> Tensor:
        """`wave_T` of a recording that a prompt is cut from; raises AudioError or PathError."""
        longest = self.limits.max_prompt_seconds
        return self.recording(path, field, session, max_seconds=longest)

    @contextmanager
    def turn(self, session: str, progress: Callable[..., object]) -> Iterator[Report]:
        """Wait for the session's turn; gives the `report` of its job.

        Raises BusyError and CancelledError; `progress` is the page's own.
        """
        with self.desk.job(session, lambda ahead: _tell(progress, 0.0, _queue_line(ahead))) as job:

            def report(share: float, stage: str) -> None:
                job.check()
                _tell(progress, share, stage)

            try:
                yield report
            finally:
                # Figures are cyclic: without this those of many jobs wait for their turn.
                gc.collect()
            job.check()

    def leave(self, session: str) -> None:
        """A tab was closed: end its job, and remove what nobody else uploaded too."""
        self.desk.cancel(session)
        with self._lock:
            own = self._seen.pop(session, set())
            used = set().union(*self._seen.values()) if self._seen else set()
        for path in own - used:
            path.unlink(missing_ok=True)

    def _remember(self, session: str, path: Path) -> None:
        # Examples stay: they lie in the uploads too, under the name that they have here.
        if path.name in {example.name for example in self.examples}:
            return
        with self._lock:
            self._seen.setdefault(session, set()).add(path)


def _tell(progress: Callable[..., object], share: float, line: str) -> None:
    progress(min(share, 1.0), desc=line)


def _queue_line(ahead: int) -> str:
    return f"waiting: {ahead} {'job' if ahead == 1 else 'jobs'} before yours"


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
    pcm_T = (wave_T.detach() * 32768).round().clamp(-32768, 32767).to(torch.int16)
    return sample_rate_hz, pcm_T.numpy()


def note_lines(notes: tuple[str, ...]) -> str:
    """Notes as a Markdown list, safe to show: they may quote the user's text."""
    return "".join(f"\n- {escaped(note)}" for note in notes)


def escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return text.translate(_SIGNS)
