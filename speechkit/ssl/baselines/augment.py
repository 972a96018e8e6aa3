"""The one entry point of the baselines.

Shapes: B batch, T samples.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from speechkit.ssl.baselines.config import AugmentConfig
from speechkit.ssl.baselines.mixing import mix_utterances
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
