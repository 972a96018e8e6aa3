"""A piece of speech in parts that grow, so that its first sound comes soon.

Durations are drawn for the whole piece. Its codes are drawn a part at a
time, and each part sees the codes right before it as frames that are known already, so the voice
goes on where it was: there is no silence between two parts, wherever they are cut. A part is drawn
and decoded a little further than it reaches, because the last frames of a sequence know least of
what follows; the next part draws those frames again, and its sound is faded in over them.

Shapes: P phones, F frames, T samples, K codebooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from speechkit.core.rng import derive, generator
from speechkit.diffusion.config import SamplerConfig
from speechkit.diffusion.generator import Draws
from speechkit.facodec.stream import GrowingDecoder
from speechkit.pieces import Piece, Spoken, level_gain
from speechkit.takes import Speaker, draw_timings

FIRST_SECONDS = 0.9
"""Longest first part; each one after it is twice as long, for it is made while that one plays."""

FIRST_STEPS = 3
"""Passes of its prosody stage, at most, from which those of the others follow: one fewer for each
than usual, which a second of speech hardly misses."""

AHEAD_SECONDS = 0.16
"""How much further a part is drawn and decoded than it reaches."""

BEFORE_SECONDS = 1.0
"""What a part sees of those before it."""

SHORTEST_PROMPT_SECONDS = 1.0
"""Prompt of the first part: longer ones take longer, and the generator trained with prompts of 1 s
and more."""

LATER_PROMPT_SECONDS = 2.0
"""Prompts of the parts after it, for which there is time, are as long as the part, but for this."""


def speak_piece(
    tts: Speaker,
    piece: Piece,
    sampler: SamplerConfig,
    begin: Callable[[str], None] = lambda stage: None,
    *,
    soon: bool,
) -> Iterator[Spoken]:
    """A piece as speech, with `soon` in parts; `begin` is called with each stage that begins."""
    if soon:
        yield from _in_parts(tts, piece, sampler, begin)
    else:
        yield from tts.speak([piece], sampler, begin)


def _in_parts(
    tts: Speaker, piece: Piece, sampler: SamplerConfig, begin: Callable[[str], None]
) -> Iterator[Spoken]:
    """One piece, part by part."""
    stages, second = tts.generator, 1 / tts.frame_seconds
    draws = Draws(sampler=sampler, seeds=(piece.seed,), begin=begin)
    quick = sampler.with_steps(min(FIRST_STEPS, sampler.prosody.steps))
    (timing,) = draw_timings(tts, [piece], draws)
    frames_P = timing.frames_P
    whole = stages.regulate(timing.phones_P, frames_P)
    noise = generator(derive(piece.seed, "noise"), tts.device)
    decoder = GrowingDecoder(tts.codec, piece.voice.timbre_D, noise)
    level = _Level()
    start = 0
    for number, part in enumerate(parts_of(frames_P, round(FIRST_SECONDS * second))):
        frames = frames_P[part]
        end = start + int(frames.sum())
        last = part.stop == len(frames_P)
        ahead = whole.frames if last else min(end + round(AHEAD_SECONDS * second), whole.frames)
        low = max(0, start - round(BEFORE_SECONDS * second))
        seed = piece.seed if number == 0 else derive(piece.seed, "part", number)
        seconds = LATER_PROMPT_SECONDS if number else SHORTEST_PROMPT_SECONDS
        shortest = round(seconds * second)
        (drawn,) = tts.draw_frames(
            [whole.between(low, ahead)],
            [piece.voice],
            Draws(
                sampler=sampler if number else quick,
                seeds=(seed,),
                begin=begin,
                prompt_frames=max(shortest, ahead - start),
            ),
        )
        begin("decode")
        # Codes ahead are for this part alone: the next one draws them again.
        whole.codes_KN[:, start:end] = drawn.codes_KN[:, start - low : end - low]
        heard_KF = torch.cat([whole.codes_KN[:, :end], drawn.codes_KN[:, end - low :]], dim=1)
        codes = stages.codes_of(replace(whole, codes_KN=heard_KF))
        yield Spoken(
            wave_T=level(decoder.push(codes, end)),
            phones=piece.phones[part],
            frames=tuple(frames.tolist()),
        )
        start = end


def parts_of(frames_P: Tensor, first: int) -> list[slice]:
    """Phones in parts: the first lasts up to `first` frames, each after it up to twice as many as
    the one before, but one phone that sounds at least; no short rest at the end."""
    ends = frames_P.cumsum(0).tolist()
    parts, start, at, size = [], 0, 0, first
    while ends[-1] - at > 1.5 * size:
        sounding = sum(end <= at for end in ends) + 1
        stop = max(sounding, sum(end <= at + size for end in ends))
        if ends[stop - 1] == ends[-1]:
            break
        parts.append(slice(start, stop))
        start, at, size = stop, ends[stop - 1], 2 * size
    return [*parts, slice(start, len(ends))]


class _Level:
    """Brings parts of a piece to the level of speech, with no step where they meet."""

    def __init__(self) -> None:
        self._heard_T = torch.zeros(0)
        self._gain: float | None = None

    def __call__(self, wave_T: Tensor) -> Tensor:
        """The part at the level that all parts so far have together; the gain moves slowly."""
        self._heard_T = torch.cat([self._heard_T, wave_T])
        gain = level_gain(self._heard_T)
        before = gain if self._gain is None else self._gain
        self._gain = gain
        return (wave_T * torch.linspace(before, gain, len(wave_T))).clamp(-1, 1)
