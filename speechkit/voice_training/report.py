"""What `train voice` reports, and figures that it need not work out twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechkit.core.files import write_json


@dataclass(frozen=True, kw_only=True)
class VoiceReport:
    """What became of a folder of recordings."""

    finished: bool
    """False where a signal ended the training: the same command goes on."""
    message: str
    """What to do next."""
    out: str
    """The model folder."""
    speaker: str
    """Who spoke."""
    clips: int
    """Recordings that are trained on."""
    held_out: int
    """Recordings that are not."""
    minutes: float
    """Speech in both."""
    phones: int
    """Phones of the recordings that are trained on."""
    durations_trained: bool
    """Whether there were enough for the duration stage."""
    steps: int
    """Updates of the generator."""
    before: dict[str, float]
    """Held-out losses and accuracies of the generator to begin with."""
    after: dict[str, float] = field(default_factory=dict)
    """The same of the best fine-tuned one."""
    kept: bool = False
    """Whether that is the better one and in the model folder; else the start is."""
    prompt: str = ""
    """The recording that the voice is of."""
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Held-out texts: the recordings, and as spoken before and after; see `VoiceFigures`."""
    notes: tuple[str, ...] = ()
    """What was left out or could not be measured."""

    def text(self) -> str:
        """Lines for people."""
        if not self.finished:
            return self.message
        rows: list[tuple[str, ...]] = [("held out", "phones right", "similarity", "word errors")]
        for name, one in self.figures.items():
            cells = [one["phone_accuracy"], one["similarity"], one["wer"]]
            rows.append((name, *("-" if cell is None else f"{cell:.3f}" for cell in cells)))
        losses = ", ".join(
            f"{name.removeprefix('nll/')} {self.before[name]:.2f} to {loss:.2f}"
            for name, loss in self.after.items()
            if name.startswith("nll/")
        )
        return "\n".join(
            [
                f"{self.speaker}: {self.clips} clips trained on, {self.held_out} held out, "
                f"{self.minutes:.1f} minutes; {self.steps} steps",
                *("".join(f"{cell:<14}" for cell in row).rstrip() for row in rows),
                f"held-out losses: {losses}",
                *self.notes,
                f"{self.out}/speech.wav; speak on: {self.message}",
            ]
        )


class Measured:
    """Figures that were worked out before, in a file, each with all that it follows from."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, follows_from: Any, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The figures that follow from this, which `make` works out where they are not known."""
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = {}
        key = repr(follows_from)
        if key not in known:
            known[key] = make()
            write_json(self._path, known)
        found: dict[str, Any] = known[key]
        return found
