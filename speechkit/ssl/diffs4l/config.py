"""What an experiment compares."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from speechkit.core.config import require_range
from speechkit.core.errors import ConfigError
from speechkit.ssl.augment import AugmentConfig

ModelName = Literal["wav2vec2", "hubert"]
BASELINE = "none"
"""The arm that all others are compared with: the seed as it is."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What an encoder is pre-trained on."""

    name: str
    """Its row in the table, and its folder."""

    hours_1_2: float = 0.0
    """Hours of levels 1 and 2 beside the seed, drawn from both as the pool has them."""

    hours_3: float = 0.0
    """Hours of level 3 beside the seed."""

    real: bool = False
    """All real speech there is instead, cut to the length of the largest mix: the ceiling."""

    distort: Literal["none", "mixing", "wavaugment"] = "none"
    """How crops are distorted: utterance mixing (WavLM), or pitch, reverberation and noise."""

    def __post_init__(self) -> None:
        require_range(self, hours_1_2=(0, 1e6), hours_3=(0, 1e6))
        if self.real and (self.hours_1_2 or self.hours_3):
            raise ConfigError(f"arms: {self.name} cannot be real and synthetic speech at once.")
        if not self.name or not all(c.isalnum() or c in "-_+" for c in self.name):
            raise ConfigError(f"arms: {self.name!r} cannot name a folder: use letters and digits.")

    @property
    def composition(self) -> str:
        """Name of its speech; arms that differ in distortion alone share it."""
        if self.real:
            return "real"
        return f"seed+{self.hours_1_2:g}+{self.hours_3:g}"


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """All of it. Paths are relative to the file of this config."""

    arms: tuple[Arm, ...]
    """Rows of the table; one must be `none`."""

    wav2vec2: Path
    """Pre-training config of wav2vec 2.0, also of the first encoder, that gives the units."""

    hubert: Path
    """Pre-training config of HuBERT, on MFCC units whose clusters are the seed's."""

    finetune: Path
    """Fine-tuning config."""

    unit_generator: Path
    """Config of the generator that speaks from units."""

    codec: Path | None = None
    """Training config of the codec, on the seed without text; None takes the bundled codec, which
    was trained on more speech and on its transcripts: say so beside the table."""

    codec_steps: tuple[int, int, int] = (1000, 4000, 1000)
    """Updates of the phases vocoder, acoustic and finetune."""

    first_steps: int = 10_000
    """Updates of the first encoder."""

    first_layer: int = 5
    """Layer of it whose states are clustered into units (DiffS4L: 5 of 12)."""

    clusters: int = 500
    """Units of the generator (DiffS4L: 500)."""

    target_clusters: int = 100
    """MFCC units that HuBERT learns to name; must be `hubert.clusters`."""

    generator_steps: int = 100_000
    """Updates of the generator."""

    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(hours=(0, 0, 430, 430)))
    """The pool that all mixes are drawn from; at least the hours that the largest arm wants."""

    models: tuple[ModelName, ...] = ("wav2vec2", "hubert")
    """What is pre-trained."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Each arm is trained once with each: other mixes, other weights, other batches."""

    steps: int = 400_000
    """Updates of every pre-training, whatever the arm."""

    finetune_steps: int = 20_000
    """Updates of every fine-tuning."""

    label_minutes: float = 600.0
    """Labelled speech of every fine-tuning, the same clips for all arms of a seed."""

    seed_hours: float = 100.0
    """Speech that everything before the table is made from, without its text."""

    test_share: float = 0.1
    """Share of the speakers kept for the table, at least five where there are ten."""

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if BASELINE not in names or len(set(names)) < len(names):
            raise ConfigError(f"arms need names of their own, and one named {BASELINE!r}.")
        require_range(
            self,
            first_steps=(1, 10**9),
            clusters=(2, 32_000),
            target_clusters=(2, 32_000),
            generator_steps=(1, 10**9),
            steps=(1, 10**9),
            finetune_steps=(1, 10**9),
            label_minutes=(1e-3, 1e7),
            seed_hours=(1e-4, 1e6),
            test_share=(0.001, 0.5),
        )
        if not self.models or not self.seeds or min(self.codec_steps) < 1:
            raise ConfigError("models, seeds and codec_steps need at least one entry above 0.")
        hours = self.augment.hours
        for what, made, wanted in (
            ("levels 1 and 2", hours[1] + hours[2], max(arm.hours_1_2 for arm in self.arms)),
            ("level 3", hours[3], max(arm.hours_3 for arm in self.arms)),
        ):
            if wanted > made + 1e-9:
                raise ConfigError(
                    f"An arm wants {wanted:g} h of {what}, but augment.hours makes {made:g}: "
                    "raise it."
                )
