"""Training sequences: prompts of the same speaker that never hold the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import speechkit.diffusion.dataset as dataset_module
from speechkit.core.errors import DataError
from speechkit.core.rng import generator
from speechkit.data.alignment import Alignment, write_alignment
from speechkit.diffusion.dataset import (
    COMMA_FRAMES,
    STOP_FRAMES,
    GeneratorDataset,
    mark_pauses,
)
from speechkit.diffusion.duration import phone_positions, regulate_length
from speechkit.diffusion.stage import SEPARATOR, StageBatch
from speechkit.text import DEFAULT_VOCABULARY
from tests.diffusion.builders import SMALL
from tests.facodec.builders import HEARD_AS, PAUSE, TinyData, tiny_data

COMMA, STOP = DEFAULT_VOCABULARY.ids([",", "."])
TARGET_FRAMES = 50


def dataset(data: TinyData, prompt_drop: float = 0.0, phone_drop: float = 0.0) -> GeneratorDataset:
    drawn = GeneratorDataset(
        data.corpus, data.alignment, data.codes, SMALL, prompt_drop=prompt_drop, held_out=0.25
    )
    drawn.phone_drop = phone_drop
    return drawn


def frames_of(drawn: GeneratorDataset, items: int, longest: int, seed: int = 0) -> StageBatch:
    """A batch of so many items."""
    budget = items * (longest + SMALL.prompt_frames)
    return drawn.frames(budget, (longest,), generator(seed))


def found(part_KN: Tensor, whole_KF: Tensor) -> list[int]:
    """Where the part stands in the whole."""
    size = part_KN.shape[-1]
    return [
        start
        for start in range(whole_KF.shape[-1] - size + 1)
        if torch.equal(whole_KF[:, start : start + size], part_KN)
    ]


def sides(batch: StageBatch, row: int) -> tuple[Tensor, Tensor]:
    """Masks of the prompt's and the target's real frames."""
    keep_L, prompt_L = batch.keep_BL[row], batch.prompt_BL[row]
    return keep_L & prompt_L, keep_L & ~prompt_L


def whole_phones(data: TinyData, clip: int) -> Tensor:
    return regulate_length(data.alignment.phones(clip), data.alignment.frames(clip))


def shares(monkeypatch: pytest.MonkeyPatch, **values: float) -> None:
    """Set `MARKED_SHARE`, `RECOGNISED_SHARE` or `UNMARKED_SHARE`."""
    for name, value in values.items():
        monkeypatch.setattr(dataset_module, f"{name.upper()}_SHARE", value)


def test_frames_are_prompt_and_target_of_one_speaker_apart(data: TinyData) -> None:
    batch = frames_of(dataset(data), 24, TARGET_FRAMES)
    begin = int(batch.prompt_BL[0].sum())
    assert len(batch.phones_BL) == 24
    assert batch.phones_BL.shape[1] == begin + TARGET_FRAMES
    assert begin <= SMALL.prompt_frames + SEPARATOR
    assert not bool(batch.keep_BL[:, begin - SEPARATOR : begin].any())
    tracks = [data.codes.clip(n).codes_KF for n in range(len(data.corpus))]
    for row in range(24):
        prompt_L, target_L = sides(batch, row)
        spans = []
        for side_L in (prompt_L, target_L):
            part_KN = batch.codes_BKL[row][:, side_L]
            spots = [(n, at) for n, track in enumerate(tracks) for at in found(part_KN, track)]
            spans.append([(n, at, at + part_KN.shape[-1]) for n, at in spots])
        prompts, targets = spans
        assert targets
        assert batch.timbre_BD is not None
        timbres = [data.codes.clip(n).timbre_D for n, *_ in targets]
        assert any(torch.equal(batch.timbre_BD[row], timbre_D) for timbre_D in timbres)
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


def test_about_as_many_frames_as_are_asked_for(data: TinyData) -> None:
    drawn, targets = dataset(data), (30, 60, 90)
    sizes = set()
    for seed in range(12):
        batch = drawn.frames(1200, targets, generator(seed))
        longest = int((batch.keep_BL & ~batch.prompt_BL).sum(-1).max())
        assert longest in targets
        assert len(batch.phones_BL) == round(1200 / (longest + SMALL.prompt_frames))
        sizes.add(longest)
    assert sizes == set(targets)
    assert len(drawn.frames(1, (90,), generator(0)).phones_BL) == 1


def test_frame_targets_carry_their_phones_and_positions(
    data: TinyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares(monkeypatch, marked=0.0)
    batch = frames_of(dataset(data, prompt_drop=1.0), 6, 400)
    for row in range(6):
        prompt_L, target_L = sides(batch, row)
        assert not bool(prompt_L.any())
        (clip,) = (
            n
            for n in range(len(data.corpus))
            if torch.equal(data.codes.clip(n).codes_KF, batch.codes_BKL[row][:, target_L])
        )
        frames_P = data.alignment.frames(clip)
        assert torch.equal(batch.phones_BL[row][target_L], whole_phones(data, clip))
        assert torch.equal(batch.position_BL2[row][target_L], phone_positions(frames_P))


def prompt_phones(data: TinyData, batch: StageBatch) -> list[tuple[Tensor, list[Tensor]]]:
    """Of each prompt its phones, and those of the corpus where its codes stand."""
    pairs = []
    for row in range(len(batch.phones_BL)):
        prompt_L, _ = sides(batch, row)
        part_KN = batch.codes_BKL[row][:, prompt_L]
        size = part_KN.shape[1]
        spots = [
            whole_phones(data, n)[at : at + size]
            for n in range(len(data.corpus))
            for at in (found(part_KN, data.codes.clip(n).codes_KF) if size else [])
        ]
        if size:
            pairs.append((batch.phones_BL[row][prompt_L], spots))
    assert pairs
    return pairs


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_prompts_have_recognised_phones_or_aligned_ones(
    data: TinyData, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    shares(monkeypatch, marked=0.0, unmarked=0.0, recognised=share)
    for phones_N, aligned in prompt_phones(data, frames_of(dataset(data), 16, TARGET_FRAMES)):
        wanted = [HEARD_AS[phones] if share else phones for phones in aligned]
        assert any(torch.equal(phones_N, phones) for phones in wanted)


def test_positions_of_recognised_prompts_are_those_of_their_runs(
    data: TinyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `Generator._prompt` makes them: in the runs of the whole recording, then cut."""
    shares(monkeypatch, recognised=1.0)
    batch = frames_of(dataset(data), 12, TARGET_FRAMES)
    for row in range(12):
        prompt_L, _ = sides(batch, row)
        part_KN = batch.codes_BKL[row][:, prompt_L]
        wanted = []
        for n in range(len(data.corpus)):
            clip = data.codes.clip(n)
            _, runs_P = torch.unique_consecutive(clip.phone_F, return_counts=True)
            for at in found(part_KN, clip.codes_KF):
                wanted.append(phone_positions(runs_P)[at : at + part_KN.shape[1]])
        assert any(torch.equal(batch.position_BL2[row][prompt_L], w) for w in wanted)


