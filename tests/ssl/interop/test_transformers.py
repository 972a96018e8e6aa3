"""Folders of transformers: there and back without a changed bit, and plain refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from speechkit.core.errors import CheckpointError, ConfigError
from speechkit.ssl.ctc.characters import Characters
from speechkit.ssl.ctc.model import CtcConfig, CtcModel, build_ctc
from speechkit.ssl.encoder import build_encoder
from speechkit.ssl.interop.states import Exchanged
from speechkit.ssl.interop.transformers import Family, from_transformers, to_transformers
from tests.ssl.parity.references import (
    CHANNELS,
    Style,
    difference,
    encoder_config,
    noise,
    our_encoder,
    our_hubert,
    our_wav2vec2,
    stir,
)


def assert_same(ours: Exchanged, back: Exchanged) -> None:
    """Fail unless two models have the same config and bits."""
    assert type(ours) is type(back)
    assert ours.config == back.config
    there = back.state_dict()
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, there[name]), name
    assert not back.training


def recogniser() -> CtcModel:
    """A recogniser of four letters."""
    characters = Characters(("|", "A", "B", "Ä", "'"))
    model = build_ctc(CtcConfig(encoder=encoder_config(), final_dropout=0.2), characters)
    stir(model)
    return model


def edit(folder: Path, **changes: object) -> None:
    """Change keys of config.json; "gone" removes one."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value != "gone"}))


def edit_tensors(folder: Path, changes: dict[str, Tensor | None]) -> None:
    """Replace, add or remove tensors."""
    path = str(folder / "model.safetensors")
    state = safetensors.torch.load_file(path)
    for name, tensor in changes.items():
        state.pop(name, None)
        if tensor is not None:
            state[name] = tensor
    safetensors.torch.save_file(state, path)


@pytest.mark.parametrize("style", ["base", "large", "mixed"])
@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
def test_encoders_come_back(style: Style, family: Family, tmp_path: Path) -> None:
    ours = our_encoder(style)
    exported = to_transformers(ours, tmp_path, family=family)
    assert exported.architecture == ("HubertModel" if family == "hubert" else "Wav2Vec2Model")
    assert exported.left_out == ()
    imported = from_transformers(tmp_path)
    assert_same(ours, imported.model)
    assert imported.notes == ()


def test_wav2vec2_comes_back_with_its_schedule(tmp_path: Path) -> None:
    ours = our_wav2vec2(gumbel_start=1.7, penalty_weight=3.0, distractors=7)
    assert to_transformers(ours, tmp_path).architecture == "Wav2Vec2ForPreTraining"
    assert_same(ours, from_transformers(tmp_path).model)

    alone = from_transformers(tmp_path, encoder_only=True)
    assert_same(ours.encoder, alone.model)
    assert "quantizer.codevectors" in alone.notes[0]


def test_hubert_leaves_its_heads(tmp_path: Path) -> None:
    ours = our_hubert()
    exported = to_transformers(ours, tmp_path)
    assert exported.architecture == "HubertModel"
    assert exported.left_out == ("clusters_VD", "final_proj.weight", "final_proj.bias")
    assert_same(ours.encoder, from_transformers(tmp_path).model)


@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
def test_recognisers_come_back(family: Family, tmp_path: Path) -> None:
    ours = recogniser()
    exported = to_transformers(ours, tmp_path, family=family)
    assert exported.architecture == ("HubertForCTC" if family == "hubert" else "Wav2Vec2ForCTC")
    back = from_transformers(tmp_path).model
    assert_same(ours, back)
    assert isinstance(back, CtcModel)
    assert back.characters == ours.characters
    table = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    assert table == {"<pad>": 0, "|": 1, "A": 2, "B": 3, "Ä": 4, "'": 5}


@pytest.mark.parametrize(
    "name",
    ["Wav2Vec2Model", "Wav2Vec2ForPreTraining", "Wav2Vec2ForCTC", "HubertModel", "HubertForCTC"],
)
def test_what_transformers_saves_is_read(name: str, tmp_path: Path) -> None:
    import transformers

    source, folder = tmp_path / "ours", tmp_path / "theirs"
    model: Exchanged = recogniser() if name.endswith("CTC") else our_wav2vec2()
    if name.endswith("Model"):
        model = our_encoder()
    family: Family = "hubert" if name.startswith("Hubert") else "wav2vec2"
    to_transformers(model, source, family=family)
    there = getattr(transformers, name).from_pretrained(source)
    there.save_pretrained(folder)
    if name.endswith("CTC"):
        (folder / "vocab.json").write_bytes((source / "vocab.json").read_bytes())
    saved = safetensors.torch.load_file(folder / "model.safetensors")
    assert any("parametrizations" in tensor for tensor in saved)
    assert_same(model, from_transformers(folder).model)


