"""The alignment sidecar: round trip, empty clips, and files that must be refused."""

from __future__ import annotations

import math
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch

from speechkit.core.errors import DataError
from speechkit.data.alignment import ALIGNMENT, Alignment, ClipAlignment, write_alignment
from speechkit.data.packed import PackedCorpus, Shard, write_packed
from speechkit.data.sidecar import is_made
from tests.data.test_packed import make_clip

SYMBOLS = ("<pad>", "^", "$", " ", "B", "AH0")


@pytest.fixture
def corpus(tmp_path: Path) -> PackedCorpus:
    """Clips a, b and c in one shard, d in another."""
    folder = tmp_path / "x.corpus"
    write_packed(folder, [make_clip(name, 400) for name in "abcd"], shard_clips=3)
    return PackedCorpus(folder)


def write(shard: Shard) -> None:
    """A sidecar of three clips, the middle one without an alignment."""
    clips = {
        0: ClipAlignment(torch.tensor([1, 4, 5, 2]), torch.tensor([3, 4, 5, 0]), -0.5),
        2: ClipAlignment(torch.tensor([4]), torch.tensor([700]), -1.0),
    }
    write_alignment(shard, SYMBOLS, clips, skipped={"no text": 1}, made_by={"aligner": "a"})


def write_all(corpus: PackedCorpus) -> Alignment:
    write(corpus.shards[0])
    last = ClipAlignment(torch.tensor([5]), torch.tensor([2]), -2.0)
    write_alignment(corpus.shards[1], SYMBOLS, {0: last}, skipped={"no text": 2})
    return Alignment(corpus)


def test_round_trip(corpus: PackedCorpus) -> None:
    """What was written comes back; clips without alignment are empty and have no score."""
    for alignment in (
        write_all(corpus),
        ForkingPickler.loads(ForkingPickler.dumps(write_all(corpus))),
    ):
        assert len(alignment) == 4
        assert [alignment.has(clip) for clip in range(4)] == [True, False, True, True]
        assert alignment.lengths().tolist() == [4, 0, 1, 1]
        assert alignment.phones(0).tolist() == [1, 4, 5, 2]
        assert alignment.frames(0).tolist() == [3, 4, 5, 0]
        assert alignment.frames(2).tolist() == [700]
        assert alignment.phones(1).numel() == 0
        assert (alignment.phones(3).tolist(), alignment.score(3)) == ([5], -2.0)
        assert math.isnan(alignment.score(1))
        assert alignment.score(2) == -1.0
        assert alignment.symbols == SYMBOLS
        assert alignment.skipped == {"no text": 3}
    names = {entry.name for entry in corpus.path.iterdir()}
    assert "00001.alignment.safetensors" in names
    assert not any(name.startswith(".") for name in names)


def test_the_hash_follows_the_durations(corpus: PackedCorpus) -> None:
    write_all(corpus)
    hashes = []
    for frames in ([3, 4], [3, 4], [4, 3]):
        clip = ClipAlignment(torch.tensor([4, 5]), torch.tensor(frames), -0.5)
        write_alignment(corpus.shards[0], SYMBOLS, {0: clip})
        hashes.append(Alignment(corpus).sha256)
    assert hashes[0] == hashes[1] != hashes[2]


def test_what_it_follows_from_decides_whether_it_is_made_again(corpus: PackedCorpus) -> None:
    shard, other = corpus.shards
    write(shard)
    path = shard.sidecar("alignment")
    assert is_made(path, ALIGNMENT, shard, {"aligner": "a"})
    assert not is_made(path, ALIGNMENT, shard, {"aligner": "b"})
    assert not is_made(path, ALIGNMENT, other, {"aligner": "a"})
    assert not is_made(other.sidecar("alignment"), ALIGNMENT, other, {"aligner": "a"})
    path.write_bytes(path.read_bytes()[:30])
    assert not is_made(path, ALIGNMENT, shard, {"aligner": "a"})


def test_another_corpus_and_other_phones_are_refused(corpus: PackedCorpus) -> None:
    write_all(corpus)
    first, second = (shard.sidecar("alignment") for shard in corpus.shards)
    kept = second.read_bytes()
    second.write_bytes(first.read_bytes())
    with pytest.raises(DataError, match="offsets_N1 has 4 entries instead of 2|another corpus"):
        Alignment(corpus)
    second.write_bytes(kept)
    write_alignment(corpus.shards[1], SYMBOLS[::-1], {})
    with pytest.raises(DataError, match="different alignment"):
        Alignment(corpus)


def test_unusable_files_are_refused(corpus: PackedCorpus) -> None:
    """Missing, truncated and foreign files raise DataError."""
    with pytest.raises(DataError, match="2 of 2 shards"):
        Alignment(corpus)
    write_all(corpus)
    path = corpus.shards[0].sidecar("alignment")
    whole = path.read_bytes()
    for bad in (whole[:-3], b"no header at all", b""):
        path.write_bytes(bad)
        with pytest.raises(DataError, match="align"):
            Alignment(corpus)
    # A phone that nobody knows is found when it is read.
    write_alignment(
        corpus.shards[0], SYMBOLS, {0: ClipAlignment(torch.tensor([9]), torch.tensor([1]), 0.0)}
    )
    with pytest.raises(DataError, match="outside its vocabulary"):
        Alignment(corpus).phones(0)


def test_bad_durations_are_refused(corpus: PackedCorpus) -> None:
    """One duration for each phone, none negative; nothing is left behind."""
    for frames in ([1, 2], [-1]):
        bad = {0: ClipAlignment(torch.tensor([4]), torch.tensor(frames), 0.0)}
        with pytest.raises(DataError, match="Clip a"):
            write_alignment(corpus.shards[0], SYMBOLS, bad)
    assert not list(corpus.path.glob("*alignment*"))
