"""`speechkit ssl augment`: plan, shards, manifest; the same bytes by whoever makes a shard.

Work is divided by shards: a plain loop, several machines with `--shard 1/4` and so on, or workers
of Ray Data. A shard depends on the plan alone, and is computed on one thread, so that no sum is
ever taken in another order.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from speechkit.data.work import ALONE, Crew, part_of, run_tasks
from speechkit.ssl.augment.config import AugmentConfig
from speechkit.ssl.augment.files import Inputs, begin_pool, is_made, require_space
from speechkit.ssl.augment.plan import LEVELS
from speechkit.ssl.augment.pool import Pool, PoolWork


@dataclass(frozen=True, kw_only=True)
class AugmentReport:
    """What there is now."""

    pool: str
    """The folder."""
    shards: int
    """Shards of the whole plan."""
    made: int
    """Shards made by this call."""
    missing: int
    """Shards that others have still to make."""
    clips: dict[str, int]
    """Clips of each level in the whole plan."""
    hours: dict[str, float]
    """Hours of each level in the whole plan."""
    left_out: int
    """Clips of the seed without codes or units, or of less than ten frames."""
    one_voice: bool
    """The seed has one speaker: level 3 keeps that voice."""

    def text(self) -> str:
        """Lines for people."""
        lines = [f"{self.pool}: {self.made} shards made, {self.missing} of {self.shards} missing"]
        lines += [
            f"level {level} ({LEVELS[int(level)]}): {count} clips, {self.hours[level]:.3f} h"
            for level, count in self.clips.items()
        ]
        if self.left_out:
            lines.append(f"{self.left_out} clips of the seed are too short or lack codes or units")
        if self.one_voice and "3" in self.clips:
            lines.append("the seed has one speaker: level 3 keeps that voice")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def augment_corpus(
    inputs: Inputs,
    config: AugmentConfig,
    folder: Path,
    *,
    crew: Crew = ALONE,
) -> AugmentReport:
    """Make the shards of a pool that are not there yet, or the crew's part of them.

    Raises ConfigError or DataError before anything is made.
    """
    pool = Pool(inputs, config, folder)
    mine = part_of(range(len(pool.shards)), crew.part)
    wanted = [number for number in mine if not is_made(folder, number)]
    require_space(folder, pool.hours(wanted))
    begin_pool(folder, pool.identity())
    work = PoolWork(
        inputs=inputs, config=config, folder=folder, pool=pool if crew.is_here else None
    )
    tasks = [(number, len(pool.shards[number])) for number in wanted]
    run_tasks("augmenting", work, tasks, crew=crew)
    clips = Counter(str(job.level) for job in pool.jobs)
    return AugmentReport(
        pool=str(folder),
        shards=len(pool.shards),
        made=len(wanted),
        missing=sum(not is_made(folder, n) for n in range(len(pool.shards))),
        clips=dict(clips),
        hours={
            level: pool.hours([n for n, s in enumerate(pool.shards) if str(s[0].level) == level])
            for level in clips
        },
        left_out=len(pool.synthesiser.corpus) - len(pool.sources),
        one_voice=len({source.speaker for source in pool.sources}) == 1,
    )
