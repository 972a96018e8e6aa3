"""Training sequences of the generator: a prompt from the same speaker, then a target.

Shapes: B batch, P phones, F frames, K codebooks, N clips.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.data.alignment import Alignment
from speechkit.data.codes import CorpusCodes
from speechkit.data.packed import PackedCorpus
from speechkit.data.split import HELD_OUT_SHARE, split_clips
from speechkit.diffusion.config import GeneratorConfig
from speechkit.diffusion.denoiser import NULL_CODE
from speechkit.diffusion.duration import fit_frames, phone_positions, regulate_length, time_scale
from speechkit.diffusion.phone_prosody import phone_codes, phone_segment
from speechkit.diffusion.stage import Segment, StageBatch, collate, without_phones
from speechkit.text.vocab import DEFAULT_VOCABULARY, PAD, WORD_BOUNDARY, is_boundary

TEMPO_OCTAVES = 0.8
"""Durations are trained at tempos from 2 ** −0.8 to 2 ** 0.8 times the recorded one."""
COMMA_FRAMES, STOP_FRAMES = 6, 20
"""Pauses of at least so many frames (120 and 400 ms) count as a comma and as a full stop where
the text has no mark: little of the training text has any, and commas would learn not to pause."""
MARKED_SHARE = 0.8
"""Share of the clips whose pauses are marked so."""
RECOGNISED_SHARE = 0.6
"""Share of the prompts that have recognised phones, as a prompt without a transcript has."""
PHONE_DROP = 0.12
"""Share of the frame targets that lose their phones, for guidance by what is to be said."""
STRANGE_SHARE = 0.2
"""Share of the duration prompts without prosody codes, as where the prosody is another voice's."""
UNMARKED_SHARE = 0.5
"""Share of the other prompts whose pauses are all plain word boundaries."""


