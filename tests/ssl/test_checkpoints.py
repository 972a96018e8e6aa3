"""Model folders of pre-training: what is read back, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from speechkit.core.errors import CheckpointError, ConfigError
from speechkit.ssl.checkpoints import (
    AnyModel,
    build_pretrainer,
    load_encoder,
    load_model,
    save_model,
)
from speechkit.ssl.encoder import SslEncoder
from tests.ssl.parity.references import our_encoder, our_hubert, our_wav2vec2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a wav2vec 2.0."""
    save_model(tmp_path / "model", our_wav2vec2(), steps=7)
    return tmp_path / "model"


def edit(folder: Path, **changes: object) -> None:
    """Change keys of config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("make", [our_encoder, our_wav2vec2, our_hubert])
def test_models_come_back(make: type[AnyModel], tmp_path: Path) -> None:
    model = make()  # type: ignore[call-arg]
    save_model(tmp_path, model)
    back = load_model(tmp_path)
    assert type(back) is type(model)
    assert back.config == model.config
    assert not back.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name]), name
    encoder = load_encoder(tmp_path)
    assert isinstance(encoder, SslEncoder)
    assert encoder.config == our_encoder().config


def test_more_is_kept_in_the_config(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert (config["kind"], config["steps"]) == ("speechkit-ssl-wav2vec2", 7)


def test_same_seed_same_model() -> None:
    config = our_hubert().config
    one, same, other = (build_pretrainer(config, seed) for seed in (1, 1, 2))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, same.state_dict()[name]), name
    assert not torch.equal(one.final_proj.weight, other.final_proj.weight)


@pytest.mark.parametrize("kind", ["speechkit-aligner", "wav2vec2", None])
def test_other_kinds_are_refused(kind: str | None, folder: Path) -> None:
    edit(folder, kind=kind)
    with pytest.raises(
        CheckpointError, match="not a wav2vec 2.0, HuBERT, BEST-RQ or encoder folder"
    ):
        load_model(folder)


def test_a_kind_that_the_weights_are_not_is_refused(folder: Path) -> None:
    hubert = our_hubert()
    save_model(folder.parent / "hubert", hubert)
    config = json.loads((folder.parent / "hubert" / "config.json").read_text())
    edit(folder, **config)
    with pytest.raises(CheckpointError, match="missing: clusters_VD; unexpected: .*quantizer"):
        load_model(folder)


def test_weights_of_another_size_are_refused(folder: Path) -> None:
    model = our_wav2vec2()
    config = replace(model.config.encoder, layers=3)
    save_model(folder.parent / "other", build_pretrainer(replace(model.config, encoder=config)))
    (folder / "config.json").write_bytes((folder.parent / "other" / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match=r"missing: encoder\.encoder\.layers\.2"):
        load_model(folder)


def test_absurd_sizes_are_refused_before_memory(folder: Path) -> None:
    model = json.loads((folder / "config.json").read_text())["model"]
    huge = {"model_dim": 16384, "ffn_dim": 65536, "layers": 3}
    edit(folder, model={**model, "encoder": {**model["encoder"], **huge}})
    with pytest.raises(CheckpointError, match="missing: .*wrong shape: "):
        load_model(folder)


def test_damaged_files_are_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for size in (0, 4, 1000, len(whole) - 1):
        weights.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="download or copy it again"):
            load_model(folder)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        load_model(folder)
    (folder / "model.pt").write_bytes(whole)
    with pytest.raises(CheckpointError, match="is a pickle"):
        load_model(folder)


def test_bad_configs_are_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a folder"):
        load_model(folder / "nowhere")
    model = json.loads((folder / "config.json").read_text())["model"]
    edit(folder, model={**model, "codebook": 2})
    with pytest.raises(ConfigError, match="did you mean codebooks"):
        load_model(folder)
    edit(folder, model=[])
    with pytest.raises(ConfigError, match="table of keys"):
        load_model(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        load_model(folder)


def test_a_tensor_of_a_wrong_shape_is_named(folder: Path) -> None:
    path = str(folder / "model.safetensors")
    state = safetensors.torch.load_file(path)
    state["final_proj.bias"] = torch.zeros(5)
    safetensors.torch.save_file(state, path)
    with pytest.raises(CheckpointError, match=r"final_proj\.bias is \(5,\) instead of \(16,\)"):
        load_model(folder)