def test_duration_prompts_have_recognised_phones(
    data: TinyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = torch.tensor([COMMA, STOP])
    for share in (0.0, 1.0):
        shares(monkeypatch, marked=0.0, recognised=share)
        batch = dataset(data).durations(8, 20, generator(0))
        runs = []
        for n in range(len(data.corpus)):
            heard_P = torch.unique_consecutive(data.codes.clip(n).phone_F)
            runs.append(heard_P if share else data.alignment.phones(n))
        for row in range(8):
            prompt_L, _ = sides(batch, row)
            part_N = batch.phones_BL[row][prompt_L]
            assert not bool(torch.isin(part_N, marks).any())
            if len(part_N):
                assert any(found(part_N[None], run_P[None]) for run_P in runs)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from([PAUSE, 1, COMMA, 40]), st.integers(0, 40)), min_size=1))
def test_mark_pauses_against_a_loop(pairs: list[tuple[int, int]]) -> None:
    phones, frames = (list(column) for column in zip(*pairs, strict=True))
    expected = []
    for phone, count in pairs:
        if phone == PAUSE and count >= STOP_FRAMES:
            phone = STOP
        elif phone == PAUSE and count >= COMMA_FRAMES:
            phone = COMMA
        expected.append(phone)
    got = mark_pauses(torch.tensor(phones), torch.tensor(frames), PAUSE, COMMA, STOP)
    assert got.tolist() == expected


@pytest.fixture(scope="module")
def paused(tmp_path_factory: pytest.TempPathFactory) -> TinyData:
    """A corpus in which some word boundaries last."""
    return tiny_data(tmp_path_factory.mktemp("paused"), pause_frames=7)


