"""The named results that travel between the parts.

Shapes: T samples, F frames, P phones, K code books, D channels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from speechkit.core.errors import CheckpointError
from speechkit.core.files import write_atomically

VOICE_FORMAT = "speechkit-voice-1"


@dataclass(frozen=True, kw_only=True)
class Codes:
    """One recording as code streams at the codec's frame rate; all have the same length F."""

    prosody_KF: Tensor
    """Prosody codes, int64, one book."""

    content_KF: Tensor
    """Content codes, int64, two books."""

    detail_KF: Tensor
    """Detail codes, int64, three books."""

    @property
    def frames(self) -> int:
        """Frames F."""
        return int(self.prosody_KF.shape[-1])

    def stacked(self) -> Tensor:
        """All books as one `codes_KF`: prosody, content, detail."""
        return torch.cat([self.prosody_KF, self.content_KF, self.detail_KF])

    def between(self, start: int, end: int) -> Codes:
        """The frames from `start` to before `end`."""
        return Codes(
            prosody_KF=self.prosody_KF[:, start:end],
            content_KF=self.content_KF[:, start:end],
            detail_KF=self.detail_KF[:, start:end],
        )


def join(pieces: Sequence[Codes]) -> Codes:
    """Codes one after the other, as one recording."""
    return Codes(
        prosody_KF=torch.cat([piece.prosody_KF for piece in pieces], dim=-1),
        content_KF=torch.cat([piece.content_KF for piece in pieces], dim=-1),
        detail_KF=torch.cat([piece.detail_KF for piece in pieces], dim=-1),
    )


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """What one prompt lends to the stages: its codes with the phones they were spoken on."""

    codes_KF: Tensor
    """Codes of all books, int64."""

    phone_F: Tensor
    """Phone class of each frame, int64."""


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """What one prompt lends to the duration stage."""

    phones_P: Tensor
    """Phone ids, int64."""

    frames_P: Tensor
    """Frames each phone lasts, int64."""


@dataclass(frozen=True, kw_only=True)
class Voice:
    """A source for each attribute; the plain case has them all from one prompt."""

    timbre_D: Tensor
    """Timbre vector of the codec."""

    duration: Rhythm
    """Source of the rhythm."""

    prosody: Attribute
    """Source of the melody."""

    content: Attribute
    """Source of the pronunciation."""

    detail: Attribute
    """Source of the acoustic detail."""

    notes: tuple[str, ...] = ()
    """What was changed in the prompt, or is not ideal in it."""

    def save(self, path: str | Path) -> None:
        """Write the voice as one safetensors file (no audio in it)."""
        tensors = {"timbre_D": self.timbre_D, **_flat("duration", self.duration)}
        for name in ("prosody", "content", "detail"):
            tensors |= _flat(name, getattr(self, name))
        # Attributes may share their tensors, which a safetensors file may not.
        copies = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
        metadata = {"format": VOICE_FORMAT, "notes": json.dumps(self.notes)}
        write_atomically(path, lambda part: save_file(copies, part, metadata=metadata))

    @classmethod
    def load(cls, path: str | Path) -> Voice:
        """The voice of a file; raises CheckpointError when it is not one."""
        try:
            with safe_open(str(path), "pt") as stored:
                metadata = stored.metadata() or {}
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path} is not a voice file: make one with voice.") from error
        if metadata.get("format") != VOICE_FORMAT:
            raise CheckpointError(f"{path} is not a voice file of this version: make it again.")
        wrong = _wrong_voice(tensors)
        if wrong:
            raise CheckpointError(f"{path} is a damaged voice file ({wrong}): make it again.")
        try:
            parts = {
                name: Attribute(**_part(tensors, name)) for name in ("prosody", "content", "detail")
            }
            return cls(
                timbre_D=tensors["timbre_D"],
                duration=Rhythm(**_part(tensors, "duration")),
                notes=tuple(json.loads(metadata.get("notes", "[]"))),
                **parts,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is a damaged voice file: make it again.") from error


def _flat(name: str, part: Attribute | Rhythm) -> dict[str, Tensor]:
    return {f"{name}.{key}": tensor for key, tensor in vars(part).items()}


def _wrong_voice(tensors: Mapping[str, Tensor]) -> str:
    """What is wrong with a voice file's tensors; empty when nothing is."""
    timbre_D = tensors.get("timbre_D")
    if timbre_D is None or timbre_D.ndim != 1 or not bool(torch.isfinite(timbre_D).all()):
        return "timbre"
    frames_P = tensors.get("duration.frames_P")
    phones_P = tensors.get("duration.phones_P")
    if frames_P is None or phones_P is None or frames_P.shape != phones_P.shape:
        return "durations"
    if frames_P.ndim != 1 or bool((frames_P < 0).any()) or frames_P.is_floating_point():
        return "durations"
    for name in ("prosody", "content", "detail"):
        codes_KF, phone_F = tensors.get(f"{name}.codes_KF"), tensors.get(f"{name}.phone_F")
        if codes_KF is None or phone_F is None or codes_KF.ndim != 2 or phone_F.ndim != 1:
            return name
        if codes_KF.is_floating_point() or phone_F.is_floating_point():
            return name
        if codes_KF.shape[1] != len(phone_F) or not len(phone_F) or bool((codes_KF < 0).any()):
            return name
    return ""


def _part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors of one part, without their prefix."""
    prefix = f"{name}."
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


@dataclass(frozen=True, kw_only=True)
class Speech:
    """Synthesised speech and how it came about."""

    wave_T: Tensor
    """Samples, float32, −1 to 1."""

    sample_rate_hz: int
    """Samples a second."""

    phones: tuple[str, ...]
    """Phone symbols spoken."""

    frames: tuple[int, ...]
    """Frames each phone lasts."""

    seed: int
    """Seed it was drawn with."""

    stages_seconds: Mapping[str, float] = field(default_factory=dict)
    """Time spent in each stage."""

    notes: tuple[str, ...] = ()
    """What the listener should know: skipped symbols, cropped prompts."""

    watermark: int | None = None
    """Payload of the mark in the wave; None where it was left out."""

    @property
    def seconds(self) -> float:
        """Length of the wave."""
        return len(self.wave_T) / self.sample_rate_hz
