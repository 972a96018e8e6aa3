"""The plan of a pool: pure, seeded, and as long as asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from speechkit.core.errors import ConfigError
from speechkit.ssl.augment.config import AugmentConfig
from speechkit.ssl.augment.plan import Source, make_plan, shards_of

SOURCES = [
    Source(clip=n, id=f"c{n}", speaker=f"s{n % 3}", seconds=10.0, frames=500) for n in range(9)
]
CONFIG = AugmentConfig(hours=(0.01, 0.02, 0.05, 0.05), shard_clips=4, seed=7)


def test_a_plan_is_pure_and_seeded() -> None:
    assert make_plan(SOURCES, CONFIG) == make_plan(list(SOURCES), CONFIG)
    assert make_plan(SOURCES, CONFIG) != make_plan(SOURCES, replace(CONFIG, seed=8))


def test_hours_are_reached_and_passed_by_no_more_than_a_clip() -> None:
    jobs = make_plan(SOURCES, CONFIG)
    for level, hours in enumerate(CONFIG.hours):
        seconds = sum(10.0 for job in jobs if job.level == level)
        assert 3600 * hours <= seconds < 3600 * hours + 10
    assert [job.number for job in jobs] == list(range(len(jobs)))
    assert len({job.id for job in jobs}) == len(jobs)
    assert len({job.seed for job in jobs}) == len(jobs)


def test_every_copy_goes_through_all_clips_in_another_order() -> None:
    jobs = [job for job in make_plan(SOURCES, CONFIG) if job.level == 2]
    orders = [[job.parent for job in jobs if job.copy == copy] for copy in (0, 1)]
    assert sorted(orders[0]) == list(range(9))
    assert orders[0][: len(orders[1])] != orders[1]


def test_voices_and_masks_are_what_the_level_says() -> None:
    speaker = {s.clip: s.speaker for s in SOURCES}
    for job in make_plan(SOURCES, CONFIG):
        assert (job.voice == job.parent) == (job.level == 0)
        assert (speaker[job.voice] == speaker[job.parent]) == (job.level < 2)
        assert job.mask[1] - job.mask[0] == (400 if job.level == 3 else 0)
        assert 0 <= job.mask[0] <= job.mask[1] <= 500


def test_more_hours_of_a_level_leave_the_other_jobs_as_they_were() -> None:
    def essence(config: AugmentConfig) -> dict[str, tuple[int, int, tuple[int, int]]]:
        return {job.id: (job.seed, job.voice, job.mask) for job in make_plan(SOURCES, config)}

    few = essence(CONFIG)
    many = essence(replace(CONFIG, hours=(0.01, 0.04, 0.05, 0.05)))
    assert few.items() < many.items()


def test_a_seed_of_one_speaker_has_no_new_voice() -> None:
    alone = [replace(source, speaker="s0") for source in SOURCES]
    with pytest.raises(ConfigError, match="one speaker"):
        make_plan(alone, CONFIG)
    jobs = make_plan(alone, replace(CONFIG, hours=(0, 0.01, 0, 0.01)))
    assert {job.level for job in jobs} == {1, 3}
    only = make_plan(alone[:1], replace(CONFIG, hours=(0, 0.01, 0, 0)))
    assert {job.voice for job in only} == {0}


def test_clips_shorter_than_a_mask_keep_a_frame() -> None:
    short = [replace(source, frames=10) for source in SOURCES]
    config = replace(CONFIG, hours=(0, 0, 0, 0.05), masked_share=0.99)
    assert {job.mask[1] - job.mask[0] for job in make_plan(short, config)} == {9}


def test_shards_hold_one_level_each_and_all_jobs_once() -> None:
    jobs = make_plan(SOURCES, CONFIG)
    shards = shards_of(jobs, 4)
    assert [job for shard in shards for job in shard] == list(jobs)
    assert all(len({job.level for job in shard}) == 1 and len(shard) <= 4 for shard in shards)


@pytest.mark.parametrize("hours", [(0.0, 0.0, 0.0, 0.0), (-1.0, 0.0, 0.0, 1.0)])
def test_hours_that_cannot_be_made_are_refused(hours: tuple[float, float, float, float]) -> None:
    with pytest.raises(ConfigError, match="--hours"):
        AugmentConfig(hours=hours)


def test_candidates_that_nothing_could_choose_among_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"sampler\.candidates"):
        replace(CONFIG, sampler=CONFIG.sampler.with_candidates(2))


def test_no_clips_are_refused() -> None:
    with pytest.raises(ConfigError, match="encode --all"):
        make_plan([], CONFIG)