class GeneratorDataset:
    """Draws `StageBatch`es for frames and for durations from an aligned, encoded corpus."""

    def __init__(
        self,
        corpus: PackedCorpus,
        alignment: Alignment,
        codes: CorpusCodes,
        config: GeneratorConfig,
        *,
        prompt_drop: float,
        held_out: float = HELD_OUT_SHARE,
        validation: bool = False,
        prosody_KVC: Tensor | None = None,
    ) -> None:
        """`prosody_KVC` are the generator's own, where it draws the prosody of phones."""
        self.prosody_KVC = prosody_KVC
        self.alignment, self.codes, self.config = alignment, codes, config
        self.prompt_drop, self.phone_drop = prompt_drop, 0.0 if validation else PHONE_DROP
        split_N = split_clips(corpus, validation=validation, held_out=held_out)
        usable_N = (alignment.lengths() > 8) & (codes.lengths() > 0)
        self.clips_N = split_N[usable_N[split_N]]
        if not len(self.clips_N):
            raise DataError("No clip has both an alignment and codes; run align and encode first.")
        samples_N = corpus.samples_N[self.clips_N].astype(np.float64)
        self._speaker_N = corpus.speaker_N
        speaker_N = self._speaker_N[self.clips_N]
        self._by_speaker_N = self.clips_N[np.argsort(speaker_N, kind="stable")]
        clips_S = np.bincount(speaker_N, minlength=len(corpus.speakers))
        self._ends_S = np.cumsum(clips_S)
        """Where the clips of each speaker S end in the row of all clips by speaker."""
        totals_S = np.bincount(speaker_N, weights=samples_N, minlength=len(corpus.speakers))
        weight_N = samples_N / np.sqrt(totals_S[speaker_N]) * corpus.weight_N[self.clips_N]
        self._cumulative_N = torch.from_numpy(np.cumsum(weight_N / weight_N.sum()))
        pauses = [s == PAD or is_boundary(s) for s in DEFAULT_VOCABULARY.symbols]
        self._pause = torch.tensor(pauses)
        self._plain, self._comma, self._stop = DEFAULT_VOCABULARY.ids([WORD_BOUNDARY, ",", "."])

    def frames(self, frames: int, targets: tuple[int, ...], rng: torch.Generator) -> StageBatch:
        """Frame sequences: a prompt of up to `prompt_frames`, then a target of up to as many
        frames as one of `targets`, drawn for the batch; about `frames` frames in all.
        """
        longest = targets[int(torch.randint(len(targets), (), generator=rng))]
        batch = max(1, round(frames / (longest + self.config.prompt_frames)))
        items, timbres = [], []
        for clip in self._clips(batch, rng):
            whole = self.track(clip, self._marked(clip, rng))
            start = _start(whole.frames, longest, rng)
            target = whole.between(start, start + longest)
            if float(torch.rand((), generator=rng)) < self.phone_drop:
                target = without_phones(target)
            items.append((self.prompt(clip, (start, longest), rng), target))
            timbres.append(self.codes.clip(clip).timbre_D)
        return collate(items, self.config.frame.patch, timbres)

    def durations(self, batch: int, target_phones: int, rng: torch.Generator) -> StageBatch:
        """Phone sequences with their durations, capped at the last entry, as codes."""
        items = []
        for clip in self._clips(batch, rng):
            source = self._prompt_clip(clip, rng)
            # One tempo for prompt and target, so that the target learns to follow the prompt's.
            tempo = 2 ** (2 * TEMPO_OCTAVES * (float(torch.rand((), generator=rng)) - 0.5))
            # Nothing of the target's own clip: it would hold the answer.
            prompt = self._duration_prompt(None if source == clip else source, tempo, rng)
            phones_P, frames_P = self._marked(clip, rng), self._lengths(clip)
            start = _start(len(phones_P), target_phones, rng)
            scaled_P = time_scale(frames_P, tempo)
            codes_KP = self._phone_codes(clip, frames_P, scaled_P)
            whole = phone_segment(phones_P, codes_KP)
            items.append((prompt, whole.between(start, start + target_phones)))
        return collate(items, self.config.duration.patch)

    def _clips(self, batch: int, rng: torch.Generator) -> list[int]:
        draws = torch.rand(batch, generator=rng, dtype=torch.float64)
        found_B = torch.searchsorted(self._cumulative_N, draws).clamp_max(len(self.clips_N) - 1)
        return [int(self.clips_N[int(p)]) for p in found_B]

    def _prompt_clip(self, clip: int, rng: torch.Generator) -> int | None:
        """Another clip of the speaker if there is one, none when the prompt is dropped."""
        drop, pick = torch.rand(2, generator=rng).tolist()
        if drop < self.prompt_drop:
            return None
        speaker = int(self._speaker_N[clip])
        first, end = (int(self._ends_S[speaker - 1]) if speaker else 0), int(self._ends_S[speaker])
        return int(self._by_speaker_N[first + int(pick * (end - first))])

    def _marked(self, clip: int, rng: torch.Generator) -> Tensor:
        """Phones of a clip, most of the time with marks where it pauses."""
        phones_P, frames_P = self.alignment.phones(clip), self.alignment.frames(clip)
        if float(torch.rand((), generator=rng)) < MARKED_SHARE:
            return mark_pauses(phones_P, frames_P, self._plain, self._comma, self._stop)
        return phones_P

    def _lengths(self, clip: int) -> Tensor:
        """Durations in frames of the codec, whose rate may not be the alignment's."""
        frames_P, total = self.alignment.frames(clip), self.codes.frames(clip)
        return frames_P if abs(int(frames_P.sum()) - total) <= 1 else fit_frames(frames_P, total)

    def track(self, clip: int, phones_P: Tensor | None = None) -> Segment:
        """A clip, its phones at its frames; other `phones_P` may stand in for its own."""
        frames_P, codes_KF = self._lengths(clip), self.codes.clip(clip).codes_KF
        phones_P = self.alignment.phones(clip) if phones_P is None else phones_P
        whole = Segment(
            phones_N=regulate_length(phones_P, frames_P),
            position_N2=phone_positions(frames_P),
            codes_KN=codes_KF,
        )
        return whole.between(0, min(int(frames_P.sum()), codes_KF.shape[-1]))

    def prompt(self, clip: int, target: tuple[int, int], rng: torch.Generator) -> Segment | None:
        """A prompt for the frames of a clip from `target[0]` on, `target[1]` at most."""
        source = self._prompt_clip(clip, rng)
        if source is None:
            return None
        recognised, unmarked = torch.rand(2, generator=rng).tolist()
        if recognised < RECOGNISED_SHARE:
            found = self.codes.clip(source)
            _, frames_P = torch.unique_consecutive(found.phone_F, return_counts=True)
            whole = Segment(
                phones_N=found.phone_F,
                position_N2=phone_positions(frames_P),
                codes_KN=found.codes_KF,
            )
        else:
            phones_P = self._marked(source, rng)
            if unmarked < UNMARKED_SHARE:
                phones_P = torch.where(self._pause[phones_P], self._plain, phones_P)
            whole = self.track(source, phones_P)
        length = int(torch.randint(50, self.config.prompt_frames + 1, (), generator=rng))
        start = _start(whole.frames, length, rng)
        begin, longest = target
        if source == clip and start + length > begin and start < begin + longest:
            # The prompt must not hold the answer: take what lies before the target, if enough.
            start = begin - length
            if start < 0:
                return None
        return whole.between(start, start + length)

    def _duration_prompt(
        self, clip: int | None, tempo: float, rng: torch.Generator
    ) -> Segment | None:
        if clip is None:
            return None
        if float(torch.rand((), generator=rng)) < RECOGNISED_SHARE:
            phones_P, frames_P = torch.unique_consecutive(
                self.codes.clip(clip).phone_F, return_counts=True
            )
        else:
            phones_P, frames_P = self._marked(clip, rng), self._lengths(clip)
        length = int(torch.randint(15, self.config.prompt_phones + 1, (), generator=rng))
        start = _start(len(phones_P), length, rng)
        codes_KP = self._phone_codes(clip, frames_P, time_scale(frames_P, tempo))
        if self.config.phone_prosody and float(torch.rand((), generator=rng)) < STRANGE_SHARE:
            codes_KP[: self.config.codebooks_of("duration").start] = NULL_CODE
        return phone_segment(phones_P, codes_KP).between(start, start + length)

    def _phone_codes(self, clip: int, frames_P: Tensor, scaled_P: Tensor) -> Tensor:
        """Prosody codes of the phones of a clip as it was spoken, and other durations."""
        codes_KF = self.codes.clip(clip).codes_KF if self.config.phone_prosody else None
        codes_KP = phone_codes(frames_P, self.config, codes_KF, self.prosody_KVC)
        codes_KP[-1] = phone_codes(scaled_P, self.config)[-1]
        return codes_KP


def mark_pauses(phones_P: Tensor, frames_P: Tensor, plain: int, comma: int, stop: int) -> Tensor:
    """`phones_P` with plain word boundaries that pause turned into a comma or a full stop."""
    boundary_P = phones_P == plain
    marked_P = torch.where(boundary_P & (frames_P >= COMMA_FRAMES), comma, phones_P)
    return torch.where(boundary_P & (frames_P >= STOP_FRAMES), stop, marked_P)


def _start(available: int, wanted: int, rng: torch.Generator) -> int:
    return int(torch.randint(max(1, available - wanted + 1), (), generator=rng))
