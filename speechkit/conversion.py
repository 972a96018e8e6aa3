"""Voice conversion: what one recording says, as it says it, in the voice of another.

Codes of the source, timbre of the target (NS3 appendix B.3). The shipped codec's timbre vector ends
with the speaker's median pitch, so the range of the voice moves along and the F0 contour stays.

Shapes: T samples, D channels of the timbre vector.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from speechkit.core.audio import naming, read_audio, write_audio
from speechkit.core.errors import AudioError, ConfigError, PromptError
from speechkit.core.prompt import Prompt, prepare_prompt, read_prompt
from speechkit.core.rng import derive, generator
from speechkit.facodec.codec import Codec
from speechkit.facodec.pretrained import load_pretrained
from speechkit.facodec.small.base import SmallCodec
from speechkit.facodec.small.features import TIMBRE_PITCH_SCALE
from speechkit.facodec.stream import decode_stream, encode_long, levelled, own_gain
from speechkit.watermark import MIN_SECONDS, Watermark, apply_watermark, embed_pieces

DETAIL = True
"""Whether the source's detail codes are used by default, as in the paper; its public code drops
them. 25 held-out pairs, weights 24467404: words wrong 23 % with detail and 33 % without, similarity
to the target 0.52 and 0.55, to the source's speaker 0.50 and 0.45 (two recordings of one: 0.82)."""

MAX_SEMITONES = 24.0
"""Furthest that the pitch may be shifted, to either side."""

Recording = str | Path | Tensor
"""An audio file of any rate, or a mono wave at the codec's."""

TargetRecording = Recording | Prompt
"""Of a target; a `Prompt`, which `prepare_prompt` made at the codec's rate, is used as it is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """The voice to convert to."""

    timbre_D: Tensor
    """Timbre vector."""

    notes: tuple[str, ...] = ()
    """What was changed in the recordings, or is not ideal in them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Conversion:
    """Converted speech."""

    wave_T: Tensor
    """Samples, float32, as many as the source has, at its level."""

    sample_rate_hz: int
    """Samples a second."""

    seed: int
    """Seed of the noise in it."""

    notes: tuple[str, ...] = ()
    """What the listener should know about the target."""

    watermark: int | None = None
    """Payload of the watermark in the wave; None where it was left out."""

    @property
    def seconds(self) -> float:
        """Length of the wave."""
        return len(self.wave_T) / self.sample_rate_hz

    def save(self, path: str | Path) -> None:
        """Write the wave to a file that ends in .wav, .flac or .ogg; raises AudioError."""
        write_audio(path, self.wave_T, self.sample_rate_hz)


