"""Our encoder against those of transformers, torchaudio and fairseq2, from the same weights.

Shapes: B batch, T samples, F frames, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from speechkit.core.rng import derive, generator
from speechkit.ssl.encoder import SslEncoder, build_encoder
from speechkit.ssl.wav2vec2 import Wav2Vec2Pretrainer
from tests.ssl.parity.fairseq2 import fairseq2_config
from tests.ssl.parity.references import (
    LAYERS,
    Style,
    difference,
    encoder_config,
    in_fairseq2,
    in_torchaudio,
    in_transformers,
    noise,
    our_wav2vec2,
)

STYLES: tuple[Style, ...] = ("base", "large", "mixed")


@dataclass
class Quartet:
    """One network four times."""

    ours: SslEncoder
    transformers: Any
    torchaudio: Any
    fairseq2: Any


@pytest.fixture(scope="module", params=STYLES)
def four(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Quartet:
    """The network of each style."""
    return quartet(our_wav2vec2(request.param), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def padded(tmp_path_factory: pytest.TempPathFactory) -> Quartet:
    """GroupNorm of the base style runs over padding, so only LayerNorm ones can ignore it."""
    return quartet(our_wav2vec2("mixed"), tmp_path_factory.mktemp("model"))


def quartet(model: Wav2Vec2Pretrainer, folder: Path) -> Quartet:
    """All four from ours."""
    return Quartet(
        ours=model.encoder,
        transformers=in_transformers(model.encoder, folder),
        torchaudio=in_torchaudio(model.encoder),
        fairseq2=in_fairseq2(model),
    )


@pytest.fixture(autouse=True)
def without_gradients() -> Any:
    """Nothing here learns."""
    with torch.no_grad():
        yield


def test_frame_counts_agree(padded: Quartet) -> None:
    config = padded.ours.config
    drawn = torch.randint(2000, 500_000, (200,), generator=generator(0)).tolist()
    samples = [*range(config.field_samples, 1400), *drawn]
    ours = [config.frames(count) for count in samples]

    theirs = padded.transformers._get_feat_extract_output_lengths(torch.tensor(samples)).tolist()
    assert ours == theirs
    assert ours == padded.fairseq2.encoder_frontend.feature_extractor._contract_seq_lens(samples)

    rows = [*range(400, 464), 799, 800, 1359, 1360]
    wave_BT = torch.zeros(len(rows), max(rows))
    _, lengths = padded.torchaudio.feature_extractor(wave_BT, torch.tensor(rows))
    assert lengths.tolist() == padded.ours.features(wave_BT, rows).frames_B
    assert padded.ours.features(wave_BT[:1]).raw_BFC.shape[1] == config.frames(max(rows))


def test_convolutions_agree(four: Quartet) -> None:
    from fairseq2.nn import BatchLayout

    wave_BT = noise()
    ours = four.ours.features(wave_BT)
    front = four.fairseq2.encoder_frontend
    normed, _, raw = front.extract_features(wave_BT, BatchLayout.of(wave_BT))
    assert difference(ours.raw_BFC, raw) <= 1e-5
    assert difference(ours.normed_BFC, normed) <= 1e-5
    theirs = four.transformers.feature_extractor(wave_BT).transpose(1, 2)
    assert difference(ours.raw_BFC, theirs) <= 1e-5
    normed = four.transformers.feature_projection.layer_norm(theirs)
    assert difference(ours.normed_BFC, normed) <= 1e-5
    assert difference(ours.raw_BFC, four.torchaudio.feature_extractor(wave_BT, None)[0]) <= 1e-5


def test_every_block_agrees(four: Quartet) -> None:
    wave_BT = noise()
    ours = four.ours.hidden_states(wave_BT).layers
    last_BFD, frames_B = four.ours(wave_BT)
    assert len(ours) == LAYERS + 1
    assert frames_B == [99, 99]

    theirs = four.transformers(wave_BT, output_hidden_states=True)
    for index in range(LAYERS + 1):
        assert difference(ours[index], theirs.hidden_states[index]) <= 1e-4, index
    assert difference(last_BFD, theirs.last_hidden_state) <= 1e-4
    assert torch.equal(last_BFD, ours[-1])

    # These two leave out the LayerNorm behind the last block, which "pre" has.
    levels, _ = four.torchaudio.extract_features(wave_BT)
    for index in range(LAYERS - 1):
        assert difference(ours[index + 1], levels[index]) <= 1e-4, index
    assert difference(last_BFD, four.torchaudio(wave_BT)[0]) <= 1e-4

    for index, level in enumerate(fairseq2_levels(four.fairseq2, wave_BT)[:-1]):
        assert difference(ours[index], level) <= 1e-4, index


def fairseq2_levels(model: Any, wave_BT: Tensor, lengths: list[int] | None = None) -> list[Tensor]:
    """The input of the first block and the output of each."""
    from fairseq2.nn import BatchLayout

    seqs, layout = model.encoder_frontend(wave_BT, BatchLayout.of(wave_BT, seq_lens=lengths))
    levels = [seqs]

    def keep(index: int, output: Tensor, layout: object, count: int) -> bool:
        levels.append(output)
        return True

    hook = model.encoder.register_layer_hook(keep)
    model.encoder(seqs, layout)
    hook.remove()
    return levels


def test_padding_changes_nothing(padded: Quartet) -> None:
    lengths = [32_000, 17_001, 4_000]
    wave_BT = noise(3)
    mask_BT = torch.arange(wave_BT.shape[1]) < torch.tensor(lengths)[:, None]
    wave_BT = wave_BT * mask_BT
    ours, frames_B = padded.ours(wave_BT, lengths)
    assert frames_B == [99, 52, 12]

    theirs = padded.transformers(wave_BT, attention_mask=mask_BT.long()).last_hidden_state
    audio, valid = padded.torchaudio(wave_BT, torch.tensor(lengths))
    assert valid.tolist() == frames_B
    fairseq2 = fairseq2_levels(padded.fairseq2, wave_BT, lengths)[-1]
    for row, (samples, frames) in enumerate(zip(lengths, frames_B, strict=True)):
        alone, _ = padded.ours(wave_BT[row : row + 1, :samples])
        for reference in (alone[0], theirs[row, :frames], audio[row, :frames]):
            assert difference(ours[row, :frames], reference) <= 1e-4, row
        assert difference(ours[row, :frames], fairseq2[row, :frames]) <= 1e-4, row


def test_padding_would_show(padded: Quartet) -> None:
    lengths = [32_000, 4_000]
    wave_BT = noise(2) * (torch.arange(32_000) < torch.tensor(lengths)[:, None])
    heard, frames_B = padded.ours(wave_BT, lengths)
    blind, _ = padded.ours(wave_BT)
    assert difference(heard[1, : frames_B[1]], blind[1, : frames_B[1]]) > 1e-3


def test_weight_norm_agrees(four: Quartet) -> None:
    conv = four.ours.encoder_frontend.get_submodule("pos_encoder.conv")
    four.ours(noise(1, 800))  # the old form computes the weight in front of each pass
    weight = conv.weight
    assert isinstance(weight, Tensor)
    assert difference(weight, four.transformers.encoder.pos_conv_embed.conv.weight) <= 1e-6
    theirs = four.torchaudio.encoder.transformer.pos_conv_embed.conv.weight
    assert difference(weight, theirs) <= 1e-6
    gain, direction = conv.weight_g, conv.weight_v
    assert isinstance(gain, Tensor)
    assert isinstance(direction, Tensor)
    norm = direction.square().sum(dim=(0, 1), keepdim=True).sqrt()
    assert difference(weight, gain * direction / norm) <= 1e-6


@pytest.mark.parametrize("style", STYLES)
def test_fresh_weights_are_fairseq2_s_for_the_same_seed(style: Style) -> None:
    pytest.importorskip("fairseq2")
    from fairseq2.models.wav2vec2 import Wav2Vec2EncoderFactory

    config = encoder_config(style)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(3, "encoder"))
        factory = Wav2Vec2EncoderFactory(fairseq2_config(config))
        parts = {
            "encoder_frontend": factory.create_encoder_frontend(),
            "encoder": factory.create_encoder(),
        }
    ours = build_encoder(config, seed=3).state_dict()
    theirs = {
        f"{part}.{k}": v for part, module in parts.items() for k, v in module.state_dict().items()
    }
    assert ours.keys() - {"mask_D"} == theirs.keys()
    for name, tensor in theirs.items():
        assert difference(ours[name], tensor) <= 1e-6, name
