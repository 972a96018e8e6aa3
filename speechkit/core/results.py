"""The named results that travel between the parts.

Shapes: T samples, F frames, P phones, K codebooks, D channels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from speechkit.core.audio import write_audio
from speechkit.core.errors import CheckpointError
from speechkit.core.files import write_atomically

VOICE_FORMAT = "speechkit-voice-3"
"""Files of before did not say of which codec their codes are, and another's are spoken as noise."""
PHONES_SHOWN = 120
"""Phones that `Speech.text` shows."""


@dataclass(frozen=True, kw_only=True)
class Codes:
    """One recording as code streams at the codec's frame rate; all have the same length F."""

    prosody_KF: Tensor
    """Prosody codes, int64, one codebook."""

    content_KF: Tensor
    """Content codes, int64, two codebooks."""

    detail_KF: Tensor
    """Detail codes, int64, three codebooks."""

    phone_F: Tensor | None = None
    """Phone class of each frame where a text tells it, int64; a decoder may listen to it. It is
    not part of the recording: neither `stacked` nor a file of codes has it."""

    @property
    def frames(self) -> int:
        """Frames F."""
        return int(self.prosody_KF.shape[-1])

    @classmethod
    def of(cls, codes_KF: Tensor, counts: Sequence[int]) -> Codes:
        """The parts of `stacked` codes, `counts` codebooks each: prosody, content, detail."""
        prosody_KF, content_KF, detail_KF = torch.split(codes_KF, list(counts))
        return cls(prosody_KF=prosody_KF, content_KF=content_KF, detail_KF=detail_KF)

    def stacked(self) -> Tensor:
        """All codebooks as one `codes_KF`: prosody, content, detail."""
        return torch.cat([self.prosody_KF, self.content_KF, self.detail_KF])

    def to(self, device: str | torch.device) -> Codes:
        """The codes on a device."""
        return Codes(
            prosody_KF=self.prosody_KF.to(device),
            content_KF=self.content_KF.to(device),
            detail_KF=self.detail_KF.to(device),
            phone_F=None if self.phone_F is None else self.phone_F.to(device),
        )

    def between(self, start: int, end: int) -> Codes:
        """The frames from `start` to before `end`."""
        return Codes(
            prosody_KF=self.prosody_KF[:, start:end],
            content_KF=self.content_KF[:, start:end],
            detail_KF=self.detail_KF[:, start:end],
            phone_F=None if self.phone_F is None else self.phone_F[start:end],
        )


def join(pieces: Sequence[Codes]) -> Codes:
    """Codes one after the other, as one recording; phones are told where all pieces tell them."""
    told = [piece.phone_F for piece in pieces if piece.phone_F is not None]
    return Codes(
        prosody_KF=torch.cat([piece.prosody_KF for piece in pieces], dim=-1),
        content_KF=torch.cat([piece.content_KF for piece in pieces], dim=-1),
        detail_KF=torch.cat([piece.detail_KF for piece in pieces], dim=-1),
        phone_F=torch.cat(told) if told and len(told) == len(pieces) else None,
    )


@dataclass(frozen=True, kw_only=True)
class PromptCodes:
    """What one prompt lends to the stages: its codes with the phones they were spoken on."""

    codes_KF: Tensor
    """Codes of all codebooks, int64."""

    phone_F: Tensor
    """Phone class of each frame, int64."""


@dataclass(frozen=True, kw_only=True)
class DurationPrompt:
    """What one prompt lends to the duration stage."""

    phones_P: Tensor
    """Phone ids, int64."""

    frames_P: Tensor
    """Frames each phone lasts, int64."""


@dataclass(frozen=True, kw_only=True)
class VoiceSizes:
    """Sizes of the models that a voice is to be used with."""

    voice_widths: tuple[int, ...]
    """Width of the codec's timbre vector, alone and with what the codec adds before it."""

    codebooks: int
    """Codebooks of the codec, K."""

    codebook_size: int
    """Entries of each codebook."""

    phones: int
    """Phones of the generator's vocabulary."""

    codes: str = ""
    """Sign of the codec's codebooks (`codes_sign`); empty where nobody knows."""