def test_pauses_of_targets_are_marked(paused: TinyData, monkeypatch: pytest.MonkeyPatch) -> None:
    for share in (0.0, 1.0):
        shares(monkeypatch, marked=share)
        batch = frames_of(dataset(paused), 8, TARGET_FRAMES)
        _, targets = zip(*(sides(batch, row) for row in range(8)), strict=True)
        phones = torch.cat([batch.phones_BL[row][t] for row, t in enumerate(targets)])
        assert bool((phones == COMMA).any()) is (share == 1.0)


def test_marks_of_prompts_may_be_missing(paused: TinyData, monkeypatch: pytest.MonkeyPatch) -> None:
    for unmarked in (0.0, 1.0):
        shares(monkeypatch, marked=1.0, recognised=0.0, unmarked=unmarked)
        batch = frames_of(dataset(paused), 8, TARGET_FRAMES)
        phones = torch.cat([batch.phones_BL[row][sides(batch, row)[0]] for row in range(8)])
        assert bool((phones == COMMA).any()) is (unmarked == 0.0)
        assert bool((phones == PAUSE).any()) or unmarked == 0.0


def test_dropped_prompts_are_that_many(data: TinyData) -> None:
    batch = frames_of(dataset(data, prompt_drop=0.5), 200, 20)
    without = [not bool(sides(batch, row)[0].any()) for row in range(200)]
    # Some more have none because their clip is the speaker's only one, or holds the answer.
    assert 0.4 < sum(without) / 200 < 0.75


def test_some_targets_have_nothing_to_say(data: TinyData) -> None:
    batch = frames_of(dataset(data, phone_drop=0.3), 200, 20)
    silent = []
    for row in range(200):
        prompt_L, target_L = sides(batch, row)
        silent.append(not bool(batch.phones_BL[row][target_L].any()))
        if silent[-1]:
            assert not bool(batch.position_BL2[row][target_L].any())
        if bool(prompt_L.any()):
            assert bool(batch.phones_BL[row][prompt_L].any())
    assert 0.2 < sum(silent) / 200 < 0.4


def test_held_out_targets_keep_their_phones(data: TinyData) -> None:
    drawn = GeneratorDataset(
        data.corpus, data.alignment, data.codes, SMALL,
        prompt_drop=0.0, held_out=0.25, validation=True,
    )  # fmt: skip
    batch = frames_of(drawn, 100, 20)
    assert all(bool(batch.phones_BL[row][sides(batch, row)[1]].any()) for row in range(100))


def test_batches_follow_the_generator(data: TinyData) -> None:
    drawn = dataset(data, prompt_drop=0.3)
    draws: list[Callable[[torch.Generator], StageBatch]] = [
        lambda rng: drawn.frames(500, (40,), rng),
        lambda rng: drawn.durations(5, 20, rng),
    ]
    for draw in draws:
        one, same, other = (draw(generator(seed)) for seed in (0, 0, 1))
        for key, value in vars(one).items():
            twin = getattr(same, key)
            assert value is twin is None or torch.equal(value, twin)
        assert not torch.equal(one.codes_BKL, other.codes_BKL)


def test_durations_are_capped_at_the_last_entry(data: TinyData) -> None:
    longest = 3
    config = replace(SMALL, duration=replace(SMALL.duration, codebook_size=longest + 1))
    drawn = GeneratorDataset(data.corpus, data.alignment, data.codes, config, prompt_drop=0.0)
    batch = drawn.durations(8, 20, generator(0))
    assert batch.codes_BKL.shape[1] == 1
    values = batch.codes_BKL[:, 0][batch.keep_BL]
    assert (int(values.min()), int(values.max())) == (1, longest)


def test_duration_prompts_do_not_hold_the_answer(tmp_path: Path) -> None:
    # One clip a speaker, as for recordings whose speaker nobody knows.
    batch = dataset(tiny_data(tmp_path, count=4, speakers=4)).durations(16, 200, generator(0))
    for row in range(16):
        prompt_L, _ = sides(batch, row)
        assert not bool(prompt_L.any())


def test_a_corpus_without_alignments_is_refused(tmp_path: Path) -> None:
    data = tiny_data(tmp_path)
    write_alignment(data.corpus.shards[0], DEFAULT_VOCABULARY.symbols, {})
    with pytest.raises(DataError, match="run align and encode"):
        dataset(replace(data, alignment=Alignment(data.corpus)))
