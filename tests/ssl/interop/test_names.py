"""The table of names: one to one, and what fairseq's and the others' files are known to hold."""

from __future__ import annotations

import pytest
import torch

from speechkit.core.errors import CheckpointError
from speechkit.ssl.interop.names import (
    Layout,
    bare,
    detect_layout,
    kind_of_names,
    modern_to_old,
    translate,
)
from speechkit.ssl.interop.states import kind_of
from tests.ssl.parity.references import our_encoder, our_hubert, our_wav2vec2

FAIRSEQ = {
    "mask_D": "mask_emb",
    "encoder_frontend.feature_extractor.layers.3.conv.weight": (
        "feature_extractor.conv_layers.3.0.weight"
    ),
    "encoder_frontend.feature_extractor.layers.0.group_norm.bias": (
        "feature_extractor.conv_layers.0.2.bias"
    ),
    "encoder_frontend.feature_extractor.layers.4.layer_norm.weight": (
        "feature_extractor.conv_layers.4.2.1.weight"
    ),
    "encoder_frontend.post_extract_layer_norm.weight": "layer_norm.weight",
    "encoder_frontend.model_dim_proj.bias": "post_extract_proj.bias",
    "encoder_frontend.pos_encoder.conv.weight_g": "encoder.pos_conv.0.weight_g",
    "encoder_frontend.layer_norm.bias": "encoder.layer_norm.bias",
    "encoder.layers.11.self_attn.output_proj.weight": "encoder.layers.11.self_attn.out_proj.weight",
    "encoder.layers.0.ffn.inner_proj.weight": "encoder.layers.0.fc1.weight",
    "encoder.layers.0.ffn_layer_norm.weight": "encoder.layers.0.final_layer_norm.weight",
}


def test_fairseq_names() -> None:
    for ours, theirs in FAIRSEQ.items():
        assert translate(ours, "encoder", "fairseq") == theirs
        assert translate(f"encoder.{ours}", "wav2vec2", "fairseq") == theirs
    assert translate("quantizer.entries", "wav2vec2", "fairseq") == "quantizer.vars"
    assert translate("final_target_proj.bias", "wav2vec2", "fairseq") == "project_q.bias"
    assert translate("clusters_VD", "hubert", "fairseq") == "label_embs_concat"


@pytest.mark.parametrize("layout", ["transformers", "torchaudio", "fairseq", "fairseq2"])
def test_names_are_one_to_one(layout: Layout) -> None:
    for model in (our_encoder("base"), our_encoder("large"), our_wav2vec2(), our_hubert()):
        kind = kind_of(model)
        names = [translate(name, kind, layout) for name in model.state_dict()]
        placed = [name for name in names if name]
        assert len(set(placed)) == len(placed)
        assert detect_layout(placed) == layout
        known = (
            layout != "torchaudio" if kind == "wav2vec2" else layout in ("torchaudio", "fairseq")
        )
        assert kind_of_names(placed, layout) == (kind if known else "encoder")


def test_a_name_of_no_model_is_an_error() -> None:
    with pytest.raises(KeyError):
        translate("encoder.layers.0.cross_attn.q_proj.weight", "encoder", "fairseq")


def test_weight_norm_has_two_spellings() -> None:
    old, modern = "a.conv.weight_g", "a.conv.parametrizations.weight.original0"
    assert modern_to_old(modern) == old
    for name in ("a.weight", "parametrizations.weight.original2"):
        assert modern_to_old(name) == name


def test_prefixes_and_counters_fall_off() -> None:
    zero = torch.zeros(1)
    state = {"wav2vec2.masked_spec_embed": zero, "project_q.bias": zero}
    assert set(bare(state, "transformers")) == {"masked_spec_embed", "project_q.bias"}
    assert set(bare({"hubert.encoder.x": zero}, "transformers")) == {"encoder.x"}
    state = {"w2v_encoder.w2v_model.mask_emb": zero, "w2v_encoder.proj.weight": zero}
    assert set(bare(state, "fairseq")) == {"mask_emb", "proj.weight"}
    assert bare({"quantizer.num_updates": zero}, "fairseq2") == {}
    with pytest.raises(CheckpointError, match="twice"):
        bare({"wav2vec2.x": zero, "x": zero}, "transformers")


def test_foreign_names_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"begin with bert\.pooler"):
        detect_layout(["bert.pooler.weight"])
    with pytest.raises(CheckpointError, match="none at all"):
        detect_layout([])
