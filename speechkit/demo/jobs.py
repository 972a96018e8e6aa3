"""The jobs of the demo: from checked inputs to results, no widget in sight.

Each takes a `report`, called with the share that is done and what comes next; what it raises ends
the job there, which is how one is cancelled.

Shapes: T samples, F frames, K code books, D channels of the timbre vector.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from speechkit.conversion import Conversion, VoiceConverter
from speechkit.core.results import Codes, Speech
from speechkit.core.rng import generator
from speechkit.demo.trim import Kept, best_part
from speechkit.diffusion.config import STAGES
from speechkit.facodec.small.codec import FACodec
from speechkit.facodec.small.features import TIMBRE_PITCH_SCALE, pitch_hz
from speechkit.facodec.stream import decode_stream, encode_long, levelled, own_gain
from speechkit.tts import Progress, ZeroShotTTS
from speechkit.watermark import Watermark

Report = Callable[[float, str], None]
"""Called with the share done, 0 to 1, and what begins."""

_STAGES = (*STAGES, "decode")


@dataclass(frozen=True, kw_only=True, eq=False)
class Models:
    """What is loaded once and used by all jobs."""

    tts: ZeroShotTTS
    """Codec and generator."""

    converter: VoiceConverter
    """Conversion with the same codec."""

    @property
    def codec(self) -> FACodec:
        """The codec of both."""
        return self.tts.codec


def load_models(folder: str | Path | None = None) -> Models:
    """The bundled models, or those of a folder; raises CheckpointError where it holds none."""
    tts = ZeroShotTTS.from_pretrained(folder)
    converter = VoiceConverter(tts.codec, weights=tts.weights, trained=tts.trained)
    return Models(tts=tts, converter=converter)


def step_count(steps: int) -> int | None:
    """The page's steps as the models take them: 0 stands for their default."""
    return steps or None


def stage_progress(report: Report, start: float = 0.0, share: float = 1.0) -> Progress:
    """`report` as the callback of `ZeroShotTTS.synthesize`, which is `share` of the whole job."""

    def progress(number: int, count: int, stage: str) -> None:
        done = (number + _STAGES.index(stage) / len(_STAGES)) / count
        part = f", part {number + 1} of {count}" if count > 1 else ""
        report(start + share * done, f"{stage}{part}")

    return progress


@dataclass(frozen=True, kw_only=True, eq=False)
class Spoken:
    """A text spoken in the voice of a prompt."""

    speech: Speech
    """What was said."""

    kept: Kept
    """The part of the prompt that was used."""

    prompt_took_seconds: float
    """Time for reading the voice off the prompt."""

    speaking_took_seconds: float
    """Time for the speech."""

    @property
    def real_time_factor(self) -> float:
        """Time for the speech over its length: below 1 is faster than real time."""
        return self.speaking_took_seconds / self.speech.seconds


