"""Training sequences: prompts of the same speaker that never hold the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.rng import generator
from speechkit.data.alignment import Alignment, sidecar_path, write_alignment
from speechkit.diffusion.denoiser import NULL_CODE
from speechkit.diffusion.duration import regulate_length, within_phone_positions
from speechkit.diffusion.sequences import Sequences, collate
from speechkit.diffusion.stage import SEPARATOR, StageBatch
from speechkit.text import DEFAULT_VOCABULARY
from tests.diffusion.builders import SMALL
from tests.facodec.builders import BOOKS, TinyData, tiny_data

TARGET_FRAMES = 50


def sequences(data: TinyData, prompt_drop: float = 0.0, target_frames: int = 50) -> Sequences:
    return Sequences(
        data.corpus, data.alignment, data.codes, SMALL,
        target_frames=target_frames, prompt_drop=prompt_drop, held_out=0.25,
    )  # fmt: skip


def found(part_KN: Tensor, whole_KF: Tensor) -> list[int]:
    """Where the part stands in the whole."""
    size = part_KN.shape[-1]
    return [
        start
        for start in range(whole_KF.shape[-1] - size + 1)
        if torch.equal(whole_KF[:, start : start + size], part_KN)
    ]


def sides(batch: StageBatch, row: int) -> tuple[Tensor, Tensor]:
    """Masks of the prompt's and the target's real positions."""
    keep_L, prompt_L = batch.keep_BL[row], batch.prompt_BL[row]
    return keep_L & prompt_L, keep_L & ~prompt_L


def test_frames_are_prompt_and_target_of_one_speaker_apart(data: TinyData) -> None:
    batch = sequences(data).frames(24, generator(0))
    begin = SMALL.prompt_frames + SEPARATOR
    assert batch.phones_BL.shape == (24, begin + TARGET_FRAMES)
    assert not bool(batch.keep_BL[:, SMALL.prompt_frames : begin].any())
    tracks = [data.codes.codes(n) for n in range(len(data.corpus))]
    for row in range(24):
        prompt_L, target_L = sides(batch, row)
        places_of = []
        for side_L in (prompt_L, target_L):
            part_KN = batch.codes_BKL[row][:, side_L]
            spots = [(n, at) for n, track in enumerate(tracks) for at in found(part_KN, track)]
            places_of.append([(n, at, at + part_KN.shape[-1]) for n, at in spots])
        prompts, targets = places_of
        assert targets
        if not bool(prompt_L.any()):
            continue
        speakers = [{data.corpus.speaker(n) for n, *_ in spots} for spots in (prompts, targets)]
        assert speakers[0] & speakers[1]
        # The prompt must not hold the answer.
        assert any(
            p != t or p_end <= t_start or t_end <= p_start
            for p, p_start, p_end in prompts
            for t, t_start, t_end in targets
        )


def test_frame_targets_carry_their_phones_and_places(data: TinyData) -> None:
    batch = sequences(data, prompt_drop=1.0, target_frames=400).frames(6, generator(0))
    for row in range(6):
        prompt_L, target_L = sides(batch, row)
        assert not bool(prompt_L.any())
        (clip,) = (
            n
            for n in range(len(data.corpus))
            if torch.equal(data.codes.codes(n), batch.codes_BKL[row][:, target_L])
        )
        phones_P, frames_P = data.alignment.phones(clip), data.alignment.frames(clip)
        assert torch.equal(batch.phones_BL[row][target_L], regulate_length(phones_P, frames_P))
        assert torch.equal(batch.place_BL2[row][target_L], within_phone_positions(frames_P))


def test_batches_follow_the_generator(data: TinyData) -> None:
    drawn = sequences(data, prompt_drop=0.3)
    draws: list[Callable[[torch.Generator], StageBatch]] = [
        lambda rng: drawn.frames(5, rng),
        lambda rng: drawn.durations(5, rng, 20),
    ]
    for draw in draws:
        one, same, other = (draw(generator(seed)) for seed in (0, 0, 1))
        assert all(torch.equal(getattr(one, key), getattr(same, key)) for key in vars(one))
        assert not torch.equal(one.codes_BKL, other.codes_BKL)


def test_durations_are_capped_at_the_last_entry(data: TinyData) -> None:
    longest = 3
    config = replace(SMALL, duration=replace(SMALL.duration, codebook_size=longest + 1))
    drawn = Sequences(
        data.corpus, data.alignment, data.codes, config, target_frames=50, prompt_drop=0.0
    )
    batch = drawn.durations(8, generator(0), 20)
    assert batch.codes_BKL.shape[1] == 1
    values = batch.codes_BKL[:, 0][batch.keep_BL]
    assert (int(values.min()), int(values.max())) == (1, longest)


def test_duration_prompts_do_not_hold_the_answer(tmp_path: Path) -> None:
    # One clip a speaker, as for recordings whose speaker nobody knows.
    batch = sequences(tiny_data(tmp_path, count=4, speakers=4)).durations(16, generator(0), 200)
    for row in range(16):
        prompt_L, target_L = sides(batch, row)
        prompt_KN, target_KN = (batch.codes_BKL[row][:, side] for side in (prompt_L, target_L))
        assert not (prompt_KN.shape[-1] and found(prompt_KN, target_KN))


def test_collate_puts_prompts_before_and_targets_after_the_gap() -> None:
    prompt = (torch.arange(3), torch.ones(3, 2), torch.full((BOOKS, 3), 5))
    target = (torch.arange(4), torch.ones(4, 2), torch.full((BOOKS, 4), 6))
    batch = collate([(prompt, target), (None, target)], prompt_room=5, target_room=6)
    begin = 5 + SEPARATOR
    kept = [[2, 3, 4, *range(begin, begin + 4)], [*range(begin, begin + 4)]]
    assert [row.nonzero()[:, 0].tolist() for row in batch.keep_BL] == kept
    assert bool((batch.codes_BKL[0, :, 2:5] == 5).all())
    assert bool((batch.codes_BKL[:, :, begin : begin + 4] == 6).all())
    assert bool((batch.codes_BKL.transpose(1, 2)[~batch.keep_BL] == NULL_CODE).all())
    assert batch.prompt_BL[0].tolist() == [True] * 5 + [False] * (SEPARATOR + 6)


def test_a_corpus_without_alignments_is_refused(data: TinyData, tmp_path: Path) -> None:
    ids = [clip["id"] for clip in data.corpus.clips]
    path = sidecar_path(tmp_path / "corpus.safetensors")
    write_alignment(path, DEFAULT_VOCABULARY.symbols, ids, {})
    with pytest.raises(DataError, match="run align and encode"):
        sequences(replace(data, alignment=Alignment(path, ids)))