@dataclass(frozen=True, kw_only=True)
class Voice:
    """A source for each attribute; the plain case has them all from one prompt."""

    timbre_D: Tensor
    """Timbre vector of the codec."""

    duration: DurationPrompt
    """Source of the rhythm."""

    prosody: PromptCodes
    """Source of the F0 contour."""

    content: PromptCodes
    """Source of the pronunciation."""

    detail: PromptCodes
    """Source of the acoustic detail."""

    notes: tuple[str, ...] = ()
    """What was changed in the prompt, or is not ideal in it."""

    codes: str = ""
    """Sign of the codebooks that its codes are of (`codes_sign`); empty where nobody knows."""

    def check(self, sizes: VoiceSizes | None = None, *, name: str = "This voice") -> None:
        """Raise CheckpointError unless the voice is whole and, given `sizes`, fits those models.

        The one place where voices are examined: reading a file, speaking and the command line all
        come here. `name` is what the error calls the voice. Tensors are int64, timbre is float32.
        """
        fault = self._fault()
        if fault:
            raise CheckpointError(
                f"{name} is a damaged voice ({fault}): make it again from its recording."
            )
        if sizes is not None and not self._fits(sizes):
            raise CheckpointError(
                f"{name} was made with another model: make it again from its recording."
            )

    def _fault(self) -> str:
        """What makes this no voice of any model; empty when nothing does."""
        timbre_D = self.timbre_D
        if timbre_D.dtype != torch.float32 or timbre_D.ndim != 1 or not len(timbre_D):
            return "timbre"
        if not bool(timbre_D.isfinite().all()):
            return "timbre"
        phones_P, frames_P = self.duration.phones_P, self.duration.frames_P
        if not (_counts(phones_P, 1) and _counts(frames_P, 1)) or len(phones_P) != len(frames_P):
            return "duration"
        for name, part in self._prompts().items():
            codes_KF, phone_F = part.codes_KF, part.phone_F
            if not (_counts(codes_KF, 2) and _counts(phone_F, 1)):
                return name
            if codes_KF.shape[1] != len(phone_F):
                return name
        return ""

    def _fits(self, sizes: VoiceSizes) -> bool:
        """Whether a whole voice can be used with models of these sizes."""
        phones = (self.duration.phones_P, *(part.phone_F for part in self._prompts().values()))
        return (
            (not self.codes or not sizes.codes or self.codes == sizes.codes)
            and len(self.timbre_D) in sizes.voice_widths
            and all(int(ids.max()) < sizes.phones for ids in phones)
            and all(
                len(part.codes_KF) == sizes.codebooks
                and int(part.codes_KF.max()) < sizes.codebook_size
                for part in self._prompts().values()
            )
        )

    def _prompts(self) -> dict[str, PromptCodes]:
        return {"prosody": self.prosody, "content": self.content, "detail": self.detail}

    def save(self, path: str | Path) -> None:
        """Write the voice as one safetensors file (no audio in it).

        Raises CheckpointError where the system refuses.
        """
        parts = {"duration": self.duration, **self._prompts()}
        tensors = {"timbre_D": self.timbre_D} | {
            f"{name}.{key}": tensor
            for name, part in parts.items()
            for key, tensor in vars(part).items()
        }
        # Attributes may share their tensors, which a safetensors file may not.
        copies = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
        notes = json.dumps(self.notes)
        metadata = {"format": VOICE_FORMAT, "codes": self.codes, "notes": notes}
        try:
            write_atomically(path, lambda part: save_file(copies, part, metadata=metadata))
        except OSError as error:
            raise CheckpointError(f"Cannot write {path}: {error.strerror}.") from error

    @classmethod
    def load(cls, path: str | Path) -> Voice:
        """The voice of a file; raises CheckpointError when it is not one, or damaged."""
        try:
            with safe_open(str(path), "pt") as stored:
                metadata = stored.metadata() or {}
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path} is not a voice file: make one with voice.") from error
        if metadata.get("format") != VOICE_FORMAT:
            raise CheckpointError(
                f"{path} is not a voice file of this version: make it again from its recording."
            )
        try:
            voice = cls(
                timbre_D=tensors["timbre_D"],
                duration=DurationPrompt(**_part(tensors, "duration")),
                prosody=PromptCodes(**_part(tensors, "prosody")),
                content=PromptCodes(**_part(tensors, "content")),
                detail=PromptCodes(**_part(tensors, "detail")),
                notes=tuple(map(str, json.loads(metadata.get("notes", "[]")))),
                codes=metadata["codes"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path} is a damaged voice file: make it again from its recording."
            ) from error
        voice.check(name=str(path))
        return voice


