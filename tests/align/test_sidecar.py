"""The alignment sidecar: round trip, empty clips, and files that must be refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from speechkit.core.errors import DataError
from speechkit.data.alignment import Alignment, ClipAlignment, sidecar_path, write_alignment

SYMBOLS = ("<pad>", "^", "$", " ", "B", "AH0")
IDS = ("a", "b", "c")


def write(path: Path) -> None:
    """A sidecar of three clips, the middle one without an alignment."""
    clips = {
        0: ClipAlignment(torch.tensor([1, 4, 5, 2]), torch.tensor([3, 4, 5, 0]), -0.5),
        2: ClipAlignment(torch.tensor([4]), torch.tensor([700]), -1.0),
    }
    write_alignment(path, SYMBOLS, IDS, clips, {"skipped": {"no text": 1}})


def test_round_trip(tmp_path: Path) -> None:
    """What was written comes back; clips without alignment are empty and have no score."""
    path = sidecar_path(tmp_path / "corpus.safetensors")
    assert path.name == "corpus.alignment.safetensors"
    write(path)
    alignment = Alignment(path, IDS)
    assert len(alignment) == 3
    assert [alignment.has(clip) for clip in range(3)] == [True, False, True]
    assert alignment.phones(0).tolist() == [1, 4, 5, 2]
    assert alignment.frames(0).tolist() == [3, 4, 5, 0]
    assert alignment.frames(2).tolist() == [700]
    assert alignment.phones(1).numel() == 0
    assert math.isnan(alignment.score(1))
    assert alignment.score(2) == -1.0
    assert alignment.symbols == SYMBOLS
    assert alignment.notes["skipped"] == {"no text": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_the_hash_follows_the_durations(tmp_path: Path) -> None:
    hashes = []
    for frames in ([3, 4], [3, 4], [4, 3]):
        clip = ClipAlignment(torch.tensor([4, 5]), torch.tensor(frames), -0.5)
        write_alignment(tmp_path / "x.safetensors", SYMBOLS, IDS, {0: clip})
        hashes.append(Alignment(tmp_path / "x.safetensors").sha256)
    assert hashes[0] == hashes[1] != hashes[2]


def test_another_corpus_is_refused(tmp_path: Path) -> None:
    """The ids of the corpus must be those it was made for."""
    path = tmp_path / "x.alignment.safetensors"
    write(path)
    with pytest.raises(DataError, match="another corpus"):
        Alignment(path, ("a", "b", "d"))


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    """Missing, truncated and foreign files raise DataError."""
    path = tmp_path / "x.alignment.safetensors"
    with pytest.raises(DataError):
        Alignment(path)
    write(path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError):
        Alignment(path)
    path.write_bytes(b"no header at all")
    with pytest.raises(DataError):
        Alignment(path)


def test_bad_durations_are_refused(tmp_path: Path) -> None:
    """One duration for each phone, none negative; nothing is left behind."""
    for frames in ([1, 2], [-1]):
        bad = {0: ClipAlignment(torch.tensor([4]), torch.tensor(frames), 0.0)}
        with pytest.raises(DataError, match="Clip a"):
            write_alignment(tmp_path / "x.safetensors", SYMBOLS, IDS, bad)
    assert not list(tmp_path.iterdir())
