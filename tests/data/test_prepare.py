"""Corpora become one packed file; what cannot be used is counted with its reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechkit.core.errors import DataError
from speechkit.data.clips import Corpus
from speechkit.data.packed import PackedCorpus
from speechkit.data.prepare import PrepareLimits, prepare

from .conftest import WriteTone


@pytest.fixture
def corpus(tmp_path: Path, write_tone: WriteTone) -> Path:
    """A folder with three good clips and one of each bad kind."""
    folder = tmp_path / "corpus"
    write_tone(folder / "good.wav", 1.5)
    write_tone(folder / "cd.flac", 2.0, rate_hz=44100)
    write_tone(folder / "german.wav", 1.0)
    write_tone(folder / "short.wav", 0.99)
    write_tone(folder / "long.flac", 40.5)
    write_tone(folder / "held_out.wav")
    soundfile.write(folder / "silent.wav", np.full(32000, 0.1), 16000)
    soundfile.write(folder / "nan.wav", np.full(32000, np.nan), 16000, subtype="FLOAT")
    (folder / "text.wav").write_text("this is not audio")
    (folder / "empty.wav").write_bytes(b"")
    rows = [
        {"file": "good.wav", "text": "Good.", "speaker": "anna", "license": "CC0-1.0"},
        {"file": "cd.flac", "speaker": "anna"},
        {"file": "german.wav", "text": "Gut.", "speaker": "bernd", "language": "de"},
        {"file": "held_out.wav", "split": "test"},
        {"file": "good.wav", "text": "Good."},
        *({"file": name} for name in ("short.wav", "long.flac", "silent.wav", "nan.wav")),
        *({"file": name} for name in ("text.wav", "empty.wav", "gone.wav")),
    ]
    (folder / "manifest.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return folder


REJECTED = {
    "duplicate id": 1,
    "too short": 1,
    "too long": 1,
    "silent": 1,
    "unreadable": 3,
    "missing": 1,
}


def test_good_clips_are_packed_and_bad_ones_counted(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "small.safetensors"
    report = prepare([corpus], out)
    packed = PackedCorpus(out)
    names = [clip["id"] for clip in packed.clips]
    assert names == ["corpus/good", "corpus/cd", "corpus/german"]
    assert packed.speakers == ("anna", "bernd")
    assert [packed.samples(index) for index in range(3)] == [24000, 32000, 16000]
    assert report.rejected == REJECTED
    assert (report.clips, report.speakers, report.skipped_clips) == (3, 2, 1)
    assert report.hours == pytest.approx(4.5 / 3600)
    assert report.hours_with_text == pytest.approx(2.5 / 3600)
    assert report.clips_by_language == {"en": 2, "de": 1}
    assert report.clips_by_license == {"unknown": 2, "CC0-1.0": 1}
    assert report.voiced_share > 0.9
    assert report.megabytes == pytest.approx(out.stat().st_size / 1e6)
    assert "silent 1" in report.table()
    json.dumps(report.to_dict())


def test_samples_and_pitch_survive(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.safetensors"
    prepare([corpus], out)
    packed = PackedCorpus(out)
    expected_T, _ = soundfile.read(corpus / "good.wav", dtype="int16")
    np.testing.assert_array_equal(packed.wave(0).numpy() * 32768, expected_T)
    for clip in range(3):
        assert np.median(packed.f0(clip)) == pytest.approx(140.0, rel=0.01)


def test_the_manifest_names_every_clip(corpus: Path, tmp_path: Path) -> None:
    prepare([corpus], tmp_path / "small.safetensors")
    lines = (tmp_path / "small.manifest.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["seconds"] for row in rows if "seconds" in row] == [1.5, 2.0, 1.0]
    rejected = {row["id"]: row["rejected"] for row in rows if "rejected" in row}
    assert rejected["corpus/nan"] == "unreadable"
    assert len(rows) == 3 + sum(REJECTED.values())


def test_workers_change_nothing(corpus: Path, tmp_path: Path) -> None:
    reports = [
        prepare([corpus], tmp_path / f"{workers}.safetensors", workers=workers)
        for workers in (1, 2)
    ]
    first, second = ((tmp_path / f"{workers}.safetensors").read_bytes() for workers in (1, 2))
    assert first == second
    assert dict(reports[0].rejected) == dict(reports[1].rejected)


def test_limits_choose_the_clips(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "some.safetensors"
    limits = PrepareLimits(min_seconds=0.5, max_seconds=60, splits=None, languages=("en",))
    report = prepare([corpus], out, limits=limits)
    names = {clip["id"] for clip in PackedCorpus(out).clips}
    assert {"corpus/short", "corpus/long", "corpus/held_out"} <= names
    assert "corpus/german" not in names
    assert report.skipped_clips == 1


def test_two_corpora_share_one_file(corpus: Path, tmp_path: Path, write_tone: WriteTone) -> None:
    write_tone(tmp_path / "mine/wavs/a.wav")
    (tmp_path / "mine/metadata.csv").write_text("a|Hello.\n")
    out = tmp_path / "both.safetensors"
    report = prepare([corpus, Corpus(path=tmp_path / "mine", license="mine")], out)
    assert report.clips == 4
    assert PackedCorpus(out).clips[3]["id"] == "mine/wavs/a"


@pytest.mark.parametrize("fault", ["all rejected", "no corpus", "broken line", "no worker"])
def test_nothing_is_left_behind_by_an_error(fault: str, corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    limits = PrepareLimits(min_seconds=100, max_seconds=200) if fault == "all rejected" else None
    if fault == "broken line":
        with (corpus / "manifest.jsonl").open("a") as table:
            table.write("\n{")
    source = tmp_path / "gone" if fault == "no corpus" else corpus
    workers = 0 if fault == "no worker" else 1
    with pytest.raises(DataError):
        prepare([source], folder / "x.safetensors", limits=limits, workers=workers)
    assert not folder.exists() or not list(folder.iterdir())


def test_shared_shards(shared_data: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (shared_data / "manifest.jsonl").open()]
    some = [row for row in rows if row["split"] == "train"][::1500]
    table = tmp_path / "some.jsonl"
    for row in some:
        row["shard"] = str(shared_data / row["shard"])
    table.write_text("\n".join(json.dumps(row) for row in some))
    out = tmp_path / "some.safetensors"
    report = prepare([table], out)
    assert report.clips + sum(report.rejected.values()) == len(some)
    packed = PackedCorpus(out)
    for index, clip in enumerate(packed.clips):
        row = next(row for row in some if row["id"] == clip["id"])
        assert packed.samples(index) / 16000 == pytest.approx(row["seconds"], abs=0.02)
        assert (clip["text"], clip["speaker"]) == (row["text"], row["speaker"])
