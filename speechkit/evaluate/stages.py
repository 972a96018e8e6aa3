"""Where synthesis loses words and voice: the same clips with fewer and fewer true codes.

From the recording to `synthesize`, one more part is generated in each system: the codec's loss
first, then that of detail, content, prosody and at last the durations (NS3's stages, backwards).

Legend: T samples at 16 kHz, P phones, K codebooks, F code frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.core.results import Codes, Voice
from speechkit.core.rng import derive, generator
from speechkit.data.align.reader import PhoneReader
from speechkit.diffusion.duration import fit_frames
from speechkit.diffusion.generator import Draws
from speechkit.evaluate.pairs import Pair
from speechkit.evaluate.suites import Speak
from speechkit.tts import ZeroShotTTS

GENERATED: dict[str, tuple[str, ...]] = {
    "true codes": (),
    "detail": ("detail",),
    "content on": ("content", "detail"),
    "prosody on": ("prosody", "content", "detail"),
}
"""What is generated, by system; durations are true in all of these."""
ALL = "all generated"


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """What a recording really holds: codes, phones, durations."""

    codes: Codes
    """Its codes."""
    phones_P: Tensor
    """Phone ids of the synthesiser."""
    frames_P: Tensor
    """Code frames that each phone lasts; they sum to the codes' length."""


def read_truth(tts: ZeroShotTTS, wave_T: Tensor, text: str, reader: PhoneReader) -> Truth | None:
    """Codes, phones and durations by forced alignment; None where the text does not fit."""
    aligned = reader.align(wave_T, text)
    if aligned is None:
        return None
    codes, _ = tts.codec.encode(wave_T)
    return Truth(
        codes=codes,
        phones_P=torch.tensor(tts.vocabulary.ids(aligned.phones)),
        frames_P=fit_frames(aligned.frames_P, codes.frames),
    )


def regenerate(
    tts: ZeroShotTTS,
    truth: Truth,
    voice: Voice,
    stages: Sequence[str],
    *,
    seed: int,
    steps: int | None = None,
) -> Tensor:
    """`wave_T` of a recording's codes in a voice, the codes of `stages` generated anew.

    Example: ``regenerate(tts, truth, tts.voice("prompt.wav"), ("detail",), seed=0)``.
    """
    with tts.number_format():
        codes = tts.generator.fill(
            truth.phones_P,
            truth.frames_P,
            truth.codes.stacked(),
            {stage: getattr(voice, stage) for stage in stages},
            voice.timbre_D,
            Draws(sampler=tts.sampling(steps), seeds=(seed,)),
        )
    return tts.codec.decode(codes, voice.timbre_D, generator(derive(seed, "noise"))).cpu()


def stage_systems(
    tts: ZeroShotTTS, reader: PhoneReader, pairs: Sequence[Pair], steps: int | None = None
) -> tuple[dict[str, Speak], list[Pair]]:
    """Systems from all codes true to none, and the pairs whose text could be aligned."""
    truths: dict[str, Truth] = {}
    for pair in pairs:
        truth = read_truth(tts, pair.target_T, pair.text, reader)
        if truth is not None:
            truths[pair.id] = truth
    voices = {pair.prompt_id: tts.voice(pair.prompt_T) for pair in pairs}

    def system(stages: tuple[str, ...]) -> Speak:
        return lambda pair, seed: regenerate(
            tts, truths[pair.id], voices[pair.prompt_id], stages, seed=seed, steps=steps
        )

    systems = {name: system(stages) for name, stages in GENERATED.items()}
    systems[ALL] = lambda pair, seed: (
        tts.synthesize(
            pair.text, voices[pair.prompt_id], seed=seed, steps=steps, candidates=1
        ).wave_T
    )
    return systems, [pair for pair in pairs if pair.id in truths]
