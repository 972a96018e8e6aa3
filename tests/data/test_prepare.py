"""Corpora become shards with an index; what cannot be used is counted with its reason."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechkit.core.errors import ConfigError, DataError
from speechkit.data import prepare as prepare_module
from speechkit.data.clips import ClipSource, Corpus
from speechkit.data.codes import CorpusCodes
from speechkit.data.packed import PackedClip, PackedCorpus
from speechkit.data.prepare import PrepareLimits, Rejected, prepare
from speechkit.data.work import Crew
from speechkit.facodec.encode_corpus import encode_corpus
from speechkit.facodec.train import CodecTraining, train_codec
from speechkit.train import TrainConfig
from tests.tiny import tiny_model

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
    out = tmp_path / "out" / "small.corpus"
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
    assert report.voiced_share is not None
    assert report.voiced_share > 0.9
    assert report.megabytes == pytest.approx((out / "00000.safetensors").stat().st_size / 1e6)
    assert "silent 1" in report.table()
    json.dumps(report.to_dict())


def test_samples_and_pitch_survive(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.corpus"
    prepare([corpus], out)
    packed = PackedCorpus(out)
    expected_T, _ = soundfile.read(corpus / "good.wav", dtype="int16")
    np.testing.assert_array_equal(packed.wave(0).numpy() * 32768, expected_T)
    for clip in range(3):
        assert np.median(packed.f0(clip)) == pytest.approx(140.0, rel=0.01)


def test_pitch_can_be_left_out(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "small.corpus"
    with monkeypatch.context() as without:
        # As where pyworld is not installed.
        without.setitem(sys.modules, "pyworld", None)
        report = prepare([corpus], out, pitch=False)
    # What was begun with other settings is not gone on with.
    with pytest.raises(ConfigError, match="other clips or limits"):
        prepare([corpus], out)
    packed = PackedCorpus(out)
    assert (report.clips, report.voiced_share) == (3, None)
    assert "not worked out" in report.table()
    assert [len(packed.f0(clip)) for clip in range(3)] == [0, 0, 0]
    whole = tmp_path / "whole.corpus"
    prepare([corpus], whole)
    for clip in range(3):
        assert torch.equal(packed.wave(clip), PackedCorpus(whole).wave(clip))
    codec = CodecTraining(train=TrainConfig(steps=1, device="cpu"))
    with pytest.raises(DataError, match="without pitch.*--no-pitch"):
        train_codec("vocoder", codec, out, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    # Encoding works it out for itself.
    model = tiny_model(tmp_path / "model") / "codec"
    for place in (out, whole):
        encode_corpus(place, model, unaligned=True)
    assert CorpusCodes(packed).frames(0) == CorpusCodes(PackedCorpus(whole)).frames(0) > 0


def test_the_manifest_names_every_clip(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.corpus"
    prepare([corpus], out)
    files = [out / "rejected.jsonl", *sorted(out.glob("*.manifest.jsonl"))]
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert [row["seconds"] for row in rows if "seconds" in row] == [1.5, 2.0, 1.0]
    rejected = {row["id"]: row["rejected"] for row in rows if "rejected" in row}
    assert rejected["corpus/nan"] == "unreadable"
    assert len(rows) == 3 + sum(REJECTED.values())


def test_workers_change_nothing(corpus: Path, tmp_path: Path) -> None:
    reports = [
        prepare([corpus], tmp_path / f"{workers}.corpus", crew=Crew(workers=workers), shard_clips=2)
        for workers in (1, 2)
    ]
    first, second = (contents(tmp_path / f"{workers}.corpus") for workers in (1, 2))
    assert first == second
    assert dict(reports[0].rejected) == dict(reports[1].rejected)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_killed_run_goes_on_and_does_nothing_twice(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole.corpus", tmp_path / "killed.corpus"
    prepare([corpus], whole, shard_clips=2)
    load, loaded = prepare_module.load_clip, list[str]()

    def dies_at_the_fourth(
        clip: ClipSource, limits: PrepareLimits, *, pitch: bool
    ) -> PackedClip | Rejected:
        if len(loaded) == 3:
            raise KeyboardInterrupt
        loaded.append(clip.id)
        return load(clip, limits, pitch=pitch)

    monkeypatch.setattr(prepare_module, "load_clip", dies_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        prepare([corpus], out, shard_clips=2)
    with pytest.raises(DataError, match="prepare again"):
        PackedCorpus(out)
    assert not list(out.glob("00001*"))

    def counts(clip: ClipSource, limits: PrepareLimits, *, pitch: bool) -> PackedClip | Rejected:
        loaded.append(clip.id)
        return load(clip, limits, pitch=pitch)

    monkeypatch.setattr(prepare_module, "load_clip", counts)
    report = prepare([corpus], out, shard_clips=2)
    assert contents(out) == contents(whole)
    # Of ten clips the third lay in the shard that was lost; the first two were not read again.
    assert len(loaded) == 11
    assert [name for name in loaded if loaded.count(name) > 1] == ["corpus/german"] * 2
    assert (report.clips, report.shards, report.missing_shards) == (3, 5, 0)
    assert prepare([corpus], out, shard_clips=2).clips == 3
    assert len(loaded) == 11


def test_parts_make_the_same_corpus(corpus: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.corpus", tmp_path / "parts.corpus"
    prepare([corpus], whole, shard_clips=2)
    first = prepare([corpus], out, shard_clips=2, crew=Crew(part=(2, 2)))
    assert first.missing_shards > 0
    assert not (out / "index.safetensors").exists()
    assert prepare([corpus], out, shard_clips=2, crew=Crew(part=(1, 2))).missing_shards == 0
    assert contents(out) == contents(whole)


def test_another_plan_is_refused(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.corpus"
    prepare([corpus], out)
    with pytest.raises(ConfigError, match="other clips or limits"):
        prepare([corpus], out, limits=PrepareLimits(min_seconds=0.5))
    for name, text in (("file", None), ("full", "x")):
        place = tmp_path / name
        if text is None:
            place.write_text("mine")
        else:
            place.mkdir()
            (place / "mine.txt").write_text(text)
        with pytest.raises(ConfigError, match="--out"):
            prepare([corpus], place)


def test_a_speed_makes_another_voice_of_a_clip(tmp_path: Path, write_tone: WriteTone) -> None:
    """Shorter by the speed, its tone higher by it, and the original as it is without."""
    folder, out = tmp_path / "corpus", tmp_path / "three.corpus"
    write_tone(folder / "anna" / "a.wav", 2.0)
    report = prepare([folder], out, speeds=(0.8, 1.0, 1.25))
    packed = PackedCorpus(out)
    assert [clip["speaker"] for clip in packed.clips] == ["sp0.8-anna", "anna", "sp1.25-anna"]
    assert [clip["id"] for clip in packed.clips][::2] == [
        "sp0.8-corpus/anna/a", "sp1.25-corpus/anna/a"
    ]  # fmt: skip
    assert report.hours == pytest.approx((2.5 + 2.0 + 1.6) / 3600, abs=1e-6)
    peaks_hz = []
    for clip in range(3):
        wave_T = packed.wave(clip)
        spectrum = torch.fft.rfft(wave_T * torch.hann_window(len(wave_T))).abs()
        peaks_hz.append(float(spectrum.argmax()) * 16000 / len(wave_T))
    assert peaks_hz[0] / peaks_hz[1] == pytest.approx(0.8, rel=0.01)
    assert peaks_hz[2] / peaks_hz[1] == pytest.approx(1.25, rel=0.01)
    prepare([folder], tmp_path / "one.corpus")
    assert torch.equal(PackedCorpus(tmp_path / "one.corpus").wave(0), packed.wave(1))


@pytest.mark.parametrize("speeds", [(), (1.0, 1.0), (0.1,), (float("nan"),)])
def test_speeds_that_are_none(speeds: tuple[float, ...], corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"[Ss]peed"):
        prepare([corpus], tmp_path / "out.corpus", speeds=speeds)
    assert not (tmp_path / "out.corpus").exists()


def test_limits_choose_the_clips(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "some.corpus"
    limits = PrepareLimits(min_seconds=0.5, max_seconds=60, splits=None, languages=("en",))
    report = prepare([corpus], out, limits=limits)
    names = {clip["id"] for clip in PackedCorpus(out).clips}
    assert {"corpus/short", "corpus/long", "corpus/held_out"} <= names
    assert "corpus/german" not in names
    assert report.skipped_clips == 1


def test_two_corpora_share_one_file(corpus: Path, tmp_path: Path, write_tone: WriteTone) -> None:
    write_tone(tmp_path / "mine/wavs/a.wav")
    (tmp_path / "mine/metadata.csv").write_text("a|Hello.\n")
    out = tmp_path / "both.corpus"
    report = prepare([corpus, Corpus(path=tmp_path / "mine", license="mine")], out)
    assert report.clips == 4
    assert PackedCorpus(out).clips[3]["id"] == "mine/wavs/a"


@pytest.mark.parametrize("fault", ["all rejected", "no corpus", "broken line"])
def test_nothing_is_left_behind_by_an_error(fault: str, corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    limits = PrepareLimits(min_seconds=100, max_seconds=200) if fault == "all rejected" else None
    if fault == "broken line":
        with (corpus / "manifest.jsonl").open("a") as table:
            table.write("\n{")
    source = tmp_path / "gone" if fault == "no corpus" else corpus
    with pytest.raises(DataError):
        prepare([source], folder / "x.corpus", limits=limits)
    assert not folder.exists() or not list(folder.iterdir())


def test_shared_shards(shared_data: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (shared_data / "manifest.jsonl").open()]
    some = [row for row in rows if row["split"] == "train"][::1500]
    table = tmp_path / "some.jsonl"
    for row in some:
        row["shard"] = str(shared_data / row["shard"])
    table.write_text("\n".join(json.dumps(row) for row in some))
    out = tmp_path / "some.corpus"
    report = prepare([table], out)
    assert report.clips + sum(report.rejected.values()) == len(some)
    packed = PackedCorpus(out)
    for index, clip in enumerate(packed.clips):
        row = next(row for row in some if row["id"] == clip["id"])
        assert packed.samples(index) / 16000 == pytest.approx(row["seconds"], abs=0.02)
        assert (clip["text"], clip["speaker"]) == (row["text"], row["speaker"])
