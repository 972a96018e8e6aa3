"""State dicts of torchaudio, fairseq and fairseq2."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from speechkit.core.errors import CheckpointError
from speechkit.ssl.config import EncoderConfig
from speechkit.ssl.encoder import SslEncoder
from speechkit.ssl.hubert import HubertPretrainer
from speechkit.ssl.interop.states import Exchanged, from_state, to_state
from tests.ssl.parity.references import (
    HEADS,
    Style,
    difference,
    encoder_config,
    in_torchaudio,
    noise,
    our_encoder,
    our_hubert,
    our_wav2vec2,
    to_torchaudio,
)


def assert_same_tensors(ours: Exchanged, back: Exchanged, *, but_mask: bool = False) -> None:
    """Fail unless two models hold the same bits; torchaudio's encoders have no mask vector."""
    assert type(ours) is type(back)
    there = back.state_dict()
    for name, tensor in ours.state_dict().items():
        if not (but_mask and name == "mask_D"):
            assert torch.equal(tensor, there[name]), name


def sizes(config: EncoderConfig) -> dict[str, Any]:
    """What the shapes and the standard tell."""
    names = ("conv_channels", "conv_kernels", "conv_strides", "conv_bias", "conv_norm", "model_dim")
    more = ("layers", "heads", "ffn_dim", "norm_order", "position_kernel", "position_groups")
    return {name: getattr(config, name) for name in (*names, *more)}


@pytest.mark.parametrize("style", ["base", "large"])
def test_files_of_torchaudio_s_modules_come_in(style: Style) -> None:
    ours = our_encoder(style)
    imported = from_state(in_torchaudio(ours).state_dict(), heads=HEADS)
    assert_same_tensors(ours, imported.model, but_mask=True)
    assert imported.notes[-1] == "the source has no mask vector: one was drawn"
    config = imported.model.config
    assert isinstance(config, EncoderConfig)
    assert sizes(config) == sizes(encoder_config(style))


def test_an_unusual_order_of_norms_is_asked_for() -> None:
    ours = our_encoder("mixed")
    state = in_torchaudio(ours).state_dict()
    wave_BT = noise()
    with torch.no_grad():
        expected, _ = ours(wave_BT)
        assumed = from_state(state, heads=HEADS)
        assert "--norm-order" in assumed.notes[0]
        given = from_state(state, heads=HEADS, norm_order="post")
        assert not any("norm-order" in note for note in given.notes)
        assert isinstance(given.model, SslEncoder)
        assert difference(given.model(wave_BT)[0], expected) <= 1e-5


def test_torchaudio_hubert_comes_in() -> None:
    ours = our_hubert()
    state = in_torchaudio(ours).state_dict()
    imported = from_state(state, heads=HEADS)
    assert_same_tensors(ours, imported.model)
    assert isinstance(imported.model, HubertPretrainer)
    assert (imported.model.config.clusters, imported.model.config.final_dim) == (7, 16)
    alone = from_state(state, heads=HEADS, encoder_only=True)
    assert_same_tensors(ours.encoder, alone.model)
    assert any("logit_generator.label_embeddings" in note for note in alone.notes)


def test_other_networks_are_refused() -> None:
    from torchaudio import models

    convs = [(16, 10, 5), *[(16, 3, 2)] * 4, *[(16, 2, 2)] * 2]
    sizes = (32, 0.0, 8, 4, 2, 4, 32, 128, 0.0, 64, 0.0, 0.0, False, 0.0, None)
    wavlm = models.wavlm_model("group_norm", convs, False, *sizes)
    with pytest.raises(CheckpointError, match=r"lack .*layers\.0\.attention\.q_proj"):
        from_state(wavlm.state_dict())


@pytest.mark.parametrize("style", ["base", "large"])
def test_shapes_tell_the_encoder(style: Style) -> None:
    ours = our_encoder(style)
    for layout in ("fairseq", "torchaudio", "fairseq2"):
        state, _ = to_state(ours, layout)
        imported = from_state(state, heads=HEADS)
        assert imported.layout == layout
        assert_same_tensors(ours, imported.model)
        assert isinstance(imported.model, SslEncoder)
        assert sizes(imported.model.config) == sizes(ours.config)


def test_torchaudio_files_keep_their_weight_norm_names() -> None:
    ours = our_hubert()
    state = to_torchaudio(ours)
    assert any(name.endswith("parametrizations.weight.original0") for name in state)
    imported = from_state(state, heads=HEADS)
    assert_same_tensors(ours, imported.model)
    assert "--norm-order" in imported.notes[0]
    assert imported.notes[1] == "the weights do not say how many units a second they name: 50?"


@pytest.mark.parametrize("layout", ["fairseq", "fairseq2"])
def test_whole_wav2vec2_comes_in(layout: Any) -> None:
    ours = our_wav2vec2()
    state, left_out = to_state(ours, layout)
    assert left_out == ()
    if layout == "fairseq2":
        state["quantizer.num_updates"] = torch.tensor(12)
    imported = from_state(state, heads=HEADS)
    assert_same_tensors(ours, imported.model)


def test_fairseq_hubert_comes_in() -> None:
    ours = our_hubert(clusters=100)
    state, left_out = to_state(ours, "fairseq")
    assert left_out == ()
    imported = from_state(state, heads=HEADS)
    assert_same_tensors(ours, imported.model)
    assert "name: 100?" in imported.notes[1]


def test_what_shapes_cannot_tell_is_asked_for() -> None:
    state, _ = to_state(our_encoder(), "fairseq")
    with pytest.raises(CheckpointError, match=r"of width 32 has: give --heads"):
        from_state(state)
    wide = dict(state)
    wide["feature_extractor.conv_layers.0.0.weight"] = torch.zeros(16, 1, 11)
    with pytest.raises(CheckpointError, match="strides"):
        from_state(wide, heads=HEADS)
    given = from_state(state, encoder=encoder_config())
    assert given.model.config == encoder_config()
    for broken in ("encoder.pos_conv.0.weight_v", "encoder.layers.0.fc1.weight"):
        flat: dict[str, Tensor] = {**state, broken: torch.zeros(3)}
        if broken.endswith("fc1.weight"):
            del flat[broken]
        with pytest.raises(CheckpointError, match=f"lack {broken}"):
            from_state(flat, heads=HEADS)


def test_recognisers_without_letters_are_refused() -> None:
    ours = our_encoder()
    state, _ = to_state(ours, "fairseq")
    state = {f"w2v_encoder.w2v_model.{name}": tensor for name, tensor in state.items()}
    state |= {
        "w2v_encoder.proj.weight": torch.zeros(5, 32),
        "w2v_encoder.proj.bias": torch.zeros(5),
    }
    with pytest.raises(CheckpointError, match="characters"):
        from_state(state, heads=HEADS)
    alone = from_state(state, heads=HEADS, encoder_only=True)
    assert_same_tensors(ours, alone.model)
    assert alone.notes[1:] == ("left out, beyond the encoder: proj.weight, proj.bias",)
