"""Corpora of many shards, several corpora as one, and an index of three hundred thousand clips."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch

from speechkit.core.errors import ConfigError, DataError
from speechkit.core.rng import generator
from speechkit.data.index import write_index
from speechkit.data.packed import (
    ClipInfo,
    PackedClip,
    PackedCorpus,
    Shard,
    read_sources,
    write_packed,
)
from speechkit.data.shard import write_shard
from speechkit.data.split import split_clips
from speechkit.data.work import Crew, part_of, run_tasks
from speechkit.facodec.training.segments import SegmentSampler
from speechkit.ssl.selection import Selection
from speechkit.text import DEFAULT_VOCABULARY
from speechkit.text.frames import FrameClasses

from .test_packed import make_clip

CLASSES = FrameClasses(DEFAULT_VOCABULARY)


def corpus_at(path: Path, clips: int, speaker: str = "anna", shard_clips: int = 3) -> Path:
    made = (
        make_clip(f"{path.name}/{n}", 3200 + 160 * n, seed=n, speaker=f"{speaker}{n % 2}")
        for n in range(clips)
    )
    write_packed(path, made, shard_clips)
    return path


def test_clips_come_from_their_shards_in_order(tmp_path: Path) -> None:
    corpus = PackedCorpus(corpus_at(tmp_path / "a.corpus", 8))
    assert [len(corpus.clips_of(number)) for number in range(3)] == [3, 3, 2]
    assert corpus.ids == [f"a.corpus/{n}" for n in range(8)]
    assert [corpus.clips[n]["id"] for n in (0, 3, 7)] == [f"a.corpus/{n}" for n in (0, 3, 7)]
    for n in range(8):
        clip = make_clip("x", 3200 + 160 * n, seed=n)
        assert corpus.samples(n) == len(clip.pcm_T)
        np.testing.assert_array_equal(corpus.wave(n).numpy() * 32768, clip.pcm_T)
        np.testing.assert_array_equal(corpus.f0(n, 2, 9).numpy(), clip.f0_F.astype(np.float16)[2:9])
    for beyond in (-1, 8):
        with pytest.raises(IndexError):
            corpus.wave(beyond)


def test_several_corpora_are_read_as_one(tmp_path: Path) -> None:
    a, b = (corpus_at(tmp_path / f"{name}.corpus", 4) for name in "ab")
    c = corpus_at(tmp_path / "c.corpus", 2, speaker="carl")
    table = tmp_path / "list.toml"
    table.write_text(
        '[[corpus]]\npath = "a.corpus"\nweight = 2.0\n'
        '[[corpus]]\npath = "b.corpus"\n[[corpus]]\npath = "c.corpus"\n'
    )
    given = PackedCorpus([f"{a}:2", b, str(c)])
    for corpus in (given, PackedCorpus(table), ForkingPickler.loads(ForkingPickler.dumps(given))):
        assert len(corpus) == 10
        assert corpus.weight_N.tolist() == [2.0] * 4 + [1.0] * 6
        # The same name is the same speaker.
        assert corpus.speakers == ("anna0", "anna1", "carl0", "carl1")
        assert corpus.speaker_N.tolist() == [0, 1] * 4 + [2, 3]
        assert corpus.clips[9]["id"] == "c.corpus/1"
        assert corpus.sha256 == given.sha256
    weightless = PackedCorpus([a, b, c])
    assert weightless.sha256 != given.sha256
    assert PackedCorpus([b, a, c]).sha256 != weightless.sha256


def test_weights_are_how_often_clips_are_drawn(tmp_path: Path) -> None:
    a, b = (corpus_at(tmp_path / f"{name}.corpus", 6, speaker=name) for name in "ab")
    shares = []
    for first in (a, f"{a}:4"):
        sampler = SegmentSampler(
            PackedCorpus([first, b]), CLASSES, None, crop_frames=5, reference_frames=5,
            level_rms=None, held_out=0.01,
        )  # fmt: skip
        drawn = sampler.draw(600, generator(0)).clip_B
        mine = sampler.clips_N < 6
        assert mine.any()
        assert (~mine).any()
        shares.append(float((drawn < 6).float().mean()) / float((drawn >= 6).float().mean()))
    assert shares[1] / shares[0] == pytest.approx(4, rel=0.35)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (["{a}", "{a}:2"], "twice"),
        (["{a}:0"], "weight"),
        (["{a}:-1"], "weight"),
        (["{a}:inf"], "weight"),
        ([], "No corpus"),
        (["bad.toml"], "Cannot read"),
    ],
)
def test_sources_that_make_no_sense_are_refused(
    given: list[str], error: str, tmp_path: Path
) -> None:
    a = corpus_at(tmp_path / "a.corpus", 2)
    with pytest.raises(ConfigError, match=error):
        read_sources([text.format(a=a) for text in given])


def test_a_colon_may_be_part_of_a_name(tmp_path: Path) -> None:
    path = corpus_at(tmp_path / "a:2", 2)
    assert PackedCorpus(path).weight_N.tolist() == [1.0, 1.0]
    assert PackedCorpus(f"{path}:3").weight_N.tolist() == [3.0, 3.0]
    with pytest.raises(DataError, match="no packed corpus"):
        PackedCorpus(tmp_path / "b:x")


def test_damage_is_named(tmp_path: Path) -> None:
    folder = corpus_at(tmp_path / "a.corpus", 8)
    index, shard = folder / "index.safetensors", folder / "00001.safetensors"
    whole, good = index.read_bytes(), shard.read_bytes()
    for bad in (b"", whole[:9], whole[:-8], b"x" * 100):
        index.write_bytes(bad)
        with pytest.raises(DataError, match="no usable index"):
            PackedCorpus(folder)
    index.write_bytes(whole)
    shard.write_bytes(good[:-1])
    with pytest.raises(DataError, match="00001"):
        PackedCorpus(folder)
    # Another shard of the same size is found when it is read.
    write_shard(
        shard,
        [make_clip(f"a.corpus/{n}", 3200 + 160 * n, speaker=f"anna{n % 2}") for n in (5, 4, 3)],
    )
    assert shard.stat().st_size == len(good)
    with pytest.raises(DataError, match="other clips"):
        PackedCorpus(folder).wave(4)
    shard.unlink()
    with pytest.raises(DataError, match="00001"):
        PackedCorpus(folder)
    index.unlink()
    with pytest.raises(DataError, match="make one with prepare"):
        PackedCorpus(folder)


def test_parts_are_all_tasks_once() -> None:
    tasks = list(range(11))
    for of in (1, 2, 3, 11, 20):
        parts = [part_of(tasks, (number, of)) for number in range(1, of + 1)]
        assert sorted(sum(parts, [])) == tasks
    with pytest.raises(ConfigError, match="give 1/2"):
        Crew(part=(3, 2))
    with pytest.raises(ConfigError, match="At least one worker"):
        Crew(workers=0)


class Square:
    """Work that leaves a file for each number; the number 13 cannot be done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self) -> Square:
        return self

    def __call__(self, task: int, report: object) -> None:
        if task == 13:
            raise DataError("13 cannot be done")
        (self.folder / str(task)).write_text(str(task * task))
        report(1)  # type: ignore[operator]


