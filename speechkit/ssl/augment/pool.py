"""A plan with what carries it out; shards are made here, whoever asks.

A shard depends on the plan alone, and is computed on one thread, so that no sum is ever taken in
another order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechkit.core.config import to_dict
from speechkit.data.work import Report, on_threads
from speechkit.ssl.augment.config import AugmentConfig
from speechkit.ssl.augment.files import Inputs, is_made, shard_path, write_shard
from speechkit.ssl.augment.plan import Job, make_plan, shards_of
from speechkit.ssl.augment.synthesis import Synthesiser


class Pool:
    """A plan and what carries it out; every worker builds the same one."""

    def __init__(self, inputs: Inputs, config: AugmentConfig, folder: Path) -> None:
        """Load everything and plan; raises SpeechkitErrors for what cannot be made."""
        self.folder, self.config = folder, config
        self.synthesiser = Synthesiser(inputs, config)
        self.sources = self.synthesiser.sources()
        self.jobs = make_plan(self.sources, config)
        self.shards = shards_of(self.jobs, config.shard_clips)

    def identity(self) -> dict[str, Any]:
        """What the bytes follow from."""
        voice = self.synthesiser.voice
        return {
            "config": to_dict(self.config),
            "corpus": voice.corpus_sha256,
            "kmeans": voice.kmeans_sha256,
            "codec": voice.codec_sha256,
            "generator": voice.generator_sha256,
            "shards": [{"level": shard[0].level, "clips": len(shard)} for shard in self.shards],
        }

    def make(self, shard: int) -> None:
        """Make a shard and write it; whatever was there of it is replaced."""
        jobs = self.shards[shard]
        with on_threads(1):
            clips = self.synthesiser.make(jobs)
        lines = [
            self._line(job, clip.pcm_T.tobytes()) for job, clip in zip(jobs, clips, strict=True)
        ]
        write_shard(self.folder, shard, clips, lines)

    def _line(self, job: Job, pcm: bytes) -> dict[str, Any]:
        """The history of a clip."""
        synthesiser = self.synthesiser
        info, clips = synthesiser.info(job), synthesiser.corpus.clips
        return {
            "id": job.id,
            "synthetic": True,
            "level": job.level,
            "copy": job.copy,
            "parent": clips[job.parent]["id"],
            "voice": clips[job.voice]["id"],
            "parent_speaker": clips[job.parent]["speaker"],
            "speaker": info["speaker"],
            "license": info["license"],
            "mask": list(job.mask),
            "seed": job.seed,
            "seconds": len(pcm) / 2 / synthesiser.codec.sample_rate_hz,
            "sha256": hashlib.sha256(pcm).hexdigest(),
            "kmeans": synthesiser.voice.kmeans_sha256,
            "codec": synthesiser.voice.codec_sha256,
            "generator": synthesiser.voice.generator_sha256 if job.level else None,
        }

    def hours(self, shards: Sequence[int]) -> float:
        """Length of the speech of these shards."""
        seconds = {source.clip: source.seconds for source in self.sources}
        return sum(seconds[job.parent] for n in shards for job in self.shards[n]) / 3600


@dataclass(frozen=True, kw_only=True)
class PoolWork:
    """How a shard of a pool is made, here or elsewhere."""

    inputs: Inputs
    config: AugmentConfig
    folder: Path
    pool: Pool | None = None

    def load(self) -> Callable[[int, Report], None]:
        """Load the pool, unless it is here."""
        pool = self.pool or Pool(self.inputs, self.config, self.folder)

        def make(shard: int, report: Report) -> None:
            # An earlier try of a worker may have finished it.
            if not is_made(self.folder, shard):
                pool.make(shard)
            report(len(pool.shards[shard]))

        return make


def shards_of_level(folder: Path, level: int, shards: Sequence[dict[str, int]]) -> list[Path]:
    """The packed files of a level, given what `pool.json` lists."""
    return [shard_path(folder, n) for n, shard in enumerate(shards) if shard["level"] == level]
