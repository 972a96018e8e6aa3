"""The one entry point of the baselines, and utterance mixing (Chen et al. 2022, WavLM).

Shapes: B batch, T samples.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from speechkit.core.rng import integer, uniform
from speechkit.ssl.baselines.config import AugmentConfig, MixingConfig
from speechkit.ssl.baselines.wavaugment import distort
from speechkit.ssl.batch import PretrainBatch


def augment(batch: PretrainBatch, config: AugmentConfig, rng: torch.Generator) -> PretrainBatch:
    """Return the batch with its waves distorted; the given one is left as it was.

    `clean_BT` is the clean signal where targets are to come from it: always with mixing, and in
    the mode `source_only` of WavAugment. Masks and labels stay.
    """
    if config.kind == "none":
        return batch
    clean_BT = batch.wave_BT if batch.clean_BT is None else batch.clean_BT
    if config.kind == "mixing":
        wave_BT = mix_utterances(batch.wave_BT, config.mixing, rng)
        return replace(batch, wave_BT=wave_BT, clean_BT=clean_BT)
    wave_BT = torch.stack([distort(wave_T, config.wavaugment, rng) for wave_T in batch.wave_BT])
    both = config.wavaugment.mode == "both"
    return replace(batch, wave_BT=wave_BT, clean_BT=None if both else clean_BT)


def mix_utterances(wave_BT: Tensor, config: MixingConfig, rng: torch.Generator) -> Tensor:
    """Return mixed_BT: some rows with a piece of a random row, possibly their own, added.

    Pieces come from the batch as given, never from rows already mixed. What is added to silence,
    or taken from it, is silence.
    """
    mixed_BT = wave_BT.clone()
    rows, samples = wave_BT.shape
    power_B = wave_BT.double().square().mean(dim=1).tolist()
    for row in range(rows):
        if uniform(0, 1, rng) >= config.share:
            continue
        source = integer(rows, rng)
        level_db = uniform(*config.level_db, rng)
        length = integer(int(samples * config.longest_share) + 1, rng)
        here, there = (integer(samples - length + 1, rng) for _ in range(2))
        piece = wave_BT[source, there : there + length]
        mixed_BT[row, here : here + length] += (
            mixing_gain(power_B[row], power_B[source], level_db) * piece
        )
    return mixed_BT


def mixing_gain(power: float, source_power: float, level_db: float) -> float:
    """Return the factor that brings the source ``level_db`` below the crop; 0 for a silent one."""
    if source_power <= 0:
        return 0.0
    return float((power / source_power * 10 ** (-level_db / 10)) ** 0.5)
