from __future__ import annotations

from typing import Literal

import pytest
import torch

from speechkit.core.config import from_dict, to_dict
from speechkit.core.errors import ConfigError
from speechkit.core.rng import generator
from speechkit.ssl.baselines import AugmentConfig, MixingConfig, WavAugmentConfig, augment
from speechkit.ssl.batch import PretrainBatch


def batch() -> PretrainBatch:
    wave_BT = torch.randn(3, 1600, generator=generator(0))
    return PretrainBatch(
        wave_BT=wave_BT, masked_BF=torch.rand(3, 4) < 0.5, labels_BF=torch.ones(3, 4), update=7
    )


def config(kind: Literal["none", "mixing", "wavaugment"], mode: str = "both") -> AugmentConfig:
    return AugmentConfig(
        kind=kind,
        mixing=MixingConfig(share=1),
        wavaugment=from_dict(WavAugmentConfig, {"mode": mode, "noise_share": 1.0}),
    )


def test_none_changes_nothing() -> None:
    given = batch()
    assert augment(given, config("none"), generator(1)) is given


@pytest.mark.parametrize(
    ("kind", "mode", "has_clean"),
    [("mixing", "both", True), ("wavaugment", "source_only", True), ("wavaugment", "both", False)],
)
def test_where_targets_come_from(
    kind: Literal["mixing", "wavaugment"], mode: str, has_clean: bool
) -> None:
    given = batch()
    before = given.wave_BT.clone()
    found = augment(given, config(kind, mode), generator(1))
    assert torch.equal(given.wave_BT, before)
    assert given.clean_BT is None
    assert not torch.equal(found.wave_BT, before)
    assert found.wave_BT.shape == before.shape
    assert found.masked_BF is given.masked_BF
    assert found.labels_BF is given.labels_BF
    assert found.update == 7
    if has_clean:
        assert found.clean_BT is not None
        assert torch.equal(found.clean_BT, before)
    else:
        assert found.clean_BT is None
    again = augment(given, config(kind, mode), generator(1))
    assert torch.equal(again.wave_BT, found.wave_BT)


def test_a_clean_signal_that_is_there_stays() -> None:
    given = batch()
    given.clean_BT = torch.zeros_like(given.wave_BT)
    found = augment(given, config("mixing"), generator(1))
    assert found.clean_BT is given.clean_BT


def test_config_comes_back_and_refuses_what_is_out_of_range() -> None:
    given = config("wavaugment", "source_only")
    assert from_dict(AugmentConfig, to_dict(given)) == given
    for wrong in (
        {"kind": "wav2vec-aug"},
        {"mixing": {"share": 1.5}},
        {"mixing": {"longest_share": 0.6}},
        {"mixing": {"level_db": [5, -5]}},
        {"wavaugment": {"reverb_seconds": [0.0, 0.5]}},
        {"wavaugment": {"noise_snr_db": [5, float("nan")]}},
    ):
        with pytest.raises(ConfigError):
            from_dict(AugmentConfig, wrong)
