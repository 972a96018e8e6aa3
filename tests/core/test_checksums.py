"""Checksums of released weights: those of the files, and written by a release."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.checksums import SUMS_FILE, read_sums, record_sums, sha256_of
from speechkit.core.errors import CheckpointError
from speechkit.train.release import release

ROOT = Path(__file__).resolve().parents[2]


def test_bundled_checksums_are_those_of_the_files() -> None:
    weights = ROOT / "speechkit" / "weights"
    names = {
        f"{path.parent.name}/{name}"
        for path in weights.glob("*/model.safetensors")
        for name in ("config.json", "model.safetensors")
    }
    advice = f"in speechkit/weights: sha256sum */config.json */model.safetensors > {SUMS_FILE}"
    assert read_sums(weights) == {name: sha256_of(weights / name) for name in names}, advice


def test_a_release_writes_its_checksums(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    save_checkpoint(weights / "codec", {"a": torch.arange(8.0)}, {"size": 8})
    record_sums(weights / "codec")
    before = read_sums(weights)
    save_checkpoint(tmp_path / "run", {"a": torch.ones(4)}, {"size": 4})
    release(tmp_path / "run", weights / "generator", {"minutes": 1})
    after = read_sums(weights)
    assert before.items() < after.items()
    assert all(sha256_of(weights / name) == digest for name, digest in after.items())


def test_what_is_no_list_of_checksums_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        read_sums(tmp_path)
    (tmp_path / SUMS_FILE).write_text("no checksum\n")
    with pytest.raises(CheckpointError):
        read_sums(tmp_path)
