"""The encoder: sizes, masks, seeds, and waves it cannot take.

Shapes: B batch, T samples, F frames, D channels.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.errors import AudioError, ConfigError
from speechkit.core.rng import generator
from speechkit.ssl.config import EncoderConfig
from speechkit.ssl.encoder import SslEncoder, build_encoder
from tests.ssl.parity.references import encoder_config


@pytest.fixture(scope="module")
def encoder() -> SslEncoder:
    """A tiny one."""
    return build_encoder(encoder_config()).eval()


def wave(rows: int = 2, samples: int = 4000) -> torch.Tensor:
    """Noise."""
    return torch.randn(rows, samples, generator=generator(0))


def test_short_waves_are_refused(encoder: SslEncoder) -> None:
    field = encoder.config.field_samples
    assert (field, encoder.config.hop_samples) == (400, 320)
    assert encoder(wave(1, field))[1] == [1]
    with pytest.raises(AudioError, match="399 samples is too short.* at least 400 at 16 kHz"):
        encoder(wave(1, field - 1))
    with pytest.raises(AudioError, match="wave of 0 samples"):
        encoder(wave(1, 0))


def test_a_short_row_of_a_batch_is_refused(encoder: SslEncoder) -> None:
    with pytest.raises(AudioError, match="wave of 399 samples"):
        encoder(wave(), [4000, 399])
    assert encoder(wave(), [4000, 400])[1] == [12, 1]


@settings(max_examples=60, deadline=None)
@given(frames=st.integers(1, 5000), more=st.integers(0, 319))
def test_frames_follow_from_field_and_hop(frames: int, more: int) -> None:
    config = EncoderConfig()
    assert config.frames(400 + 320 * (frames - 1) + more) == frames
    assert config.frames(399) == 0


def test_same_seed_same_weights() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, same, other = (build_encoder(encoder_config(), seed) for seed in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, same.state_dict()[name]), name
    assert not torch.equal(one.mask_D, other.mask_D)
    assert 0 <= float(one.mask_D.detach().min()) <= float(one.mask_D.detach().max()) < 1


def test_hidden_frames_do_not_reach_the_transformer(encoder: SslEncoder) -> None:
    features = encoder.features(wave())
    masked_BF = torch.ones(2, 12, dtype=torch.bool)
    x_BFD = encoder.project(features, masked_BF)
    assert torch.allclose(x_BFD[0], x_BFD[1])
    masked_BF[:, 3] = False
    assert not torch.allclose(*encoder.project(features, masked_BF))


def test_hidden_channels_are_zero_before_positions(encoder: SslEncoder) -> None:
    features = encoder.features(wave())
    every = torch.ones(2, 32, dtype=torch.bool)
    x_BFD = encoder.project(features, channels_BD=every)
    assert torch.allclose(x_BFD[0], x_BFD[1])
    none = encoder.project(features, channels_BD=~every)
    assert torch.equal(none, encoder.project(features))


def test_levels_end_with_the_output(encoder: SslEncoder) -> None:
    wave_BT = wave()
    levels = encoder.hidden_states(wave_BT)
    assert levels.frames_B == [12, 12]
    assert [tuple(level.shape) for level in levels.layers] == [(2, 12, 32)] * 3
    assert torch.equal(levels.layers[-1], encoder(wave_BT)[0])


def test_threads_may_share_an_encoder(encoder: SslEncoder) -> None:
    waves = [torch.randn(1, 4000 + 640 * n, generator=generator(n)) for n in range(4)]
    alone = [encoder.hidden_states(wave_BT).layers for wave_BT in waves]
    barrier = Barrier(len(waves))

    def again(wave_BT: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
        barrier.wait()
        with torch.no_grad():
            return [encoder.hidden_states(wave_BT).layers for _ in range(8)]

    with ThreadPoolExecutor(len(waves)) as pool:
        for expected, found in zip(alone, pool.map(again, waves), strict=True):
            for layers in found:
                assert len(layers) == 3
                assert all(map(torch.equal, layers, expected))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"conv_strides": (5, 2)}, "equally long"),
        ({"conv_kernels": ()}, "equally long"),
        ({"conv_channels": (0,) * 7}, "at least 1"),
        ({"heads": 5}, "multiple of heads"),
        ({"position_groups": 7}, "position_groups"),
    ],
)
def test_impossible_configs_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        EncoderConfig(**changes)  # type: ignore[arg-type]
