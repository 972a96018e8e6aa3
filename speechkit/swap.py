"""Factor swap of a recording: its own factors, or those of other voices, without any text.

The recording is read as codes with phones on them. A factor without another voice keeps its codes,
stretched phone by phone where the durations change; prosody, content or detail of another voice are
drawn anew by their stages, with that voice as prompt; the timbre is that of the vector to decode
with; the rhythm is carried over. With a text in place of a recording, see `ZeroShotTTS.swap`.

Shapes: T samples, F frames, P phones, K codebooks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from speechkit.core.prompt import Prompt, prepare_prompt, read_prompt
from speechkit.core.results import DurationPrompt, Speech, Voice
from speechkit.core.rng import derive, generator
from speechkit.diffusion.duration import phone_positions, regulate_length, time_scale
from speechkit.diffusion.generator import Draws
from speechkit.pieces import Clock, Progress, at_level
from speechkit.text.vocab import STRESSES, is_boundary
from speechkit.tts import ZeroShotTTS
from speechkit.watermark import Watermark, apply_watermark

FACTORS = ("timbre", "prosody", "duration", "content", "detail")

MAX_SECONDS = 30.0
"""Longest recording: it goes through the stages in one piece. Of a longer one 30 s are used."""

MAX_TIME_SCALE = 3.0
"""Most that a rhythm makes phones longer or shorter."""


@torch.no_grad()
def swap_recording(
    tts: ZeroShotTTS,
    source: str | Path | Tensor | Voice,
    *,
    timbre: Voice | None = None,
    prosody: Voice | None = None,
    duration: Voice | None = None,
    content: Voice | None = None,
    detail: Voice | None = None,
    seed: int = 0,
    speed: float = 1.0,
    steps: int | None = None,
    watermark: Watermark | None = Watermark(),  # noqa: B008 (frozen)
    progress: Progress | None = None,
) -> Speech:
    """A recording with some of its factors from other voices; no text is needed.

    Example::

        tts = ZeroShotTTS.from_pretrained()
        speech = swap_recording(tts, "me.wav", timbre=tts.voice("her.wav"))

    Args:
        tts: codec and generator.
        source: an audio file, a wave `[T]` at `tts.sample_rate_hz`, or its `tts.voice`; 1 to 30 s.
        timbre: whose voice it gets; None, here and below, keeps what the recording has.
        prosody: whose F0 contour, drawn anew on the phones of the recording.
        duration: whose rhythm: the pace of vowels, consonants and pauses, see `carry_rhythm`.
        content: whose pronunciation.
        detail: whose acoustic detail.
        seed: all draws follow from it.
        speed: speaking rate, 0.25 to 4.
        steps: passes of the prosody stage, from which the others follow, 1 to 64.
        watermark: the watermark of synthetic speech; None leaves it out.
        progress: called as that of `ZeroShotTTS.synthesize`.

    Returns the speech with the phones that were recognised in the recording; without another voice
    it is the recording through the codec. Raises AudioError for a file that cannot be read,
    PromptError for a recording that is silent or too short, ConfigError for a bad speed or steps.
    """
    sampler = tts.sampling(steps)
    time_scale(torch.ones(1, dtype=torch.long), speed)  # raises before anything expensive
    clock = Clock()
    clock.enter("read")
    begin = clock.telling(progress, 0, 1)
    own = source if isinstance(source, Voice) else tts.voice(_prepared(tts, source))
    symbols = tts.vocabulary.symbols
    phones_P, frames_P = own.duration.phones_P, own.duration.frames_P
    if duration is not None:
        frames_P = carry_rhythm(own.duration, duration.duration, symbols)
    frames_P = time_scale(frames_P, speed)
    voices = {"prosody": prosody, "content": content, "detail": detail}
    with tts.number_format():
        codes = tts.generator.fill(
            phones_P,
            frames_P,
            time_scale_codes(own.content.codes_KF, own.duration.frames_P, frames_P),
            {name: getattr(voice, name) for name, voice in voices.items() if voice is not None},
            (timbre or own).timbre_D,
            Draws(sampler=sampler, seeds=(seed,), begin=begin),
        )
    codes = replace(codes, phone_F=None)  # recognised, not read: not to be relied on
    begin("decode")
    rng = generator(derive(seed, "noise"), tts.device)
    wave_T = tts.codec.decode(codes, (timbre or own).timbre_D, rng).cpu()
    begin("watermark")
    watermarked = apply_watermark(at_level(wave_T), tts.sample_rate_hz, watermark)
    clock.enter("")
    given = (own, timbre, duration, *voices.values())
    notes = dict.fromkeys(note for voice in given if voice for note in voice.notes)
    return Speech(
        wave_T=watermarked.wave_T,
        sample_rate_hz=tts.sample_rate_hz,
        phones=tuple(symbols[index] for index in phones_P.tolist()),
        frames=tuple(frames_P.tolist()),
        seed=seed,
        stages_seconds=clock.seconds,
        notes=(*notes, *watermarked.notes),
        watermark=watermarked.payload,
    )


def _prepared(tts: ZeroShotTTS, source: str | Path | Tensor) -> Prompt:
    """A recording made ready with its own pauses."""
    if isinstance(source, Tensor):
        return prepare_prompt(source, tts.sample_rate_hz, keep_pauses=True)
    return read_prompt(source, tts.sample_rate_hz, keep_pauses=True)


def carry_rhythm(own: DurationPrompt, other: DurationPrompt, symbols: Sequence[str]) -> Tensor:
    """`frames_P` of one recording at the pace of another: of vowels, consonants and pauses apart.

    The duration stage is of no use here: on phones that were recognised in a recording, without
    word boundaries, it gave 2 s where the recording has 5 and hardly heeded the prompt.
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
            factor = min(max(math.exp(theirs - mine), 1 / MAX_TIME_SCALE), MAX_TIME_SCALE)
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


def time_scale_codes(codes_KF: Tensor, from_P: Tensor, to_P: Tensor) -> Tensor:
    """Codes with phones of other lengths: each new frame is the old one at its place in its phone.

    Phones that lasted no frame must not be given any.
    """
    phone_F = regulate_length(torch.arange(len(to_P)), to_P)
    start_P = torch.cumsum(from_P, 0) - from_P
    inside_F = (phone_positions(to_P)[:, 0] * from_P[phone_F]).long()
    return codes_KF[:, start_P[phone_F] + inside_F]
