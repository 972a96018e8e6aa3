"""Settings of the augmentation baselines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from speechkit.core.config import require_range

Interval = tuple[float, float]
"""Lowest and highest value of a uniform draw."""


@dataclass(frozen=True, kw_only=True)
class MixingConfig:
    """A piece of another utterance over part of the crop (WavLM, Chen et al. 2022, algorithm 1)."""

    share: float = 0.2
    """Chance that a crop is mixed."""
    level_db: Interval = (-5.0, 5.0)
    """How far the crop's power lies above that of what is added, both over whole crops."""
    longest_share: float = 0.5
    """Longest piece, as a share of the crop; at one half the crop's own speaker prevails."""

    def __post_init__(self) -> None:
        require_range(self, share=(0, 1), longest_share=(0, 0.5))
        _require_interval(self, level_db=(-60, 60))


@dataclass(frozen=True, kw_only=True)
class WavAugmentConfig:
    """Pitch, reverberation and noise, each by chance (after Kharitonov et al. 2021)."""

    mode: Literal["source_only", "both"] = "source_only"
    """Distort what the context sees alone (targets from the clean crop), or the targets too."""
    pitch_share: float = 0.5
    """Chance that the pitch is shifted."""
    pitch_cents: Interval = (-300.0, 300.0)
    """By how much."""
    reverb_share: float = 0.5
    """Chance of reverberation."""
    reverb_seconds: Interval = (0.1, 0.5)
    """Time in which it decays by 60 dB."""
    direct_db: Interval = (0.0, 10.0)
    """How far the direct sound lies above the reverberation."""
    noise_share: float = 0.5
    """Chance of noise."""
    noise_snr_db: Interval = (5.0, 15.0)
    """How far the crop's power lies above that of the noise."""
    noise_slope: Interval = (0.0, 2.0)
    """Its power falls as 1 / frequency to this power: 0 white, 1 pink, 2 brown."""

    def __post_init__(self) -> None:
        require_range(self, pitch_share=(0, 1), reverb_share=(0, 1), noise_share=(0, 1))
        _require_interval(
            self,
            pitch_cents=(-1200, 1200),
            reverb_seconds=(0.01, 5),
            direct_db=(-60, 60),
            noise_snr_db=(-60, 60),
            noise_slope=(0, 4),
        )


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Which baseline distorts the crops of pre-training."""

    kind: Literal["none", "mixing", "wavaugment"] = "none"
    """The baseline; the settings of the others have no effect."""
    mixing: MixingConfig = field(default_factory=MixingConfig)
    """Utterance mixing."""
    wavaugment: WavAugmentConfig = field(default_factory=WavAugmentConfig)
    """Pitch, reverberation and noise."""


def _require_interval(config: Any, **limits: Interval) -> None:
    """Raise ValueError, naming the field, unless both ends lie in order within its limits."""
    for name, (least, most) in limits.items():
        low, high = getattr(config, name)
        if not least <= low <= high <= most:
            raise ValueError(
                f"{name} must be two numbers in order from {least:g} to {most:g}, "
                f"not ({low}, {high})"
            )
