"""Each layout yields its clips with text, speaker and split, or says what is wrong with it."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from speechkit.core.errors import DataError
from speechkit.data.clips import ClipSource, Corpus
from speechkit.data.corpora import detect_kind, read_corpus

from .conftest import WriteTone

Build = Callable[[Path, WriteTone], Path]


def read(path: Path) -> list[ClipSource]:
    return list(read_corpus(Corpus(path=path)))


def test_a_table_with_a_header(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text(
        '\ufefffile,text,speaker,language\nx/a.wav,"Hello, you.",anna,de\nb.flac,,,\n\n',
        encoding="utf-8",
    )
    first, second = read(tmp_path)
    assert first.text == "Hello, you."
    assert (first.speaker, first.language, first.path) == ("anna", "de", tmp_path / "x/a.wav")
    assert first.id == f"{tmp_path.name}/x/a"
    assert second.text is None
    assert (second.speaker, second.language) == (second.id, "en")
    assert (second.license, second.split) == ("unknown", "train")


def test_a_corpus_says_what_its_table_does_not(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file|text\na.wav|hallo\n")
    corpus = Corpus(path=tmp_path, language="nl", license="CC0-1.0", split="dev", speaker="jan")
    (clip,) = read_corpus(corpus)
    values = (clip.language, clip.license, clip.split, clip.speaker)
    assert values == ("nl", "CC0-1.0", "dev", "jan")


def test_an_ljspeech_style_table(tmp_path: Path, write_tone: WriteTone) -> None:
    write_tone(tmp_path / "wavs/one.wav")
    write_tone(tmp_path / "two.flac")
    (tmp_path / "metadata.csv").write_text('one|He said "5".|He said "five".\ntwo|Yes.\nno|No.\n')
    one, two, none = read(tmp_path)
    assert (one.text, one.path) == ('He said "five".', tmp_path / "wavs/one.wav")
    assert (two.text, two.path) == ("Yes.", tmp_path / "two.flac")
    assert not none.path.exists()
    assert {one.speaker, two.speaker, none.speaker} == {tmp_path.name}


def test_a_jsonl_of_files(tmp_path: Path) -> None:
    rows = [{"file": "a.wav"}, {"file": "/x/b.wav", "text": "t", "speaker": 7, "id": "b"}]
    (tmp_path / "manifest.jsonl").write_text("\n\n".join(json.dumps(row) for row in rows))
    first, second = read(tmp_path)
    assert (first.path, first.text, first.speaker) == (tmp_path / "a.wav", None, first.id)
    assert (second.path, second.speaker, second.id) == (Path("/x/b.wav"), "7", "b")
    assert read(tmp_path / "manifest.jsonl") == [first, second]


@pytest.mark.parametrize("speaker", ["unknown", "Unknown", "orders:unknown(>50)", "", None])
def test_speakers_that_nobody_knows_are_not_one_voice(tmp_path: Path, speaker: str | None) -> None:
    rows = [{"file": f"{name}.wav", "speaker": speaker} for name in "ab"]
    (tmp_path / "manifest.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert [clip.speaker for clip in read(tmp_path)] == [clip.id for clip in read(tmp_path)]


def test_shards_are_read_in_place(tmp_path: Path, write_tone: WriteTone) -> None:
    audio = write_tone(tmp_path / "tone.wav")
    with tarfile.open(tmp_path / "s-0.tar", "w") as tar:
        tar.add(audio, "x/a.wav")
    rows = [{"shard": "s-0.tar", "file": name} for name in ("x/a.wav", "x/gone.wav")]
    (tmp_path / "manifest.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    found, gone = read(tmp_path)
    assert found.size_bytes is not None
    data = found.path.read_bytes()[found.offset_bytes : found.offset_bytes + found.size_bytes]
    assert data == audio.read_bytes()
    assert not gone.path.is_file()


def _librispeech(folder: Path, write_tone: WriteTone) -> Path:
    for part in ("train-clean-5", "dev-clean-2"):
        chapter = folder / "LibriSpeech" / part / "19" / "198"
        for number in (0, 1):
            write_tone(chapter / f"19-198-000{number}.flac")
        (chapter / "19-198.trans.txt").write_text("19-198-0000 HELLO\n19-198-0001 YOU THERE\n")
        # The same utterance ids in two parts would be a duplicate.
        if part.startswith("dev"):
            for path in list(chapter.iterdir()):
                path.rename(path.with_name(path.name.replace("19-198", "19-199")))
            table = chapter / "19-199.trans.txt"
            table.write_text(table.read_text().replace("19-198", "19-199"))
            chapter.rename(chapter.with_name("199"))
    return folder


def _libritts(folder: Path, write_tone: WriteTone) -> Path:
    chapter = folder / "LibriTTS" / "train-clean-100" / "84" / "121"
    name = "84_121_000007_000001"
    write_tone(chapter / f"{name}.wav", rate_hz=24000)
    (chapter / "84_121.trans.tsv").write_text(f"{name}\tMr. V.\tMister V.\n")
    (chapter / "84_121.book.tsv").write_text(f"{name}\tMr. V.\tMister V.\t0\t1\t2\t20.5\n")
    return folder


def _vctk(folder: Path, write_tone: WriteTone) -> Path:
    write_tone(folder / "wav48/p225/p225_001.wav", rate_hz=48000)
    (folder / "txt/p225").mkdir(parents=True)
    (folder / "txt/p225/p225_001.txt").write_text("Please call Stella.\n")
    (folder / "speaker-info.txt").write_text(
        "ID  AGE  GENDER  ACCENTS  REGION\n225  23  F    English    Southern  England\n"
    )
    return folder


def _vctk_092(folder: Path, write_tone: WriteTone) -> Path:
    write_tone(folder / "wav48_silence_trimmed/p225/p225_001_mic2.flac", rate_hz=48000)
    (folder / "txt/p225").mkdir(parents=True)
    (folder / "txt/p225/p225_001.txt").write_text("Please call Stella.\n")
    (folder / "speaker-info.txt").write_text(
        "ID  AGE  GENDER  ACCENTS  REGION COMMENTS\np225  23  F    English    Southern  England\n"
    )
    return folder


def _ljspeech(folder: Path, write_tone: WriteTone) -> Path:
    write_tone(folder / "wavs/LJ001-0001.wav", rate_hz=22050)
    (folder / "metadata.csv").write_text("LJ001-0001|In 1455|In fourteen fifty-five\n")
    return folder


@pytest.mark.parametrize(
    ("build", "kind", "expected"),
    [
        (
            _librispeech,
            "librispeech",
            [
                ("librispeech/19-199-0000", "HELLO", "librispeech:19", "dev"),
                ("librispeech/19-199-0001", "YOU THERE", "librispeech:19", "dev"),
                ("librispeech/19-198-0000", "HELLO", "librispeech:19", "train"),
                ("librispeech/19-198-0001", "YOU THERE", "librispeech:19", "train"),
            ],
        ),
        (
            _libritts,
            "libritts",
            [("libritts/84_121_000007_000001", "Mister V.", "libritts:84", "train")],
        ),
        (_vctk, "vctk", [("vctk/p225_001", "Please call Stella.", "vctk:p225", "train")]),
        (_vctk_092, "vctk", [("vctk/p225_001_mic2", "Please call Stella.", "vctk:p225", "train")]),
        (
            _ljspeech,
            "ljspeech",
            [("ljspeech/LJ001-0001", "In fourteen fifty-five", "ljspeech:ljspeech", "train")],
        ),
    ],
    ids=["librispeech", "libritts", "vctk 0.80", "vctk 0.92", "ljspeech"],
)
def test_known_corpora(
    build: Build,
    kind: str,
    expected: list[tuple[str, str, str, str]],
    tmp_path: Path,
    write_tone: WriteTone,
) -> None:
    folder = build(tmp_path, write_tone)
    assert detect_kind(folder) == kind
    clips = read(folder)
    assert [(clip.id, clip.text, clip.speaker, clip.split) for clip in clips] == expected
    assert {clip.language for clip in clips} == {"en"}
    assert all(clip.path.is_file() and clip.seconds is None for clip in clips)
    assert all(clip.license != "unknown" for clip in clips)


def test_a_broken_known_corpus_is_a_data_error(tmp_path: Path, write_tone: WriteTone) -> None:
    _ljspeech(tmp_path, write_tone)
    (tmp_path / "metadata.csv").write_text("LJ001-0001|too|many|columns\n")
    with pytest.raises(DataError, match=r"Line 1 of .*metadata.* 4 columns"):
        read(tmp_path)


@pytest.mark.parametrize("build", [_librispeech, _libritts, _vctk, _vctk_092, _ljspeech])
def test_transcripts_without_audio_are_not_dropped(
    build: Build, tmp_path: Path, write_tone: WriteTone
) -> None:
    folder = build(tmp_path, write_tone)
    clips = read(folder)
    clips[0].path.unlink()
    again = read(folder)
    assert len(again) == len(clips)
    assert sum(clip.missing is not None for clip in again) == 1
    assert clips[0].text in {clip.text for clip in again if clip.missing}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata.csv", b"a.wav,hello\n", "header"),
        ("metadata.csv", b"file,text\n\xff\xfe,x\n", "UTF-8"),
        ("metadata.csv", b'file,text\na.wav,"' + b"x" * 200_000, "CSV"),
        ("manifest.jsonl", b'{"file": "a.wav"}\n{"file"\n', "Line 2 .* not JSON"),
        ("manifest.jsonl", b"[" * 100_000, "not JSON"),
        ("manifest.jsonl", b'["a.wav"]', "Line 1"),
        ("manifest.jsonl", b'{"text": "no file"}', "Line 1"),
        ("manifest.jsonl", b'{"file": "a.wav", "shard": "gone.tar"}', "gone.tar"),
        ("manifest.jsonl", b'{"file": "a.wav", "shard": "manifest.jsonl"}', "plain tar"),
        ("readme.txt", b"nothing here", "metadata.csv"),
    ],
)
def test_broken_tables_are_data_errors(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_a_compressed_shard_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.wav"), io.BytesIO())
    (tmp_path / "manifest.jsonl").write_text('{"file": "a.wav", "shard": "s.tar"}')
    with pytest.raises(DataError, match="plain tar"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["gone", "a.wav"])
def test_no_corpus_is_a_data_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="corpus"):
        read(tmp_path / name)


def test_the_wrong_kind_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no vctk folder"):
        list(read_corpus(Corpus(path=tmp_path, kind="vctk")))
    with pytest.raises(DataError, match=r"metadata\.csv"):
        list(read_corpus(Corpus(path=tmp_path, kind="metadata")))