def speak(
    models: Models,
    prompt_T: Tensor,
    text: str,
    *,
    keep_seconds: float,
    speed: float,
    steps: int,
    seed: int,
    report: Report,
) -> Spoken:
    """The text in the voice of the best `keep_seconds` of a recording.

    Raises PromptError for a recording without speech, TextError for a text that cannot be spoken.
    """
    report(0.0, "listening to the prompt")
    started = time.perf_counter()
    kept = best_part(prompt_T, models.tts.sample_rate_hz, keep_seconds)
    voice = models.tts.voice(kept.prompt)
    heard = time.perf_counter()
    speech = models.tts.synthesize(
        text,
        voice,
        seed=seed,
        speed=speed,
        steps=step_count(steps),
        progress=stage_progress(report, 0.1, 0.9),
    )
    return Spoken(
        speech=speech,
        kept=kept,
        prompt_took_seconds=heard - started,
        speaking_took_seconds=time.perf_counter() - heard,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Converted:
    """A recording in another voice."""

    source_T: Tensor
    """The recording."""

    made: Conversion
    """The same in the voice of the target."""

    kept: Kept
    """The part of the target that was used."""

    took_seconds: float
    """Time for everything."""


def convert(
    models: Models,
    source_T: Tensor,
    target_T: Tensor,
    *,
    keep_seconds: float,
    pitch_shift_semitones: float,
    detail: bool,
    seed: int,
    report: Report,
) -> Converted:
    """What the source says in the voice of the best `keep_seconds` of the target.

    Raises PromptError for a target without sound, AudioError for a source of less than a frame.
    """
    report(0.0, "listening to the target")
    started = time.perf_counter()
    kept = best_part(target_T, models.converter.sample_rate_hz, keep_seconds)
    target = models.converter.target(kept.prompt)
    report(0.2, "encoding the recording")
    mark = Watermark()
    pieces = models.converter.convert_stream(
        source_T,
        target,
        seed=seed,
        pitch_shift_semitones=pitch_shift_semitones,
        detail=detail,
        watermark=mark,
    )
    waves: list[Tensor] = []
    done = 0
    report(0.5, "decoding")
    for wave_T in pieces:
        waves.append(wave_T)
        done += len(wave_T)
        report(0.5 + 0.5 * done / len(source_T), "decoding")
    made = Conversion(
        wave_T=torch.cat(waves),
        sample_rate_hz=models.converter.sample_rate_hz,
        seed=seed,
        notes=target.notes,
        watermark=mark.payload,
    )
    return Converted(
        source_T=source_T, made=made, kept=kept, took_seconds=time.perf_counter() - started
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Coded:
    """A recording as codes, and what they say."""

    source_T: Tensor
    """The recording."""

    codes: Codes
    """Its codes."""

    timbre_D: Tensor
    """Its timbre vector."""

    wave_T: Tensor
    """The codes decoded, at the recording's level and length."""

    took_seconds: float
    """Time for both ways."""

    bits_per_second: float
    """Rate of the codes alone."""

    timbre_bits: int
    """Size of the timbre vector, once a recording, at half precision."""


def code(models: Models, wave_T: Tensor, *, report: Report) -> Coded:
    """A recording through the codec and back."""
    codec = models.codec
    started = time.perf_counter()
    report(0.0, "encoding")
    codes, timbre_D = encode_long(codec, wave_T)
    report(0.5, "decoding")
    waves = decode_stream(codec, codes, timbre_D, generator(0))
    out_T = torch.cat(list(levelled(waves, own_gain(codec, wave_T), len(wave_T))))
    bits = codec.quantizer.books * math.log2(codec.quantizer.entries)
    return Coded(
        source_T=wave_T,
        codes=codes,
        timbre_D=timbre_D,
        wave_T=out_T,
        took_seconds=time.perf_counter() - started,
        bits_per_second=bits * codec.sample_rate_hz / codec.hop_samples,
        timbre_bits=16 * codec.timbre_channels,
    )


def stream_names(codec: FACodec) -> tuple[str, ...]:
    """A name for each code stream, in the order of `Codes.stacked`."""
    books = codec.quantizer
    counts = {
        "prosody": books.prosody_books,
        "content": books.content_books,
        "detail": books.detail_books,
    }
    return tuple(
        f"{part} {number + 1}" if count > 1 else part
        for part, count in counts.items()
        for number in range(count)
    )


def drop(models: Models, wave_T: Tensor, stream: int, *, report: Report) -> Tensor:
    """The recording decoded with one code stream left out, at its level and length."""
    codec = models.codec
    report(0.0, "encoding")
    codes, timbre_D = encode_long(codec, wave_T)
    report(0.5, "decoding")
    out_T = decode_without(codec, codes, timbre_D, stream, generator(0))
    return torch.cat(list(levelled([out_T], own_gain(codec, wave_T), len(wave_T))))


@torch.no_grad()
def decode_without(
    codec: FACodec, codes: Codes, timbre_D: Tensor, stream: int, rng: torch.Generator
) -> Tensor:
    """`wave_T` of all code streams but one, whose vectors are left out of the sum.

    Without prosody the decoder reads melody, voicing and loudness off a zero vector.
    """
    books = (codec.prosody_books, codec.content_books, codec.detail_books)
    levels = [level for part in books for level in part.quantizers()]
    z_KBFD = [
        level.embed(codes_F[None]) * (number != stream)
        for number, (level, codes_F) in enumerate(zip(levels, codes.stacked(), strict=True))
    ]
    z_prosody = torch.stack(z_KBFD[: codec.prosody_books.books]).sum(0)
    timbre_BD = timbre_D[None]
    mel_BMG = codec.decode_mel(torch.stack(z_KBFD).sum(0), timbre_BD)
    reading = codec.read_prosody(z_prosody)
    f0_BG = pitch_hz(reading.contour_BG, timbre_BD[:, -1] * TIMBRE_PITCH_SCALE)
    voiced_BG = (reading.voiced_logit_BG > 0).to(f0_BG.dtype)
    wave_T: Tensor = codec.vocoder(mel_BMG, f0_BG, voiced_BG, rng)[0]
    return wave_T.clamp(-1, 1)