def test_published_vocabularies_are_put_in_order(tmp_path: Path) -> None:
    ours = recogniser()
    to_transformers(ours, tmp_path)
    tokens = ["<s>", "b", "[UNK]", "<pad>", "'", "|", "</s>", "a", "ä"]
    (tmp_path / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    rows = torch.randn(len(tokens), 32)
    edit_tensors(tmp_path, {"lm_head.weight": rows, "lm_head.bias": torch.arange(9.0)})
    edit(tmp_path, pad_token_id=3, vocab_size=9)
    imported = from_transformers(tmp_path)
    assert isinstance(imported.model, CtcModel)
    assert imported.model.characters.symbols == ("|", "B", "'", "A", "Ä")
    order = [3, 5, 1, 4, 7, 8]
    assert imported.model.final_proj.bias.tolist() == [float(index) for index in order]
    assert torch.equal(imported.model.final_proj.weight, rows[order])
    assert imported.notes == ("classes left out, as CTC does not use them: <s> [UNK] </s>",)


@pytest.mark.parametrize(
    ("vocabulary", "says"),
    [
        ('{"<pad>": 0, "|": 1, "AH0": 2, "B": 3, "C": 4, "D": 5}', "no alphabet of letters"),
        ('{"<pad>": 0, "|": 0, "A": 2, "B": 3, "C": 4, "D": 5}', "number of its own"),
        ('{"<pad>": 0, " ": 1, "A": 2, "B": 3, "C": 4, "D": 5}', r"among them '\|'"),
        ('{"eng": {"<pad>": 0}}', "one table"),
        ("[", "Cannot read"),
        ('{"<pad>": 0, "|": 1, "A": 2}', "one row for each of the 3 tokens"),
    ],
)
def test_other_vocabularies_are_refused(vocabulary: str, says: str, tmp_path: Path) -> None:
    to_transformers(recogniser(), tmp_path)
    (tmp_path / "vocab.json").write_text(vocabulary)
    with pytest.raises(CheckpointError, match=says):
        from_transformers(tmp_path)
    assert from_transformers(tmp_path, encoder_only=True).notes


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "relu"),
        ("feat_extract_activation", "swish"),
        ("layer_norm_eps", 1e-12),
        ("feat_proj_layer_norm", False),
        ("conv_pos_batch_norm", True),
        ("add_adapter", True),
        ("adapter_attn_dim", 16),
        ("model_type", "wavlm"),
        ("model_type", "wav2vec2-conformer"),
        ("model_type", "gone"),
        ("model_type", ["hubert"]),
        ("speechkit", [1]),
    ],
)
def test_other_networks_are_refused_by_key(key: str, value: object, tmp_path: Path) -> None:
    to_transformers(our_encoder(), tmp_path)
    edit(tmp_path, **{key: value})
    with pytest.raises(CheckpointError, match=key):
        from_transformers(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("hidden_size", "wide", "model_dim"),
        ("num_hidden_layers", 10**9, "layers"),
        ("conv_dim", [16, 16], "equally long"),
        ("feat_extract_norm", "batch", "conv_norm"),
    ],
)
def test_bad_values_are_refused(key: str, value: object, says: str, tmp_path: Path) -> None:
    to_transformers(our_encoder(), tmp_path)
    edit(tmp_path, **{key: value})
    with pytest.raises(ConfigError, match=says):
        from_transformers(tmp_path)


def test_absent_keys_are_transformers_defaults(tmp_path: Path) -> None:
    to_transformers(our_encoder(), tmp_path)
    edit(tmp_path, hidden_dropout="gone", layerdrop="gone", hidden_act="gone", speechkit="gone")
    config = from_transformers(tmp_path).model.config
    assert (config.dropout, config.layer_drop) == (0.1, 0.1)  # type: ignore[union-attr]


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    to_transformers(our_encoder(), tmp_path)
    edit_tensors(
        tmp_path,
        {
            "feature_projection.projection.bias": None,
            "encoder.layers.0.adapter_layer.norm.weight": torch.zeros(1),
            "encoder.layers.1.feed_forward.output_dense.bias": torch.zeros(3),
        },
    )
    with pytest.raises(CheckpointError) as caught:
        from_transformers(tmp_path)
    message = str(caught.value)
    assert "missing: feature_projection.projection.bias;" in message
    assert "not understood: encoder.layers.0.adapter_layer.norm.weight;" in message
    assert "encoder.layers.1.feed_forward.output_dense.bias is (3,) instead of (32,)" in message


def test_a_config_of_other_sizes_is_refused_before_memory(tmp_path: Path) -> None:
    to_transformers(our_encoder(), tmp_path)
    edit(tmp_path, hidden_size=16384, intermediate_size=65536, num_hidden_layers=3)
    with pytest.raises(CheckpointError, match="missing: .* more"):
        from_transformers(tmp_path)


def test_pickles_are_refused(tmp_path: Path) -> None:
    to_transformers(our_encoder(), tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is a pickle"):
        from_transformers(tmp_path)


def test_a_missing_mask_vector_is_drawn(tmp_path: Path) -> None:
    to_transformers(our_encoder(), tmp_path)
    edit_tensors(tmp_path, {"masked_spec_embed": None})
    first, again = from_transformers(tmp_path), from_transformers(tmp_path)
    assert first.notes == ("the source has no mask vector: one was drawn",)
    assert_same(first.model, again.model)
    mask = first.model.state_dict()["mask_D"]
    assert 0 <= float(mask.min()) < float(mask.max()) < 1


def test_equal_widths_are_projected_by_the_identity(tmp_path: Path) -> None:
    import transformers

    config = replace(encoder_config(), model_dim=CHANNELS, ffn_dim=32)
    ours = build_encoder(config)
    stir(ours)
    to_transformers(ours.eval(), tmp_path)
    assert_same(ours, from_transformers(tmp_path).model)
    there: Any = transformers.Wav2Vec2Model.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        wave_BT = noise()
        assert difference(ours(wave_BT)[0], there(wave_BT).last_hidden_state) <= 1e-4
    edit_tensors(tmp_path, {"feature_projection.projection.weight": 2 * torch.eye(CHANNELS)})
    with pytest.raises(CheckpointError, match=r"not understood: feature_projection\.projection"):
        from_transformers(tmp_path)


def test_half_precision_is_read(tmp_path: Path) -> None:
    ours = our_encoder()
    to_transformers(ours, tmp_path)
    name = "feature_projection.projection.bias"
    half = ours.state_dict()["encoder_frontend.model_dim_proj.bias"].half()
    edit_tensors(tmp_path, {name: half})
    state = from_transformers(tmp_path).model.state_dict()
    assert torch.equal(state["encoder_frontend.model_dim_proj.bias"], half.float())
