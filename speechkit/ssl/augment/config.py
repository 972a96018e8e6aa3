"""How much synthetic speech of which level is made, and how it is sampled."""

from __future__ import annotations

from dataclasses import dataclass, field

from speechkit.core.config import require_range
from speechkit.core.errors import ConfigError
from speechkit.diffusion.config import SamplerConfig, StageSampling

EVERY_ENTRY = 1_000_000


def _sampler() -> SamplerConfig:
    """Prosody and content as the network believes they are spread: with the sharp draws that suit
    reading aloud, hidden content would babble one sound.

    Guidance by the units makes the speech say them: without it the gates of levels 1 and 2 close.
    Where units are hidden both of its sides are nearly the same, and the draws stay free.
    """
    free = {"temperature": 1.0, "anneal": False, "order": "random", "top_k": EVERY_ENTRY}
    return SamplerConfig(
        prosody=StageSampling(steps=4, guidance=3.0, **free),  # type: ignore[arg-type]
        content=StageSampling(steps=5, guidance=3.0, **free),  # type: ignore[arg-type]
        detail=StageSampling(steps=4, temperature=0.5),
    )


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What a pool of synthetic speech holds."""

    hours: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Hours of each level: 0 re-synthesis, 1 same speaker, 2 new speaker, 3 new content."""

    masked_share: float = 0.8
    """Length of the span of units that level 3 hides, as a share of the clip (DiffS4L)."""

    shard_clips: int = 200
    """Clips of a shard: what is lost when a worker is killed."""

    batch_frames: int = 4000
    """Code frames that are drawn together, padding included."""

    sampler: SamplerConfig = field(default_factory=_sampler)
    """How the stages are sampled."""

    seed: int = 0
    """All draws follow from it."""

    def __post_init__(self) -> None:
        require_range(
            self,
            masked_share=(0.0, 0.99),
            shard_clips=(1, 100_000),
            batch_frames=(1, 10**7),
            seed=(0, 2**62),
        )
        if self.sampler.candidates != 1:
            raise ConfigError(
                "sampler.candidates must be 1: units have no phones to choose a candidate by."
            )
        if not all(0 <= hours < 1e6 for hours in self.hours) or not any(self.hours):
            raise ConfigError(
                "Say how many hours of which level to make, such as --hours 2=1.5 3=1.5; "
                f"{list(self.hours)} is nothing that can be made."
            )