@pytest.mark.slow
def test_processes_do_every_task_and_tell_what_failed(tmp_path: Path) -> None:
    run_tasks("squaring", Square(tmp_path), [(n, 1) for n in range(9)], crew=Crew(workers=2))
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        str(n): str(n * n) for n in range(9)
    }
    with pytest.raises(DataError, match="13 cannot"):
        run_tasks(
            "squaring", Square(tmp_path), [(n, 1) for n in (12, 13, 14)], crew=Crew(workers=2)
        )
    assert (tmp_path / "12").exists()


def big_corpus(folder: Path, shards: int, clips: int) -> Path:
    """Clips of 10 ms with all that is said about a clip of LibriSpeech."""
    pcm_T, f0_F = np.zeros(160, np.int16), np.zeros(1)
    text = "HE HOPED THERE WOULD BE STEW FOR DINNER TURNIPS AND CARROTS AND BRUISED POTATOES " * 2
    for number in range(shards):
        write_shard(
            folder / f"{number:05d}.safetensors",
            (
                PackedClip(
                    info=ClipInfo(
                        id=f"librispeech/{n}", text=text, speaker=f"librispeech:{n // 110}",
                        language="en", license="CC-BY-4.0", split="train",
                        source="librispeech-train-clean-360.tar",
                    ),
                    pcm_T=pcm_T,
                    f0_F=f0_F,
                )
                for n in range(number * clips, (number + 1) * clips)
            ),
        )  # fmt: skip
    write_index(folder, [Shard(folder / f"{number:05d}.safetensors") for number in range(shards)])
    return folder


@pytest.mark.slow
def test_three_hundred_thousand_clips_take_little_memory(tmp_path: Path) -> None:
    folder = big_corpus(tmp_path, 600, 500)
    tracemalloc.start()
    corpus = PackedCorpus(folder)
    held = tracemalloc.get_traced_memory()[0]
    assert len(corpus) == 300_000
    assert held < 100 * len(corpus)
    for clip in torch.randint(len(corpus), (100,), generator=generator(0)).tolist():
        assert corpus.clips[clip]["id"] == f"librispeech/{clip}"
        assert corpus.speakers[corpus.speaker(clip)] == f"librispeech:{clip // 110}"
        assert len(corpus.wave(clip)) == 160
    # What was read is mapped, not copied.
    assert tracemalloc.get_traced_memory()[0] < held + 20_000_000
    tracemalloc.stop()
    train, held_out = (split_clips(corpus, validation=flag) for flag in (False, True))
    assert len(train) + len(held_out) == 300_000
    assert 0.02 < len(held_out) / 300_000 < 0.04
    some = Selection(speakers=("librispeech:7", "librispeech:9")).of(corpus)
    assert Counter(corpus.speaker(clip) for clip in some) == {7: 110, 9: 110}
    sampler = SegmentSampler(
        corpus, CLASSES, None, crop_frames=10, reference_frames=10, level_rms=0.05
    )
    assert sampler.draw(64, generator(0)).wave_BT.shape == (64, 3200)
