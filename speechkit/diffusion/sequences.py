"""Training sequences of the generator: a prompt from the same speaker, then a target.

Shapes: B batch, L positions, P phones, F frames, K code books, N clips.
"""

from __future__ import annotations

from collections import defaultdict

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
from speechkit.diffusion.duration import regulate_length, time_scale, within_phone_positions
from speechkit.diffusion.stage import SEPARATOR, StageBatch
from speechkit.text.vocab import DEFAULT_VOCABULARY, PAD, WORD_BOUNDARY, is_boundary

TEMPO_OCTAVES = 0.8
"""Durations are trained at tempos from 2 ** −0.8 to 2 ** 0.8 times the recorded one."""


class Sequences:
    """Draws `StageBatch`es for frames and for durations from an aligned, encoded corpus."""

    def __init__(
        self,
        corpus: PackedCorpus,
        alignment: Alignment,
        codes: CorpusCodes,
        config: GeneratorConfig,
        *,
        target_frames: int,
        prompt_drop: float,
        held_out: float = HELD_OUT_SHARE,
        validation: bool = False,
    ) -> None:
        self.alignment, self.codes, self.config = alignment, codes, config
        self.target_frames, self.prompt_drop = target_frames, prompt_drop
        usable = [
            int(n)
            for n in split_clips(corpus, validation=validation, held_out=held_out)
            if alignment.has(int(n)) and codes.has(int(n)) and len(alignment.phones(int(n))) > 8
        ]
        if not usable:
            raise DataError("No clip has both an alignment and codes; run align and encode first.")
        self.clips_N = np.array(usable)
        self._speaker = {n: corpus.speaker(n) for n in usable}
        self._of_speaker: dict[int, list[int]] = defaultdict(list)
        for n in usable:
            self._of_speaker[self._speaker[n]].append(n)
        samples = np.array([corpus.samples(n) for n in usable], dtype=np.float64)
        totals = {s: sum(corpus.samples(n) for n in ns) for s, ns in self._of_speaker.items()}
        weight = samples / np.sqrt([totals[self._speaker[n]] for n in usable])
        self._cumulative_N = torch.from_numpy(np.cumsum(weight / weight.sum()))
        symbols = DEFAULT_VOCABULARY.symbols
        pauses = [s == PAD or is_boundary(s) for s in symbols]
        self._pause = torch.tensor(pauses)
        self._plain_pause = DEFAULT_VOCABULARY.ids([WORD_BOUNDARY])[0]

    def frames(self, batch: int, rng: torch.Generator) -> StageBatch:
        """Frame sequences: a prompt of up to `prompt_frames`, then up to `target_frames`."""
        items = []
        for clip in self._clips(batch, rng):
            prompt = self._prompt_clip(clip, rng)
            phones_F, place_F2, codes_KF = self._frame_track(clip)
            start = _start(len(phones_F), self.target_frames, rng)
            span = slice(start, start + self.target_frames)
            target = (phones_F[span], place_F2[span], codes_KF[:, span])
            items.append((self._frame_prompt(prompt, clip, start, rng), target))
        return collate(items, self.config.prompt_frames, self.target_frames)

    def durations(self, batch: int, rng: torch.Generator, target_phones: int) -> StageBatch:
        """Phone sequences with their durations, capped at the last entry, as codes."""
        items = []
        for clip in self._clips(batch, rng):
            source = self._prompt_clip(clip, rng)
            # One tempo for prompt and target, so that the target learns to follow the prompt's.
            tempo = 2 ** (2 * TEMPO_OCTAVES * (float(torch.rand((), generator=rng)) - 0.5))
            # Nothing of the target's own clip: it would hold the answer.
            prompt = self._duration_prompt(None if source == clip else source, tempo, rng)
            phones_P, frames_P = self._phone_track(clip)
            start = _start(len(phones_P), target_phones, rng)
            target = self._duration_stretch(
                phones_P, time_scale(frames_P, tempo), start, target_phones
            )
            items.append((prompt, target))
        return collate(items, self.config.prompt_phones, target_phones)

    def _clips(self, batch: int, rng: torch.Generator) -> list[int]:
        draws = torch.rand(batch, generator=rng, dtype=torch.float64)
        places_B = torch.searchsorted(self._cumulative_N, draws).clamp_max(len(self.clips_N) - 1)
        return [int(self.clips_N[int(p)]) for p in places_B]

    def _prompt_clip(self, clip: int, rng: torch.Generator) -> int | None:
        """Another clip of the speaker if there is one, none when the prompt is dropped."""
        drop, pick = torch.rand(2, generator=rng).tolist()
        if drop < self.prompt_drop:
            return None
        others = self._of_speaker[self._speaker[clip]]
        return others[int(pick * len(others))]

    def _phone_track(self, clip: int) -> tuple[Tensor, Tensor]:
        return self.alignment.phones(clip).long(), self.alignment.frames(clip).long()

    def _frame_track(self, clip: int) -> tuple[Tensor, Tensor, Tensor]:
        phones_P, frames_P = self._phone_track(clip)
        codes_KF = self.codes.codes(clip)
        length = min(int(frames_P.sum()), codes_KF.shape[-1])
        phones_F, place_F2 = regulate_length(phones_P, frames_P), within_phone_positions(frames_P)
        return phones_F[:length], place_F2[:length], codes_KF[:, :length]

    def _frame_prompt(
        self, clip: int | None, target_clip: int, target_start: int, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        if clip is None:
            return None
        phones_F, place_F2, codes_KF = self._frame_track(clip)
        length = int(torch.randint(50, self.config.prompt_frames + 1, (), generator=rng))
        start = _start(len(phones_F), length, rng)
        inside = clip == target_clip and start + length > target_start
        if inside and start < target_start + self.target_frames:
            # The prompt must not hold the answer: take what lies before the target, if enough.
            start = target_start - length
            if start < 0:
                return None
        span = slice(start, start + length)
        phones_F = phones_F[span]
        if float(torch.rand((), generator=rng)) < 0.5:
            phones_F = torch.where(self._pause[phones_F], self._plain_pause, phones_F)
        return phones_F, place_F2[span], codes_KF[:, span]

    def _duration_prompt(
        self, clip: int | None, tempo: float, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        if clip is None:
            return None
        phones_P, frames_P = self._phone_track(clip)
        frames_P = time_scale(frames_P, tempo)
        if float(torch.rand((), generator=rng)) < 0.7:
            # As read off a prompt without a transcript: no empty boundaries, one kind of pause.
            kept = frames_P > 0
            phones_P, frames_P = phones_P[kept], frames_P[kept]
            phones_P = torch.where(self._pause[phones_P], self._plain_pause, phones_P)
        length = int(torch.randint(15, self.config.prompt_phones + 1, (), generator=rng))
        start = _start(len(phones_P), length, rng)
        return self._duration_stretch(phones_P, frames_P, start, length)

    def _duration_stretch(
        self, phones_P: Tensor, frames_P: Tensor, start: int, length: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        span = slice(start, start + length)
        longest = self.config.duration.codebook_size - 1
        phones = phones_P[span]
        return phones, torch.zeros(len(phones), 2), frames_P[None, span].clamp_max(longest)


def collate(
    items: list[tuple[tuple[Tensor, Tensor, Tensor] | None, tuple[Tensor, Tensor, Tensor]]],
    prompt_room: int,
    target_room: int,
) -> StageBatch:
    """Prompts end where the separator begins, targets start after it; the rest is padding."""
    begin = prompt_room + SEPARATOR
    length = begin + target_room
    books = items[0][1][2].shape[0]
    phones_BL = torch.zeros(len(items), length, dtype=torch.long)
    place_BL2 = torch.zeros(len(items), length, 2)
    codes_BKL = torch.full((len(items), books, length), NULL_CODE)
    keep_BL = torch.zeros(len(items), length, dtype=torch.bool)
    for row, (prompt, target) in enumerate(items):
        parts = [(target, begin)]
        if prompt is not None:
            parts.append((prompt, prompt_room - len(prompt[0])))
        for (phones, place, codes), at in parts:
            span = slice(at, at + len(phones))
            phones_BL[row, span], place_BL2[row, span] = phones, place
            codes_BKL[row, :, span] = codes
            keep_BL[row, span] = True
    prompt_BL = (torch.arange(length) < prompt_room)[None].expand(len(items), -1)
    return StageBatch(
        phones_BL=phones_BL,
        place_BL2=place_BL2,
        codes_BKL=codes_BKL,
        prompt_BL=prompt_BL.contiguous(),
        keep_BL=keep_BL,
    )


def _start(available: int, wanted: int, rng: torch.Generator) -> int:
    return int(torch.randint(max(1, available - wanted + 1), (), generator=rng))