class VoiceConverter:
    """Says what a recording says in the voice of another one."""

    def __init__(self, codec: Codec, *, weights: str = "unnamed", trained: bool = False) -> None:
        """Take a codec, ready for inference."""
        self.codec, self.weights, self.trained = codec, weights, trained

    @classmethod
    def from_pretrained(
        cls, folder: str | Path | None = None, *, device: str | torch.device = "cpu"
    ) -> VoiceConverter:
        """With the bundled codec, or one that `speechkit.facodec.from_pretrained` finds, on a
        device.

        Raises CheckpointError or ConfigError where there is none.
        """
        found = load_pretrained(folder, device=device)
        return cls(found.codec, weights=found.name, trained=found.trained)

    @property
    def sample_rate_hz(self) -> int:
        """Samples a second of everything it says."""
        return self.codec.sample_rate_hz

    def target(self, recordings: TargetRecording | Sequence[TargetRecording]) -> Target:
        """The voice of one or more recordings of a speaker, 1 to 30 s of each.

        Several give the mean of their timbre vectors. Raises AudioError for a file that cannot be
        read, PromptError for one that is silent or too short.
        """
        if isinstance(recordings, str | Path | Tensor | Prompt):
            recordings = [recordings]
        if not recordings:
            raise PromptError("There is no target: give at least one recording of the voice.")
        timbres: list[Tensor] = []
        notes: list[str] = []
        for recording in recordings:
            ready = recording if isinstance(recording, Prompt) else self._prompt(recording)
            timbres.append(self.codec.encode(ready.wave_T)[1].cpu())
            notes += ready.notes
        return Target(timbre_D=torch.stack(timbres).mean(0), notes=tuple(dict.fromkeys(notes)))

    def convert(
        self,
        source: Recording,
        target: TargetRecording | Sequence[TargetRecording] | Target,
        *,
        seed: int = 0,
        pitch_shift_semitones: float = 0.0,
        detail: bool = DETAIL,
        watermark: Watermark | None = Watermark(),  # noqa: B008 (frozen)
    ) -> Conversion:
        """The source in the voice of the target; arguments and errors as of `convert_stream`."""
        voice = target if isinstance(target, Target) else self.target(target)
        waves = self.convert_stream(
            source,
            voice,
            seed=seed,
            pitch_shift_semitones=pitch_shift_semitones,
            detail=detail,
            watermark=None,
        )
        watermarked = apply_watermark(torch.cat(list(waves)), self.sample_rate_hz, watermark)
        return Conversion(
            wave_T=watermarked.wave_T,
            sample_rate_hz=self.sample_rate_hz,
            seed=seed,
            notes=(*voice.notes, *watermarked.notes),
            watermark=watermarked.payload,
        )

    def convert_stream(
        self,
        source: Recording,
        target: TargetRecording | Sequence[TargetRecording] | Target,
        *,
        seed: int = 0,
        pitch_shift_semitones: float = 0.0,
        detail: bool = DETAIL,
        watermark: Watermark | None = Watermark(),  # noqa: B008 (frozen)
    ) -> Iterator[Tensor]:
        """`convert` as one `wave_T` after the other: of sources over 30 s, 20 s at a time.

        Converted speech is synthetic, so it carries an inaudible watermark, which `watermark=None`
        leaves out and a source under 0.6 s has no room for; the codec, which plays a recording
        back in its own voice, adds none.
        `pitch_shift_semitones` is added to the target's own pitch; `detail=False` leaves the
        source's detail codes out. All inputs are read and checked, and the source is encoded,
        before this returns. Raises AudioError for a source that cannot be read, is shorter than a
        frame or not finite, ConfigError for a pitch shift out of range or one that the codec
        cannot do, and what `target` raises.
        """
        voice = target if isinstance(target, Target) else self.target(target)
        timbre_D = shift_pitch(self.codec, voice.timbre_D, pitch_shift_semitones)
        wave_T = self._wave(source)
        if len(wave_T) < self.codec.hop_samples:
            raise AudioError(
                f"The source has {len(wave_T)} samples, less than one frame of "
                f"{self.codec.hop_samples}: give a longer recording."
            )
        codes, _ = encode_long(self.codec, wave_T)
        gain, samples = own_gain(self.codec, wave_T), len(wave_T)
        rng = generator(derive(seed, "noise"))
        without = () if detail else ("detail",)
        waves = decode_stream(self.codec, codes, timbre_D, rng, without=without)
        levelled_waves = levelled(waves, gain, samples)
        if watermark is None or samples < MIN_SECONDS * self.sample_rate_hz:
            return levelled_waves
        return embed_pieces(levelled_waves, self.sample_rate_hz, watermark)

    def _prompt(self, recording: Recording) -> Prompt:
        """A recording of a target made ready; a PromptError names it."""
        if not isinstance(recording, Tensor):
            return read_prompt(recording, self.sample_rate_hz)
        with naming("The target"):
            return prepare_prompt(self._wave(recording), self.sample_rate_hz)

    def _wave(self, recording: Recording) -> Tensor:
        """A recording as a finite mono wave."""
        if not isinstance(recording, Tensor):
            return read_audio(recording, self.sample_rate_hz)
        if recording.ndim != 1 or not len(recording):
            raise AudioError(f"A recording must be mono, not of shape {tuple(recording.shape)}.")
        if not bool(recording.isfinite().all()):
            raise AudioError("The recording holds values that are not finite (NaN or infinity).")
        return recording.detach().float()


def shift_pitch(codec: Codec, timbre_D: Tensor, semitones: float) -> Tensor:
    """The timbre of a voice whose pitch is higher by so many semitones.

    Raises ConfigError for more than two octaves, and for a codec whose timbre does not hold pitch
    as a number of its own.
    """
    if not abs(semitones) <= MAX_SEMITONES:
        raise ConfigError(
            f"A pitch shift of {semitones:g} semitones is out of range; give one from "
            f"{-MAX_SEMITONES:g} to {MAX_SEMITONES:g}."
        )
    if semitones == 0:
        return timbre_D
    if not isinstance(codec, SmallCodec):
        raise ConfigError("This codec cannot shift pitch: leave the pitch shift at 0.")
    shifted_D = timbre_D.clone()
    shifted_D[-1] += semitones * math.log(2) / 12 / TIMBRE_PITCH_SCALE
    return shifted_D
