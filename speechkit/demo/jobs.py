"""The jobs of the demo: from checked inputs to results, no widget in sight.

Each takes a `report`, called with the share that is done and what comes next; what it raises ends
the job there, which is how one is cancelled.

Shapes: T samples, F frames, K codebooks, B batch, D channels of the timbre vector, G frames of F0.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechkit import narration
from speechkit.conversion import Conversion, VoiceConverter
from speechkit.core.audio import naming
from speechkit.core.errors import PromptError
from speechkit.core.prompt import Prompt, prepare_prompt
from speechkit.core.results import Codes, Speech, Voice, mix_voices
from speechkit.core.rng import generator
from speechkit.diffusion.config import PHONE_PROSODY, STAGES
from speechkit.facodec.codec import Codec
from speechkit.facodec.stream import decode_stream, encode_long, levelled, own_gain
from speechkit.pieces import Progress
from speechkit.swap import FACTORS, swap_recording
from speechkit.text.script import Part
from speechkit.text.turns import Turn, write_turns
from speechkit.tts import ZeroShotTTS
from speechkit.watermark import Watermark, apply_watermark

Report = Callable[[float, str], None]
"""Called with the share done, 0 to 1, and what begins."""

_STAGES = (PHONE_PROSODY, *STAGES, "decode", "choose", "watermark")


@dataclass(frozen=True, kw_only=True, eq=False)
class Models:
    """What is loaded once and used by all jobs."""

    tts: ZeroShotTTS
    """Codec and generator."""

    converter: VoiceConverter
    """Conversion with the same codec."""

    @property
    def codec(self) -> Codec:
        """The codec of both."""
        return self.tts.codec


def load_models(
    folder: str | Path | None = None, *, device: str = "cpu", dtype: str = "auto"
) -> Models:
    """The bundled models, or those of a folder; errors as of `ZeroShotTTS.from_pretrained`."""
    tts = ZeroShotTTS.from_pretrained(folder, device=device, dtype=dtype)
    converter = VoiceConverter(tts.codec, weights=tts.weights, trained=tts.trained)
    return Models(tts=tts, converter=converter)


def stage_progress(report: Report, start: float = 0.0, share: float = 1.0) -> Progress:
    """`report` as the callback of `ZeroShotTTS.synthesize`, which is `share` of the whole job."""

    done = 0.0

    def progress(number: int, count: int, stage: str) -> None:
        nonlocal done
        # What is not clear is spoken again: the bar stands still meanwhile.
        done = max(done, (number + _STAGES.index(stage) / len(_STAGES)) / count)
        part = f", part {number + 1} of {count}" if count > 1 else ""
        report(start + share * done, f"{stage}{part}")

    return progress


@dataclass(frozen=True, kw_only=True, eq=False)
class Spoken:
    """A text spoken in the voice of a prompt."""

    speech: Speech
    """What was said."""

    trimmed: Prompt
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
    trimmed = prepare_prompt(prompt_T, models.tts.sample_rate_hz, max_seconds=keep_seconds)
    voice = models.tts.voice(trimmed)
    heard = time.perf_counter()
    speech = models.tts.synthesize(
        text,
        voice,
        seed=seed,
        speed=speed,
        steps=steps or None,
        progress=stage_progress(report, 0.1, 0.9),
    )
    return Spoken(
        speech=speech,
        trimmed=trimmed,
        prompt_took_seconds=heard - started,
        speaking_took_seconds=time.perf_counter() - heard,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Narrated:
    """A script spoken."""

    speech: Speech
    """All of it."""

    turns: int
    """How often somebody begins to speak."""

    chunks: int
    """Pieces that were spoken in one go."""

    took_seconds: float
    """Time for everything."""


def narrate(
    models: Models,
    parts: Sequence[Part],
    waves: Mapping[str, Tensor],
    *,
    keep_seconds: float,
    speed: float,
    steps: int,
    seed: int,
    report: Report,
) -> Narrated:
    """A dialogue or a long text, in the voices of `waves`, which has a recording for each name.

    Raises PromptError for a recording without speech, TextError for a line that cannot be spoken.
    """
    report(0.0, "reading the text")
    started = time.perf_counter()
    turns = write_turns(parts, models.tts.frontend)
    spoken = [turn for turn in turns if isinstance(turn, Turn)]
    voices = {}
    for number, (name, wave_T) in enumerate(waves.items()):
        report(0.1 * number / len(waves), f"listening to {name or 'the voice'}")
        with naming(f"The voice {name}".strip()):
            prompt = prepare_prompt(wave_T, models.tts.sample_rate_hz, max_seconds=keep_seconds)
            voices[name] = models.tts.voice(prompt)
    speech = narration.narrate(
        models.tts,
        turns,
        voices,
        seed=seed,
        speed=speed,
        steps=steps or None,
        progress=stage_progress(report, 0.1, 0.9),
    )
    return Narrated(
        speech=speech,
        turns=sum(1 for _ in groupby(turn.voice for turn in spoken)),
        chunks=sum(len(turn.script.chunks) for turn in spoken),
        took_seconds=time.perf_counter() - started,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Swapped:
    """Speech before and after a swap."""

    before: Speech
    """All factors from the base."""

    after: Speech
    """Some of them from other prompts."""

    similarity: Mapping[str, tuple[float, float]]
    """Prompt → cosine of its timbre vector with that of the speech, before and after."""

    took_seconds: float
    """Time for everything."""


def swap(
    models: Models,
    text: str | None,
    base_T: Tensor,
    prompts: Mapping[str, Tensor],
    *,
    keep_seconds: float,
    speed: float,
    steps: int,
    seed: int,
    report: Report,
) -> Swapped:
    """The base as it is, and with the factors of `prompts` from those.

    With a text, `base_T` is the voice that says it; without, it is the recording that is changed.
    Raises PromptError for a prompt without speech and where there is none to swap with.
    """
    if not prompts:
        raise PromptError("There is nothing to swap: give another voice, and say what to take.")
    started = time.perf_counter()
    heard: list[tuple[Tensor, Voice]] = []
    for number, (name, wave_T) in enumerate([("the base", base_T), *prompts.items()]):
        report(0.2 * number / (len(prompts) + 1), f"listening to the voice for {name}")
        twin = next((voice for other_T, voice in heard if other_T.equal(wave_T)), None)
        with naming(f"The voice for {name}"):
            rate_hz = models.tts.sample_rate_hz
            if text is None and not number:
                prompt = prepare_prompt(wave_T, rate_hz, keep_pauses=True)
            else:
                prompt = prepare_prompt(wave_T, rate_hz, max_seconds=keep_seconds)
            heard.append((wave_T, twin or models.tts.voice(prompt)))
    base, *others = (voice for _, voice in heard)
    factors = dict(zip(prompts, others, strict=True))
    settings: dict[str, Any] = {"seed": seed, "steps": steps or None}

    def make(voices: Mapping[str, Any], start: float, speed: float) -> Speech:
        progress = stage_progress(report, start, 0.35)
        if text is None:
            return swap_recording(
                models.tts, base, **voices, speed=speed, progress=progress, **settings
            )
        timbre, *rest = (voices.get(name, base) for name in FACTORS)
        mixed = mix_voices(timbre, **dict(zip(FACTORS[1:], rest, strict=True)))
        # One candidate: a voice for one factor must leave the others as they were.
        return models.tts.synthesize(
            text, mixed, speed=speed, progress=progress, candidates=1, **settings
        )

    # A recording is compared with itself at its own pace.
    before = make({}, 0.2, 1.0 if text is None else speed)
    after = make(factors, 0.55, speed)
    return Swapped(
        before=before,
        after=after,
        similarity=_similarity(models, {"base": base, **factors}, before, after),
        took_seconds=time.perf_counter() - started,
    )


def _similarity(
    models: Models, voices: Mapping[str, Voice], before: Speech, after: Speech
) -> dict[str, tuple[float, float]]:
    """Cosine of timbre vectors of each prompt with both."""
    own = slice(-models.codec.timbre_channels, None)
    made = [models.codec.encode(speech.wave_T)[1].cpu()[own] for speech in (before, after)]
    similarity = {}
    for name, voice in voices.items():
        first, second = (
            float(torch.cosine_similarity(timbre_D, voice.timbre_D[own], dim=0))
            for timbre_D in made
        )
        # Rounded, and a zero without a sign.
        similarity[name] = (round(first, 2) + 0.0, round(second, 2) + 0.0)
    return similarity


@dataclass(frozen=True, kw_only=True, eq=False)
class Converted:
    """A recording in another voice."""

    source_T: Tensor
    """The recording."""

    made: Conversion
    """The same in the voice of the target."""

    trimmed: Prompt
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
    trimmed = prepare_prompt(target_T, models.converter.sample_rate_hz, max_seconds=keep_seconds)
    target = models.converter.target(trimmed)
    report(0.2, "encoding the recording")
    pieces = models.converter.convert_stream(
        source_T,
        target,
        seed=seed,
        pitch_shift_semitones=pitch_shift_semitones,
        detail=detail,
        watermark=None,
    )
    waves: list[Tensor] = []
    done = 0
    report(0.5, "decoding")
    for wave_T in pieces:
        waves.append(wave_T)
        done += len(wave_T)
        report(0.5 + 0.5 * done / len(source_T), "decoding")
    rate_hz = models.converter.sample_rate_hz
    watermarked = apply_watermark(torch.cat(waves), rate_hz, Watermark())
    made = Conversion(
        wave_T=watermarked.wave_T,
        sample_rate_hz=rate_hz,
        seed=seed,
        notes=(*target.notes, *watermarked.notes),
        watermark=watermarked.payload,
    )
    return Converted(
        source_T=source_T, made=made, trimmed=trimmed, took_seconds=time.perf_counter() - started
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
    bits = codec.quantizer.codebooks * math.log2(codec.quantizer.codebook_size)
    return Coded(
        source_T=wave_T,
        codes=codes,
        timbre_D=timbre_D,
        wave_T=out_T,
        took_seconds=time.perf_counter() - started,
        bits_per_second=bits * codec.sample_rate_hz / codec.hop_samples,
        timbre_bits=16 * codec.voice_channels,
    )


def stream_names(codec: Codec) -> tuple[str, ...]:
    """A name for each code stream, in the order of `Codes.stacked`."""
    quantizer = codec.quantizer
    counts = {
        "prosody": quantizer.prosody_codebooks,
        "content": quantizer.content_codebooks,
        "detail": quantizer.detail_codebooks,
    }
    return tuple(
        f"{part} {number + 1}" if count > 1 else part
        for part, count in counts.items()
        for number in range(count)
    )


def drop(models: Models, wave_T: Tensor, factor: str, *, report: Report) -> Tensor:
    """The recording decoded with one factor left out, at its level and length."""
    codec = models.codec
    report(0.0, "encoding")
    codes, timbre_D = encode_long(codec, wave_T)
    report(0.5, "decoding")
    out_T = codec.decode(codes, timbre_D, generator(0), without=(factor,)).cpu()
    return torch.cat(list(levelled([out_T], own_gain(codec, wave_T), len(wave_T))))
