"""The files of units: what is written is read, and damage is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.data.packed import PackedCorpus, write_packed
from speechkit.ssl.units.file import Units, begin_units, units_path, write_units
from tests.data.test_packed import make_clip


def corpus_of(folder: Path, clips: int, shard_clips: int = 2) -> PackedCorpus:
    path = folder / "x.corpus"
    write_packed(path, [make_clip(f"a/{n}", 9) for n in range(clips)], shard_clips)
    return PackedCorpus(path)


def write(
    path: Path, corpus: PackedCorpus, units: list[Tensor], clusters: int = 10, rate_hz: int = 50
) -> Units:
    about = {"clusters": clusters, "kmeans_sha256": "ab" * 32}
    begin_units(path, rate_hz=rate_hz, features={"kind": "mfcc"}, **about)  # type: ignore[arg-type]
    for number, shard in enumerate(corpus.shards):
        clips = corpus.clips_of(number)
        own = {place: units[clip] for place, clip in enumerate(clips)}
        write_units(path, shard, own, distance=0.25, **about)  # type: ignore[arg-type]
    return Units(path, corpus)


@settings(deadline=None, max_examples=15)
@given(clips=st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=5))
def test_round_trip(clips: list[list[int]], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("units")
    corpus = corpus_of(folder, len(clips))
    rows = [torch.tensor(c, dtype=torch.int64) for c in clips]
    units = write(folder / "u", corpus, rows)
    assert (len(units), units.clusters, units.rate_hz) == (len(clips), 10, 50)
    assert units.kmeans_sha256 == "ab" * 32
    assert units.features == {"kind": "mfcc"}
    assert units.lengths().tolist() == list(map(len, clips))
    assert units.distance() == pytest.approx(0.25 * len(corpus.shards))
    for clip, values in enumerate(rows):
        assert units.has(clip) == bool(len(values))
        if len(values):
            assert units.of(clip).dtype == torch.int64
            assert units.of(clip).tolist() == values.tolist()


def test_units_stay_on_disk_and_one_folder_serves_two_corpora(tmp_path: Path) -> None:
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("only Linux lists what a process has mapped")
    one = corpus_of(tmp_path, 1)
    (tmp_path / "more").mkdir()
    other = corpus_of(tmp_path / "more", 2)
    units = write(tmp_path / "u", one, [torch.arange(10)])
    write(tmp_path / "u", other, [torch.arange(3)] * 2)
    assert str(units_path(tmp_path / "u", one.shards[0])) in maps.read_text()
    assert units.of(0).tolist() == list(range(10))
    both = Units(tmp_path / "u", PackedCorpus([one.path, other.path]))
    assert both.lengths().tolist() == [10, 3, 3]


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, 1)
    folder = tmp_path / "u"
    write(folder, corpus, [torch.arange(10)])
    path, about = units_path(folder, corpus.shards[0]), folder / "units.json"
    whole = path.read_bytes()
    for length in (0, 4, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="no usable units"):
            Units(folder, corpus)
    path.unlink()
    with pytest.raises(DataError, match="1 of 1 shards"):
        Units(folder, corpus)
    path.write_bytes(whole)
    good = json.loads(about.read_text())
    for changes in ({"rate_hz": 75}, {"rate_hz": "x"}, {"format": "old"}, {"clusters": 0}):
        about.write_text(json.dumps({**good, **changes}))
        with pytest.raises(DataError, match="damaged"):
            Units(folder, corpus)
    about.write_text(json.dumps({**good, "kmeans": "cd" * 32}))
    with pytest.raises(DataError, match="other centroids"):
        Units(folder, corpus)
    about.write_text(json.dumps({**good, "clusters": 2}))
    with pytest.raises(DataError, match="outside its clusters"):
        Units(folder, corpus).of(0)
    about.unlink()
    with pytest.raises(DataError, match="There are no units"):
        Units(folder, corpus)


def test_units_that_do_not_fit_are_not_written(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, 1)
    for row, clusters, rate_hz in (
        (torch.tensor([10]), 10, 50),
        (torch.tensor([-1]), 10, 50),
        (torch.tensor([1.0]), 10, 50),
        (torch.tensor([1]), 40_000, 50),
        (torch.tensor([1]), 10, 60),
    ):
        with pytest.raises(DataError):
            write(tmp_path / "u", corpus, [row], clusters, rate_hz)
    assert not list(tmp_path.glob("u/*.safetensors"))


def test_a_clip_without_units_is_named(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, 2)
    units = write(tmp_path / "u", corpus, [torch.arange(3), torch.zeros(0, dtype=torch.long)])
    with pytest.raises(DataError, match="no units of 'a/1'"):
        units.of(1)
