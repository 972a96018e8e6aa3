"""Augmentations that synthetic data is measured against: utterance mixing and WavAugment-style."""

from speechkit.ssl.baselines.augment import augment
from speechkit.ssl.baselines.config import AugmentConfig, MixingConfig, WavAugmentConfig

__all__ = ["AugmentConfig", "MixingConfig", "WavAugmentConfig", "augment"]
