"""One take of a piece after another, until every word of it is clear.

A take is heard by the bundled aligner, word by word. Words that it does not hear clearly are drawn
again, how long they last too, while the rest of the piece stays as it is: the stages fill what is
masked to fit what is not, as masked generators do (MaskGIT, Chang et al. 2022, §3.3). Of each word
the clearer try is kept. Candidates chosen by a model that hears them: after Betker 2023,
"TorToiSe", §3.3, where they are whole utterances; here two tries of single words bring more than
three of whole pieces.

Shapes: P phones, W words, N frames, K codebooks, T samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from speechkit.core.results import Voice
from speechkit.core.rng import derive, generator
from speechkit.diffusion.config import SamplerConfig
from speechkit.diffusion.denoiser import NULL_CODE
from speechkit.diffusion.duration import time_scale
from speechkit.diffusion.generator import Draws, Generator
from speechkit.diffusion.limits import bound_durations
from speechkit.diffusion.stage import Segment
from speechkit.facodec.codec import Codec
from speechkit.facodec.recognition import bundled_reader
from speechkit.pieces import Piece, Spoken, at_level, stacked, with_edges, words_of
from speechkit.text import is_boundary

NOTHING_HEARD = -20.0
"""Clarity of phones that do not fit into what was spoken: far below any that do."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Timing:
    """How long the phones of a piece last."""

    phones_P: Tensor
    """Phone ids."""

    natural_P: Tensor
    """Frames at the voice's own pace, as the duration stage draws them."""

    frames_P: Tensor
    """Frames that are spoken: at the pace that was asked for, with silence at both ends."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Take:
    """A piece, drawn and decoded."""

    piece: Piece
    timing: Timing

    target: Segment
    """Its codes."""

    wave_T: Tensor
    """Its sound, at its level."""

    @property
    def spoken(self) -> Spoken:
        """What is heard of it."""
        frames = tuple(self.timing.frames_P.tolist())
        return Spoken(wave_T=self.wave_T, phones=self.piece.phones, frames=frames)


@dataclass(frozen=True, kw_only=True, eq=False)
class Again:
    """A take of which some phones are drawn again."""

    take: Take

    heard_P: Tensor
    """How clear it is."""

    open_P: Tensor
    """True for those phones."""


class Speaker(Protocol):
    """What speaks: `ZeroShotTTS`."""

    codec: Codec
    generator: Generator

    @property
    def device(self) -> torch.device:
        """Where its models are."""

    @property
    def frame_seconds(self) -> float:
        """How long a frame lasts."""

    def number_format(self) -> AbstractContextManager[object]:
        """The context in which the generator computes."""

    def phone_ids(self, phones: Sequence[str]) -> Tensor:
        """`phones_P` of phone symbols."""

    def speak(
        self, pieces: Sequence[Piece], sampler: SamplerConfig, begin: Callable[[str], None]
    ) -> list[Spoken]:
        """Pieces as speech, each whole."""

    def draw_frames(
        self, targets: Sequence[Segment], voices: Sequence[Voice], draws: Draws
    ) -> list[Segment]:
        """Targets with the codes of all frame stages."""


def draw_timings(
    tts: Speaker,
    pieces: Sequence[Piece],
    draws: Draws,
    again: Sequence[Again] | None = None,
) -> list[Timing]:
    """What the duration stage gives pieces, within the limits of speech; of takes to be spoken
    `again` the open phones alone are drawn, to fit the others, which stay.

    Where some phones stay, the limits hold for the phones that are drawn as if all had been.
    """
    stages = tts.generator
    phones = [tts.phone_ids(piece.phones) for piece in pieces]
    known = None
    if again is not None:
        known = [
            torch.where(one.open_P, NULL_CODE, one.take.timing.natural_P.cpu()) for one in again
        ]
    with tts.number_format():
        drawn = stages.draw_durations(phones, [piece.voice for piece in pieces], draws, known)
    timings = []
    for number, (piece, phones_P, natural_P) in enumerate(zip(pieces, phones, drawn, strict=True)):
        natural_P = bound_durations(natural_P, stages.pauses(phones_P), tts.frame_seconds)
        frames_P = with_edges(time_scale(natural_P, piece.speed))
        if again is not None:
            before, open_P = again[number].take.timing, again[number].open_P.to(natural_P.device)
            natural_P = torch.where(open_P, natural_P, before.natural_P)
            frames_P = torch.where(open_P, frames_P, before.frames_P)
        timings.append(Timing(phones_P=phones_P, natural_P=natural_P, frames_P=frames_P))
    return timings


@torch.no_grad()
def speak_until_clear(
    tts: Speaker, pieces: Sequence[Piece], sampler: SamplerConfig, begin: Callable[[str], None]
) -> list[Spoken]:
    """Each piece as speech. Words below `sampler.clear_enough` are drawn again, and the clearer try
    of each is kept, until there are none or the piece was drawn `sampler.candidates` times.

    `begin` is called with each stage that begins. A piece is spoken alike alone and in a batch.
    """
    takes = _draw(tts, pieces, sampler, begin)
    if sampler.candidates == 1:
        return [take.spoken for take in takes]
    begin("choose")
    heard = [clarity(take.spoken) for take in takes]
    for number in range(1, sampler.candidates):
        again: dict[int, Again] = {}
        for place, (take, heard_P) in enumerate(zip(takes, heard, strict=True)):
            open_P = unclear(heard_P, take.piece.phones, sampler.clear_enough)
            if open_P.any():
                again[place] = Again(take=take, heard_P=heard_P, open_P=open_P)
        if not again:
            break
        found = _once_more(tts, list(again.values()), number, sampler, begin)
        for place, (take, heard_P) in zip(again, found, strict=True):
            takes[place], heard[place] = take, heard_P
    return [take.spoken for take in takes]


def _once_more(
    tts: Speaker,
    again: Sequence[Again],
    number: int,
    sampler: SamplerConfig,
    begin: Callable[[str], None],
) -> list[tuple[Take, Tensor]]:
    """The clearest that can be made of each take and of draw number `number` of its open words, and
    how clear it is: the one, the other, or the clearer words of both."""
    pieces = [one.take.piece.candidate(number) for one in again]
    quick = sampler.with_steps(min(sampler.again_steps, sampler.prosody.steps))
    tried = _draw(tts, pieces, quick, begin, again)
    begin("choose")
    options = [[(one.take, one.heard_P)] for one in again]
    mixed: dict[int, tuple[Timing, Segment]] = {}
    for place, (one, take) in enumerate(zip(again, tried, strict=True)):
        heard_P = clarity(take.spoken)
        options[place].append((take, heard_P))
        better_P = clearer(heard_P, one)
        if better_P.any() and not torch.equal(better_P, one.open_P):
            mixed[place] = _mixed(tts, one.take, take, better_P)
    if mixed:
        own = [again[place].take.piece for place in mixed]
        timings, targets = zip(*mixed.values(), strict=True)
        joined = _decode(tts, own, timings, targets, begin)
        begin("choose")
        for place, take in zip(mixed, joined, strict=True):
            options[place].append((take, clarity(take.spoken)))
    return [max(some, key=lambda one: float(one[1].nanmean())) for some in options]


def clarity(spoken: Spoken) -> Tensor:
    """`heard_P`: how well the bundled aligner hears each phone of a piece, its log-probability
    where the aligner finds it; NaN for silence."""
    heard_P = bundled_reader().clarity(spoken.wave_T, spoken.phones)
    if heard_P is None:
        pauses = torch.tensor([is_boundary(phone) for phone in spoken.phones])
        return torch.where(pauses, torch.nan, NOTHING_HEARD)
    return heard_P


def unclear(heard_P: Tensor, phones: Sequence[str], limit: float) -> Tensor:
    """`open_P`, true for the phones of words whose mean clarity is below the limit."""
    open_P = torch.zeros(len(heard_P), dtype=torch.bool)
    for word in words_of(phones):
        open_P[word] = bool(heard_P[word].nanmean() < limit)
    return open_P


def clearer(heard_P: Tensor, before: Again) -> Tensor:
    """`better_P`, true for the phones of open words that are clearer now than they were."""
    better_P = torch.zeros_like(before.open_P)
    for word in words_of(before.take.piece.phones):
        better = bool(heard_P[word].nanmean() > before.heard_P[word].nanmean())
        better_P[word] = before.open_P[word] & better
    return better_P


def _draw(
    tts: Speaker,
    pieces: Sequence[Piece],
    sampler: SamplerConfig,
    begin: Callable[[str], None],
    again: Sequence[Again] | None = None,
) -> list[Take]:
    """The spine: phones in a voice to speech, for a batch of pieces; of takes to be spoken `again`
    the open phones alone are drawn."""
    draws = Draws(sampler=sampler, seeds=tuple(piece.seed for piece in pieces), begin=begin)
    timings = draw_timings(tts, pieces, draws, again)
    targets = [tts.generator.regulate(timing.phones_P, timing.frames_P) for timing in timings]
    if again is not None:
        targets = [
            replace(target, codes_KN=_spliced(one.take, timing, target, one.open_P))
            for one, timing, target in zip(again, timings, targets, strict=True)
        ]
    targets = tts.draw_frames(targets, [piece.voice for piece in pieces], draws)
    return _decode(tts, pieces, timings, targets, begin)


def _decode(
    tts: Speaker,
    pieces: Sequence[Piece],
    timings: Sequence[Timing],
    targets: Sequence[Segment],
    begin: Callable[[str], None],
) -> list[Take]:
    begin("decode")
    codes = [tts.generator.codes_of(target) for target in targets]
    noises = [generator(derive(piece.seed, "noise"), tts.device) for piece in pieces]
    timbre_BD = stacked([piece.voice.timbre_D for piece in pieces])
    waves = tts.codec.decode_batch(codes, timbre_BD, noises)
    return [
        Take(piece=piece, timing=timing, target=target, wave_T=at_level(wave_T.cpu()))
        for piece, timing, target, wave_T in zip(pieces, timings, targets, waves, strict=True)
    ]


def _mixed(tts: Speaker, ours: Take, theirs: Take, from_P: Tensor) -> tuple[Timing, Segment]:
    """A take with the phones `from_P` of another one: how long they last, and their codes."""
    one, other = ours.timing, theirs.timing
    on_device_P = from_P.to(one.frames_P.device)
    timing = replace(
        one,
        natural_P=torch.where(on_device_P, other.natural_P, one.natural_P),
        frames_P=torch.where(on_device_P, other.frames_P, one.frames_P),
    )
    target = tts.generator.regulate(timing.phones_P, timing.frames_P)
    codes_KN = _spliced(ours, other, theirs.target, from_P)
    return timing, replace(target, codes_KN=codes_KN)


def _spliced(ours: Take, timing: Timing, theirs: Segment, from_P: Tensor) -> Tensor:
    """`codes_KN` of a take, but for the phones `from_P` those of `theirs`, timed as `timing`."""
    runs = zip(
        torch.split(ours.target.codes_KN, ours.timing.frames_P.tolist(), dim=1),
        torch.split(theirs.codes_KN, timing.frames_P.tolist(), dim=1),
        from_P.tolist(),
        strict=True,
    )
    return torch.cat([other if taken else one for one, other, taken in runs], dim=1)
