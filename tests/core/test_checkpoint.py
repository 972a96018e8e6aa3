"""Model folders: exact round trips, atomic writes, and hostile files refused with a reason."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from speechkit.core import checkpoint
from speechkit.core.checkpoint import build_and_load, load_checkpoint, load_state, save_checkpoint
from speechkit.core.errors import CheckpointError
from speechkit.core.files import write_atomically, write_json, write_text
from speechkit.core.rng import generator

CONFIG = {"channels": 3, "name": "größe", "nested": {"list": [1, 2.5, None]}}


def small_state() -> dict[str, Tensor]:
    rng = generator(0)
    return {
        "weight": torch.randn(4, 3, generator=rng),
        "half": torch.randn(5, generator=rng).bfloat16(),
        "count": torch.tensor(7),
        "mask": torch.tensor([True, False]),
        "empty": torch.zeros(0, 2),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "модель", small_state(), CONFIG)
    return tmp_path / "модель"


def test_round_trip_is_exact(folder: Path) -> None:
    loaded = load_checkpoint(folder)
    assert loaded.config == CONFIG
    assert loaded.state.keys() == small_state().keys()
    for name, tensor in small_state().items():
        assert loaded.state[name].dtype == tensor.dtype
        assert torch.equal(loaded.state[name], tensor)
    assert loaded.sha256 == load_checkpoint(folder).sha256
    assert len(loaded.sha256) == 64


def test_tied_transposed_and_trainable_tensors_are_saved(tmp_path: Path) -> None:
    base = torch.arange(6.0).view(2, 3).requires_grad_()
    save_checkpoint(tmp_path, {"a": base, "b": base, "c": base.T}, {})
    loaded = load_checkpoint(tmp_path).state
    assert torch.equal(loaded["b"], base)
    assert torch.equal(loaded["c"], base.T)


def test_saving_again_replaces_and_keeps_other_files(folder: Path) -> None:
    (folder / "MODEL_CARD.md").write_text("card")
    save_checkpoint(folder, {"one": torch.ones(1)}, {"new": True})
    assert load_checkpoint(folder).config == {"new": True}
    assert sorted(path.name for path in folder.iterdir()) == [
        "MODEL_CARD.md",
        "config.json",
        "model.safetensors",
    ]


def test_a_failed_write_leaves_the_old_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_checkpoint(folder)

    def disk_full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", disk_full)
    with pytest.raises(CheckpointError, match="No space left"):
        save_checkpoint(folder, {"one": torch.ones(1)}, CONFIG)
    assert load_checkpoint(folder).sha256 == before.sha256
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("config", [{"a": object()}, {"a": float("nan")}])
def test_a_config_that_is_not_json_writes_nothing(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="JSON"):
        save_checkpoint(tmp_path / "new", {}, config)
    assert not (tmp_path / "new").exists()


def test_text_and_json_are_written_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "größe\n")
    assert (tmp_path / "a.txt").read_bytes() == "größe\n".encode()
    write_json(tmp_path / "a.json", CONFIG)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == CONFIG
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == CONFIG
    assert len(list(tmp_path.iterdir())) == 2


def test_write_atomically_cleans_up_after_an_error(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def half_way(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_atomically(target, half_way)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@given(st.data())
def test_no_cut_of_the_weights_loads(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    save_checkpoint(folder, small_state(), CONFIG)
    weights = (folder / "model.safetensors").read_bytes()
    keep = data.draw(st.integers(0, len(weights) - 1))
    (folder / "model.safetensors").write_bytes(weights[:keep])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_checkpoint(folder)


def raw(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def tensor(shape: list[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "data",
    [
        raw({}, length=2**63),
        raw({}, length=2**64 - 1),
        raw({}, b"\0" * 100, length=50),
        raw({"a": tensor([2**40, 2**40], 0, 4)}, b"\0" * 4),
        raw({"a": tensor([2**62], 0, 2**64 - 1)}, b"\0" * 4),
        raw({"a": tensor([1], 0, 4), "b": tensor([1], 0, 4)}, b"\0" * 4),
        raw({"a": tensor([1], 4, 0)}, b"\0" * 4),
        raw({"a": tensor([-1], 0, 4)}, b"\0" * 4),
        raw({"a": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}}, b"\0" * 8),
        raw(b'{"a":' + b"[" * 200_000),
        raw(b"[]"),
        b"hello, this is text",
        b"",
    ],
    ids=[
        "length-2**63",
        "length-2**64",
        "length-past-the-json",
        "shape-overflows",
        "offsets-overflow",
        "overlap",
        "backwards",
        "negative-shape",
        "objects",
        "nested-deeply",
        "list",
        "text",
        "nothing",
    ],
)
def test_malformed_weights_are_refused(folder: Path, data: bytes) -> None:
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match="copy it again"):
        load_checkpoint(folder)


def test_a_header_bomb_is_refused_unparsed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bytes_ = checkpoint.MAX_HEADER_BYTES + 2
    (folder / "model.safetensors").write_bytes(raw(b"{" + b" " * (bytes_ - 2) + b"}"))
    monkeypatch.setattr(safetensors.torch, "load", lambda _: pytest.fail("parsed"))
    with pytest.raises(CheckpointError, match="cut short or is not"):
        load_checkpoint(folder)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt", "pytorch_model.bin"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_never_opened(folder: Path, name: str, zipped: bool) -> None:
    mark = folder.parent / "executed"
    buffer = io.BytesIO()
    if zipped:
        torch.save(Bomb(mark), buffer)
    else:
        pickle.dump(Bomb(mark), buffer)
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(buffer.getvalue())
    for path in {folder, folder / name}:
        with pytest.raises(CheckpointError, match=r"pickle|not a folder"):
            load_checkpoint(path)
    with pytest.raises(CheckpointError, match="pickle"):
        load_checkpoint(folder)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_links_may_not_lead_out_of_the_folder(folder: Path, name: str) -> None:
    outside = folder.parent / name
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        load_checkpoint(folder)
    (folder / name).unlink()
    (folder / name).symlink_to(folder / name)
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(folder)


def test_links_inside_and_to_the_folder_are_followed(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "weights-v1.safetensors")
    (folder / "model.safetensors").symlink_to("weights-v1.safetensors")
    link = folder.parent / "latest"
    link.symlink_to(folder)
    assert load_checkpoint(link).config == CONFIG


def test_pipes_and_folders_in_place_of_files_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="not a regular file"):
        load_checkpoint(folder)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="not a regular file"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_missing_parts_are_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"has no {name}"):
        load_checkpoint(folder)
    with pytest.raises(CheckpointError, match="not a folder"):
        load_checkpoint(folder / "nowhere")


@pytest.mark.parametrize(
    "data", [b"{", b"[]", b"\xff", b"[" * 200_000, b"", b'"text"'], ids=range(6)
)
def test_a_broken_config_is_refused(folder: Path, data: bytes) -> None:
    (folder / "config.json").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_checkpoint(folder)


def test_an_oversized_config_is_refused_unread(folder: Path) -> None:
    os.truncate(folder / "config.json", checkpoint.MAX_CONFIG_BYTES + 1)
    with pytest.raises(CheckpointError, match="larger than"):
        load_checkpoint(folder)


def test_state_that_does_not_fit_is_named_and_changes_nothing() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = dict(before, extra=torch.zeros(1))
    state["0.weight"] = torch.zeros(9, 3)
    del state["1.bias"]
    with pytest.raises(CheckpointError) as caught:
        load_state(module, state)
    for part in ("missing: 1.bias", "unexpected: extra", "0.weight is (9, 3) instead of (2, 3)"):
        assert part in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_only_the_first_wrong_names_are_listed() -> None:
    with pytest.raises(CheckpointError, match="k4 and 995 more"):
        load_state(nn.Identity(), {f"k{i}": torch.zeros(1) for i in range(1000)})


def test_a_huge_config_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(CheckpointError, match="wrong shape"):
        build_and_load(lambda: nn.Linear(10**9, 10**6), nn.Linear(3, 2).state_dict())


def test_a_fitting_state_is_built_and_loaded() -> None:
    source = nn.Linear(3, 2)
    built = build_and_load(lambda: nn.Linear(3, 2), source.state_dict())
    assert torch.equal(built.weight, source.weight)
    assert not built.weight.is_meta
    assert built.weight.requires_grad
    # Its own: training one does not change the other.
    assert built.weight.data_ptr() != source.weight.data_ptr()


class Windowed(nn.Module):
    """What a state holds, and what it does not."""

    def __init__(self, device: str | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4))
        self.register_buffer("seen", torch.zeros(2))
        window = torch.hann_window(4, device=device)
        self.register_buffer("window", window, persistent=False)


def test_stored_types_become_those_of_the_module() -> None:
    state = {"weight": torch.arange(4.0).half(), "seen": torch.ones(2).half()}
    built = build_and_load(lambda: Windowed("cpu"), state)
    assert built.weight.dtype == torch.float32
    assert torch.equal(built.weight, torch.arange(4.0))
    assert torch.equal(built.get_buffer("window"), torch.hann_window(4))
    before = torch.random.get_rng_state()
    build_and_load(lambda: Windowed("cpu"), state)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_module_whose_constants_would_be_lost_is_a_fault() -> None:
    with pytest.raises(RuntimeError, match="window"):
        build_and_load(lambda: Windowed(None), Windowed("cpu").state_dict())