def _counts(tensor: Tensor, ndim: int) -> bool:
    """Whether a tensor holds whole numbers from 0 on, at least one, in so many dimensions."""
    return (
        tensor.dtype == torch.int64
        and tensor.ndim == ndim
        and tensor.numel() > 0
        and bool((tensor >= 0).all())
    )


def _part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors of one part, without their prefix."""
    prefix = f"{name}."
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def mix_voices(
    timbre: Voice,
    *,
    prosody: Voice | None = None,
    duration: Voice | None = None,
    content: Voice | None = None,
    detail: Voice | None = None,
) -> Voice:
    """One voice with a source for each attribute; what is not given comes from `timbre`.

    It has the notes of all of them. Raises CheckpointError for voices of several codecs.
    """
    sources = [timbre, *(v for v in (prosody, duration, content, detail) if v is not None)]
    signs = {voice.codes for voice in sources} - {""}
    if len(signs) > 1:
        raise CheckpointError(
            "These voices were made with several codecs: make them again from their recordings."
        )
    return replace(
        timbre,
        prosody=(prosody or timbre).prosody,
        duration=(duration or timbre).duration,
        content=(content or timbre).content,
        detail=(detail or timbre).detail,
        notes=tuple(dict.fromkeys(note for voice in sources for note in voice.notes)),
        codes=next(iter(signs), ""),
    )


@dataclass(frozen=True, kw_only=True)
class TimedLabel:
    """A phone or a word, and when it is spoken."""

    label: str
    """Phone symbol, or the word as it was read out."""

    start_seconds: float
    """When it begins."""

    end_seconds: float
    """When it ends; the same for a phone that lasts no frame."""


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

    words: tuple[TimedLabel, ...] = ()
    """Words spoken, with their times; none where the speech was not made from text."""

    stages_seconds: Mapping[str, float] = field(default_factory=dict)
    """Time spent in each stage."""

    notes: tuple[str, ...] = ()
    """What the listener should know: skipped symbols, cropped prompts."""

    watermark: int | None = None
    """Payload of the watermark in the wave; None where it was left out."""

    @property
    def seconds(self) -> float:
        """Length of the wave."""
        return len(self.wave_T) / self.sample_rate_hz

    @property
    def timed_phones(self) -> tuple[TimedLabel, ...]:
        """The phones with their times."""
        return timed(self.phones, self.frames, self.seconds / max(1, sum(self.frames)))

    def save(self, path: str | Path) -> None:
        """Write the wave to a file that ends in .wav, .flac or .ogg; raises AudioError."""
        write_audio(path, self.wave_T, self.sample_rate_hz)

    def to_json(self) -> dict[str, Any]:
        """Everything but the wave, as plain JSON values."""
        return {
            "seconds": self.seconds,
            "sample_rate_hz": self.sample_rate_hz,
            "seed": self.seed,
            "phones": list(self.phones),
            "frames": list(self.frames),
            "words": [vars(word) for word in self.words],
            "stages_seconds": dict(self.stages_seconds),
            "watermark": self.watermark,
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """A few lines for people."""
        shown = " ".join(self.phones[:PHONES_SHOWN])
        more = len(self.phones) - PHONES_SHOWN
        return (
            f"phones            {shown}{f' … {more} more' if more > 0 else ''}\n"
            f"seconds           {self.seconds:.2f}\n"
            f"seed              {self.seed}"
        )


def timed(
    labels: Sequence[str], frames: Sequence[int], frame_seconds: float
) -> tuple[TimedLabel, ...]:
    """Labels that follow each other, each for so many frames, with their times."""
    return tuple(
        TimedLabel(
            label=label,
            start_seconds=(end - count) * frame_seconds,
            end_seconds=end * frame_seconds,
        )
        for label, count, end in zip(labels, frames, accumulate(frames), strict=True)
    )
