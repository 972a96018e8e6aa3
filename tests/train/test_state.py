"""Saved states survive crashes at any point."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch

from speechkit.train import state
from speechkit.train.state import Counters, load_state, recover_folder, replace_folder, save_state


def _save(root: Path, step: int, keep: int = 2) -> Path:
    tensors = {"model/w": torch.full((3,), float(step))}
    return save_state(root, tensors, Counters(step=step, elapsed_seconds=1.5), {}, keep)


def _step(root: Path) -> int | None:
    loaded = load_state(root)
    if loaded is None:
        return None
    step = loaded.counters.step
    assert torch.equal(loaded.tensors["model/w"], torch.full((3,), float(step)))
    return step


def test_nothing_saved_is_none(tmp_path: Path) -> None:
    assert load_state(tmp_path / "state") is None


def test_returns_the_newest_and_keeps_as_many_as_asked(tmp_path: Path) -> None:
    for step in (1, 2, 3, 10, 100):
        _save(tmp_path, step, keep=3)
    assert _step(tmp_path) == 100
    assert sorted(folder.name for folder in tmp_path.iterdir()) == [
        "000003-step3",
        "000004-step10",
        "000005-step100",
    ]


def test_all_counters_and_types_come_back(tmp_path: Path) -> None:
    counters = Counters(
        step=3, elapsed_seconds=0.1, skipped_steps=2, skipped_in_a_row=1, best_score=-0.3
    )
    shared = torch.randn(2, 5)
    tensors = {
        "a": shared,
        "b": shared,
        "transposed": shared.T,
        "half": torch.ones((), dtype=torch.bfloat16),
        "count": torch.tensor(7),
    }
    save_state(tmp_path, tensors, counters, {"lr": 1.0}, keep=1)
    loaded = load_state(tmp_path)
    assert loaded is not None
    assert loaded.counters == counters
    assert loaded.identity == {"lr": 1.0}
    for name, tensor in tensors.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name], tensor)


@pytest.mark.parametrize("moment", ["half the tensors", "before the description", "before rename"])
def test_a_crash_while_saving_leaves_the_last_good_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    _save(tmp_path, 1)

    def crash(*args: object) -> None:
        raise KeyboardInterrupt

    def half(tensors: dict[str, torch.Tensor], path: str) -> None:
        data = safetensors.torch.save(tensors)
        Path(path).write_bytes(data[: len(data) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "half the tensors":
            patch.setattr(safetensors.torch, "save_file", half)
        elif moment == "before the description":
            patch.setattr(json, "dumps", lambda *args, **kwargs: crash())
        else:
            patch.setattr(os, "rename", crash)
        with pytest.raises(KeyboardInterrupt):
            _save(tmp_path, 2)
    assert _step(tmp_path) == 1
    _save(tmp_path, 3)
    assert _step(tmp_path) == 3
    assert len(list(tmp_path.iterdir())) == 2, "what the crash left is cleared away"


@pytest.mark.parametrize("damage", ["cut tensors", "cut description", "no tensors", "version"])
def test_a_damaged_state_is_passed_over(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    _save(tmp_path, 5)
    newest = _save(tmp_path, 6)
    tensors, described = newest / state.TENSORS_FILE, newest / state.STATE_FILE
    if damage == "cut tensors":
        tensors.write_bytes(tensors.read_bytes()[:-4])
    elif damage == "cut description":
        described.write_text(described.read_text()[:20])
    elif damage == "no tensors":
        tensors.unlink()
    else:
        described.write_text(described.read_text().replace('"format": 1', '"format": 99'))
    assert _step(tmp_path) == 5
    assert "damaged" in caplog.text
    _save(tmp_path, 6)
    assert _step(tmp_path) == 6, "a state saved after going back is the newest one"


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "best"
    replace_folder(target, lambda folder: _write(folder / "a"))
    replace_folder(target, lambda folder: _write(folder / "b"))
    assert [path.name for path in target.iterdir()] == ["b"]

    def fail(folder: Path) -> None:
        _write(folder / "c")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        replace_folder(target, fail)
    assert [path.name for path in target.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_crash_between_the_two_moves_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "best"
    replace_folder(target, lambda folder: _write(folder / "a"))
    rename, calls = os.rename, []

    def crash_second(source: Path, goal: Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise KeyboardInterrupt
        rename(source, goal)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", crash_second)
        with pytest.raises(KeyboardInterrupt):
            replace_folder(target, lambda folder: _write(folder / "b"))
    assert not target.exists()
    recover_folder(target)
    assert [path.name for path in target.iterdir()] == ["a"]
    recover_folder(target)
    assert target.exists()


def _write(path: Path) -> None:
    path.write_text(path.name)
