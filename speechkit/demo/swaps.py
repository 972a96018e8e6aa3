"""Factor swaps: speech before and after some of its attributes come from other prompts.

Shapes: T samples, F frames, P phones, K code books.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.core.errors import PromptError
from speechkit.core.results import Codes, Rhythm, Speech, Voice
from speechkit.core.rng import derive, generator
from speechkit.demo.jobs import Models, Report, stage_progress, step_count
from speechkit.demo.trim import best_part
from speechkit.diffusion.duration import expand, places, stretch
from speechkit.text.vocab import STRESSES, is_boundary
from speechkit.tts import mix_voices
from speechkit.watermark import DEFAULT_PAYLOAD, embed

ATTRIBUTES = ("timbre", "prosody", "duration", "content", "detail")

MAX_RECORDING_SECONDS = 30.0
"""Longest recording of the text-free mode: it goes through the stages in one piece."""


MAX_STRETCH = 3.0
"""Most that a rhythm makes phones longer or shorter."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Swapped:
    """Speech before and after a swap."""

    before: Speech
    """All attributes from the base."""

    after: Speech
    """Some of them from other prompts."""

    likeness: Mapping[str, tuple[float, float]]
    """Prompt → cosine of its timbre vector with that of the speech, before and after."""

    took_seconds: float
    """Time for everything."""


def swap_text(
    models: Models,
    text: str,
    base_T: Tensor,
    prompts: Mapping[str, Tensor],
    *,
    keep_seconds: float,
    speed: float,
    steps: int,
    seed: int,
    report: Report,
) -> Swapped:
    """The text as the base prompt says it, and with the attributes of `prompts` from those.

    Raises PromptError for a prompt without speech and where there is none to swap with.
    """
    started = time.perf_counter()
    voices = _voices(models, {"base": base_T, **prompts}, keep_seconds, report)
    base = voices.pop("base")
    mixed = mix_voices(
        voices.get("timbre", base),
        prosody=voices.get("prosody", base),
        duration=voices.get("duration", base),
        content=voices.get("content", base),
        detail=voices.get("detail", base),
    )
    before, after = (
        models.tts.synthesize(
            text,
            voice,
            seed=seed,
            speed=speed,
            steps=step_count(steps),
            progress=stage_progress(report, share, 0.4),
        )
        for voice, share in ((base, 0.2), (mixed, 0.6))
    )
    return Swapped(
        before=before,
        after=after,
        likeness=_likeness(models, {"base": base, **voices}, before, after),
        took_seconds=time.perf_counter() - started,
    )


def swap_recording(
    models: Models,
    recording_T: Tensor,
    prompts: Mapping[str, Tensor],
    *,
    keep_seconds: float,
    speed: float,
    steps: int,
    seed: int,
    report: Report,
) -> Swapped:
    """A recording through the codec, and with the attributes of `prompts` from those; no text.

    Its phones are read off its content codes. An attribute without prompt keeps its codes, phone
    by phone stretched where the durations change; one with a prompt is drawn anew from that prompt
    on the phones of the recording. Durations are not drawn, see `carry_rhythm`. Raises PromptError
    as `swap_text` does.
    """
    started = time.perf_counter()
    voices = _voices(models, prompts, keep_seconds, report)
    report(0.2, "reading the recording")
    own = models.tts.voice(recording_T)
    before = _decoded(models, own, own, own.duration.frames_P, own.content.codes_KF, seed)
    frames_P = own.duration.frames_P
    sampler = models.tts.sampling(step_count(steps))
    if "duration" in voices:
        symbols = models.tts.vocabulary.symbols
        frames_P = carry_rhythm(own.duration, voices["duration"].duration, symbols)
    frames_P = stretch(frames_P, speed)
    progress = stage_progress(report, 0.3, 0.6)
    drawn = {name: getattr(voices[name], name) for name in ATTRIBUTES[1:] if name in voices}
    drawn.pop("duration", None)
    codes = models.tts.generator.fill(
        own.duration.phones_P,
        frames_P,
        stretch_codes(own.content.codes_KF, own.duration.frames_P, frames_P),
        drawn,
        sampler=sampler,
        seed=seed,
        progress=lambda stage: progress(0, 1, stage),
    )
    report(0.9, "decode")
    after = _decoded(models, own, voices.get("timbre", own), frames_P, codes.stacked(), seed)
    return Swapped(
        before=before,
        after=after,
        likeness=_likeness(models, {"recording": own, **voices}, before, after),
        took_seconds=time.perf_counter() - started,
    )


