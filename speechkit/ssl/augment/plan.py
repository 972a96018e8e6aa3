"""Who is to say what: a pure function from clips, hours and a seed to a numbered list of jobs.

Level 0 is the recording through the codec and back. Level 1 says its units in its own voice with
new prosody, level 2 in the voice of another speaker of the seed, and level 3 does so with most
units hidden, so that most of the content is made up (DiffS4L; its authors' talk counts from 1).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from speechkit.core.errors import ConfigError
from speechkit.core.rng import derive, generator, integer
from speechkit.diffusion.units import draw_span
from speechkit.ssl.augment.config import AugmentConfig

LEVELS = ("re-synthesis", "same speaker", "new speaker", "new content")
"""What each level is."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What the plan needs to know of a clip."""

    clip: int
    """Its place in the corpus."""
    id: str
    """Its name."""
    speaker: str
    """Who speaks."""
    seconds: float
    """Its length."""
    frames: int
    """Its code frames."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One clip to make."""

    number: int
    """Its place in the plan."""
    level: int
    """0 to 3."""
    copy: int
    """How often the level had gone through all clips before."""
    parent: int
    """Place in the corpus of the clip whose units are said."""
    voice: int
    """Place of the clip whose voice says them."""
    mask: tuple[int, int]
    """Frames from and before which units are hidden; equal where none are."""
    seed: int
    """All draws of its synthesis follow from it."""
    id: str
    """Name of the new clip: that of its parent, level and copy."""


def make_plan(sources: Sequence[Source], config: AugmentConfig) -> tuple[Job, ...]:
    """All jobs in order of level; the hours of a level are reached, not passed by more than a clip.

    Each copy of a level goes through the clips in another order. Voices are drawn speaker first,
    so that those with many clips are not heard more. A seed with one speaker has no other voice:
    level 3 keeps that one. Raises ConfigError for level 2 of such a seed and for no clips.
    """
    if not sources:
        raise ConfigError("No clip has units and codes: run encode --all and ssl units first.")
    of_speaker: dict[str, list[Source]] = defaultdict(list)
    for source in sources:
        of_speaker[source.speaker].append(source)
    if config.hours[2] and len(of_speaker) < 2:
        raise ConfigError(
            "The seed has one speaker, so there is no new one for level 2: ask for levels 0, 1 "
            "and 3."
        )
    jobs: list[Job] = []
    for level, hours in enumerate(config.hours):
        left, copy = 3600 * hours, 0
        while left > 0:
            rng = generator(derive(config.seed, "order", level, copy))
            for place in torch.randperm(len(sources), generator=rng).tolist():
                if left <= 0:
                    break
                jobs.append(_job(len(jobs), level, copy, sources[place], of_speaker, config))
                left -= sources[place].seconds
            copy += 1
    return tuple(jobs)


def _job(
    number: int,
    level: int,
    copy: int,
    parent: Source,
    of_speaker: dict[str, list[Source]],
    config: AugmentConfig,
) -> Job:
    """The job of one clip; what it draws depends on its level, copy and parent alone."""
    seed = derive(config.seed, "job", level, copy, parent.id)
    rng = generator(derive(seed, "voice"))
    if level == 0:
        voice = parent
    elif level == 1:
        voice = _pick([s for s in of_speaker[parent.speaker] if s is not parent] or [parent], rng)
    else:
        others = [name for name in of_speaker if name != parent.speaker] or [parent.speaker]
        name = others[integer(len(others), rng)]
        voice = _pick(of_speaker[name], rng)
    mask = (0, 0)
    if level == 3:
        span = draw_span(parent.frames, config.masked_share, generator(derive(seed, "mask")))
        mask = (span.start, span.end)
    return Job(
        number=number,
        level=level,
        copy=copy,
        parent=parent.clip,
        voice=voice.clip,
        mask=mask,
        seed=seed,
        id=f"{parent.id}~level{level}-{copy}",
    )


def _pick(sources: Sequence[Source], rng: torch.Generator) -> Source:
    return sources[integer(len(sources), rng)]


def shards_of(jobs: Sequence[Job], size: int) -> list[tuple[Job, ...]]:
    """The jobs in shards of at most `size`, each of one level."""
    shards: list[list[Job]] = []
    for job in jobs:
        if shards and len(shards[-1]) < size and shards[-1][0].level == job.level:
            shards[-1].append(job)
        else:
            shards.append([job])
    return [tuple(shard) for shard in shards]
