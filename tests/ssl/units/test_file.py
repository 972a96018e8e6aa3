"""The file of units: what is written is read, and damage is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.ssl.units.file import Units, write_units


def write(path: Path, units: dict[str, Tensor], clusters: int = 10, rate_hz: int = 50) -> Units:
    write_units(
        path,
        units,
        rate_hz=rate_hz,
        clusters=clusters,
        kmeans_sha256="ab" * 32,
        features={"kind": "mfcc"},
    )
    return Units(path)


@settings(deadline=None, max_examples=20)
@given(clips=st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=6))
def test_round_trip(clips: list[list[int]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("units") / "u.safetensors"
    named = {f"a/{index}": torch.tensor(c, dtype=torch.int64) for index, c in enumerate(clips)}
    units = write(path, named)
    assert (len(units), units.clusters, units.rate_hz) == (len(clips), 10, 50)
    assert units.kmeans_sha256 == "ab" * 32
    assert units.features == {"kind": "mfcc"}
    for name, values in named.items():
        assert units.has(name) == bool(len(values))
        if len(values):
            assert units.of(name).dtype == torch.int64
            assert units.of(name).tolist() == values.tolist()
    assert units.missing(named) == [name for name, values in named.items() if not len(values)]


def test_units_stay_on_disk(tmp_path: Path) -> None:
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("only Linux lists what a process has mapped")
    path = tmp_path / "mapped.safetensors"
    units = write(path, {"a": torch.arange(10)})
    assert str(path) in maps.read_text()
    assert units.of("a").tolist() == list(range(10))


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "u.safetensors"
    write(path, {"a": torch.arange(10)})
    whole = path.read_bytes()
    for length in (0, 4, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="no usable file of units"):
            Units(path)


def test_a_missing_file_and_another_format_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(DataError, match="There is no file of units"):
        Units(tmp_path / "none.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(DataError, match="no usable file of units"):
        Units(tmp_path / "x.safetensors")


def test_tables_that_disagree_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "u.safetensors"
    good = {
        "format": "speechkit-units-1", "rate_hz": "50", "clusters": "3",
        "clips": '["a", "b"]', "kmeans": "", "features": "{}",
    }  # fmt: skip
    units_U, offsets = torch.tensor([0, 1, 2], dtype=torch.int16), torch.tensor([0, 1, 3])

    def read(offsets_N1: Tensor, **changes: str) -> Units:
        save_file({"units_U": units_U, "offsets_N1": offsets_N1}, path, {**good, **changes})
        return Units(path)

    assert read(offsets).of("b").tolist() == [1, 2]
    for bad in ([0, 1], [0, 2, 1], [1, 1, 3], [0, 1, 4]):
        with pytest.raises(DataError, match="no usable"):
            read(torch.tensor(bad))
    for name, value in (
        ("rate_hz", "75"), ("rate_hz", "x"), ("clips", '["a", "a"]'), ("clips", "["),
        ("clips", "[[1], 2]"),
        ("format", "old"), ("clusters", "0"), ("features", "[]"),
    ):  # fmt: skip
        with pytest.raises(DataError, match="no usable"):
            read(offsets, **{name: value})
    with pytest.raises(DataError, match="outside its clusters"):
        read(offsets, clusters="2").of("b")


def test_units_that_do_not_fit_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "u.safetensors"
    for units, clusters, rate_hz in (
        ({"a": torch.tensor([10])}, 10, 50),
        ({"a": torch.tensor([-1])}, 10, 50),
        ({"a": torch.tensor([1.0])}, 10, 50),
        ({"a": torch.tensor([1])}, 40_000, 50),
        ({"a": torch.tensor([1])}, 10, 60),
        ({}, 10, 50),
    ):
        with pytest.raises(DataError):
            write(path, units, clusters, rate_hz)
    assert not path.exists()


def test_a_corpus_with_other_clips_or_lengths_is_counted_and_named(tmp_path: Path) -> None:
    units = write(tmp_path / "u.safetensors", {"a": torch.arange(3), "b": torch.arange(2)})
    units.require(["a", "b"], [400 + 2 * 320, 400 + 320 + 100])
    with pytest.raises(DataError, match=r"2 of 3 clips have no units.*\(c, d\)"):
        units.require(["a", "c", "d"], [1040, 1040, 1040])
    with pytest.raises(DataError, match=r"1 of 2 clips have another length.*\(b\)"):
        units.require(["a", "b"], [1040, 1040])
    with pytest.raises(DataError, match="no units of clip 'c'"):
        units.of("c")