def carry_rhythm(own: Rhythm, other: Rhythm, symbols: Sequence[str]) -> Tensor:
    """`frames_P` of one recording at the pace of another: of vowels, consonants and pauses apart.

    The duration stage is of no use here: on phones that were read off a recording, without word
    boundaries, it gave 2 s where the recording has 5 and hardly heeded the prompt.
    """
    kinds = [_kind(symbol) for symbol in symbols]
    kind_P, other_P = (
        torch.tensor([kinds[phone] for phone in rhythm.phones_P.tolist()])
        for rhythm in (own, other)
    )
    frames_P = own.frames_P.double()
    for kind in range(3):
        mine = _mean_log(own.frames_P, kind_P == kind)
        theirs = _mean_log(other.frames_P, other_P == kind)
        if mine is not None and theirs is not None:
            factor = min(max(math.exp(theirs - mine), 1 / MAX_STRETCH), MAX_STRETCH)
            frames_P[kind_P == kind] *= factor
    return torch.where(own.frames_P > 0, frames_P.round().long().clamp_min(1), 0)


def _kind(symbol: str) -> int:
    """0 for a pause, 1 for a vowel, 2 for a consonant."""
    return 0 if is_boundary(symbol) else 1 if symbol[-1] in STRESSES else 2


def _mean_log(frames_P: Tensor, chosen_P: Tensor) -> float | None:
    """Mean log length of some phones; the silence at the ends of a clip is no pause."""
    inner_P = chosen_P & (frames_P > 0)
    inner_P[0] = inner_P[-1] = False
    return float(frames_P[inner_P].double().log().mean()) if bool(inner_P.any()) else None


def stretch_codes(codes_KF: Tensor, from_P: Tensor, to_P: Tensor) -> Tensor:
    """Codes with phones of other lengths: each new frame is the old one at its place in its phone.

    Phones that lasted no frame must not be given any.
    """
    phone_F = expand(torch.arange(len(to_P)), to_P)
    start_P = torch.cumsum(from_P, 0) - from_P
    inside_F = (places(to_P)[:, 0] * from_P[phone_F]).long()
    return codes_KF[:, start_P[phone_F] + inside_F]


def _voices(
    models: Models, prompts: Mapping[str, Tensor], keep_seconds: float, report: Report
) -> dict[str, Voice]:
    """The voice of the best part of each prompt; equal recordings are read once."""
    if not set(prompts) & set(ATTRIBUTES):
        raise PromptError("There is nothing to swap: give a prompt for at least one attribute.")
    voices: dict[str, Voice] = {}
    for number, (name, wave_T) in enumerate(prompts.items()):
        report(0.2 * number / len(prompts), f"listening to the prompt for {name}")
        twin = next((other for other in voices if prompts[other].equal(wave_T)), None)
        if twin is not None:
            voices[name] = voices[twin]
            continue
        kept = best_part(wave_T, models.tts.sample_rate_hz, keep_seconds)
        try:
            voices[name] = models.tts.voice(kept.prompt)
        except PromptError as error:
            raise PromptError(f"The prompt for {name}: {error}") from error
    return voices


def _decoded(
    models: Models, own: Voice, timbre: Voice, frames_P: Tensor, codes_KF: Tensor, seed: int
) -> Speech:
    """Code streams of a recording in a timbre, marked, as speech with the recording's phones."""
    books = models.codec.quantizer
    parts = torch.split(codes_KF, [books.prosody_books, books.content_books, books.detail_books])
    wave_T = models.codec.decode(
        Codes(prosody_KF=parts[0], content_KF=parts[1], detail_KF=parts[2]),
        timbre.timbre_D,
        generator(derive(seed, "noise")),
    )
    symbols = models.tts.vocabulary.symbols
    return Speech(
        wave_T=embed(wave_T, models.codec.sample_rate_hz, DEFAULT_PAYLOAD),
        sample_rate_hz=models.codec.sample_rate_hz,
        phones=tuple(symbols[index] for index in own.duration.phones_P.tolist()),
        frames=tuple(frames_P.tolist()),
        seed=seed,
        notes=own.notes,
        watermark=DEFAULT_PAYLOAD,
    )


def _likeness(
    models: Models, voices: Mapping[str, Voice], before: Speech, after: Speech
) -> dict[str, tuple[float, float]]:
    """Cosine of timbre vectors of each prompt with both."""
    made = [models.codec.encode(speech.wave_T)[1] for speech in (before, after)]
    likeness = {}
    for name, voice in voices.items():
        first, second = (
            float(torch.cosine_similarity(timbre_D, voice.timbre_D, dim=0)) for timbre_D in made
        )
        likeness[name] = (first, second)
    return likeness
