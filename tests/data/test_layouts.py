"""What people of other tools bring is read right, or refused with the line; never read wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechkit.core.errors import DataError
from speechkit.data.clips import ClipSource, Corpus
from speechkit.data.corpora import detect_kind, read_corpus
from speechkit.data.packed import PackedCorpus
from speechkit.data.prepare import PrepareLimits, prepare

from .conftest import WriteTone

Said = dict[str, tuple[str | None, str | None]]
"""Transcript and speaker by file; speaker None = each its own."""


def read(path: Path) -> list[ClipSource]:
    return list(read_corpus(Corpus(path=path)))


def said(path: Path) -> Said:
    return {
        clip.path.name: (clip.text, None if clip.speaker == clip.id else clip.speaker)
        for clip in read(path)
        if not clip.missing
    }


@pytest.fixture
def folder(tmp_path: Path, write_tone: WriteTone) -> Path:
    """A folder `corpus` with audio a, b and c in wavs/."""
    for name in "abc":
        write_tone(tmp_path / "corpus/wavs" / f"{name}.wav", 1.0)
    return tmp_path / "corpus"


TABLES: dict[str, tuple[str, str, Said]] = {
    "coqui": (
        "metadata.csv",
        "audio_file|text|speaker_name\nwavs/a.wav|Hello there|anna\nwavs/b.wav|Yes.|ben\n",
        {"a.wav": ("Hello there", "anna"), "b.wav": ("Yes.", "ben")},
    ),
    "coqui with emotion": (
        "metadata.csv",
        "audio_file|text|speaker_name|emotion_name\na.wav|Hello there|anna|glad\n",
        {"a.wav": ("Hello there", "anna")},
    ),
    "f5": ("metadata.csv", "audio_file|text\nwavs/a.wav|Hello.\n", {"a.wav": ("Hello.", None)}),
    "piper": (
        "metadata.csv",
        "a|anna|Hello there.\nb|ben|I am here.\n",
        {"a.wav": ("Hello there.", "anna"), "b.wav": ("I am here.", "ben")},
    ),
    "piper, capital names": (
        "metadata.csv",
        "a|Anna Lee|Hello there.\nb|Anna Lee|I am here.\n",
        {"a.wav": ("Hello there.", "Anna Lee"), "b.wav": ("I am here.", "Anna Lee")},
    ),
    "vits": (
        "list.txt",
        "wavs/a.wav|Hello there.|0\nwavs/b.wav|I am here.|12\n",
        {"a.wav": ("Hello there.", "0"), "b.wav": ("I am here.", "12")},
    ),
    "ljspeech": (
        "metadata.csv",
        "a|In 1455, \"so|In fourteen fifty-five, \"so\nb|Yes.|Yes.\nc|£5|five pounds\n",
        {
            "a.wav": ('In fourteen fifty-five, "so', "corpus"),
            "b.wav": ("Yes.", "corpus"),
            "c.wav": ("five pounds", "corpus"),
        },
    ),
    "upper case": (
        "metadata.csv",
        "FILE,Text,Speaker Name\na.wav,Hello.,anna\n",
        {"a.wav": ("Hello.", "anna")},
    ),
    "semicolons": ("metadata.csv", "file;text\na.wav;So, well.\n", {"a.wav": ("So, well.", None)}),
    "quoted": (
        "metadata.csv",
        '"file","text","speaker"\n"a.wav","Hello, ""you"" there","Lee, Anna"\n',
        {"a.wav": ('Hello, "you" there', "Lee, Anna")},
    ),
    "blanks": (
        "metadata.csv",
        'file, text, speaker\na.wav, "Hello, you", anna\n',
        {"a.wav": ("Hello, you", "anna")},
    ),
    "pandas": (
        "metadata.csv",
        ",file,text\n0,a.wav,Hello.\n1,b.wav,\n",
        {"a.wav": ("Hello.", None), "b.wav": (None, None)},
    ),
    "normalised": (
        "metadata.csv",
        "id|text|normalized_text\na|In 5|In five\nb|Yes.|\n",
        {"a.wav": ("In five", None), "b.wav": ("Yes.", None)},
    ),
    "nemo": (
        "manifest.jsonl",
        '{"audio_filepath": "wavs/a.wav", "text": "Hello.", "duration": 1.02}\n',
        {"a.wav": ("Hello.", None)},
    ),
    "hugging face": (
        "metadata.jsonl",
        '{"file_name": "wavs/a.wav", "transcription": "Hello.", "speaker_id": 7}\n',
        {"a.wav": ("Hello.", "7")},
    ),
    "hugging face audio": (
        "metadata.jsonl",
        '{"audio": {"path": "wavs/a.wav"}, "sentence": "Hello."}\n',
        {"a.wav": ("Hello.", None)},
    ),
    "bare list": ("metadata.csv", "file\na.wav\n", {"a.wav": (None, None)}),
    "backslashes": ("metadata.csv", "file,text\nwavs\\a.wav,Hello.\n", {"a.wav": ("Hello.", None)}),
    "old mac": ("metadata.csv", "\ufefffile,text\ra.wav,Hello.\r", {"a.wav": ("Hello.", None)}),
    "other case": (
        "metadata.csv",
        "A|Hello.\nb.WAV|Yes.\n",
        {"a.wav": ("Hello.", "corpus"), "b.wav": ("Yes.", "corpus")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", TABLES)
def test_tables_of_other_tools(folder: Path, layout: str) -> None:
    name, content, expected = TABLES[layout]
    (folder / name).write_text(content, newline="")
    path = folder if name.startswith(("metadata", "manifest")) else folder / name
    assert said(path) == expected
    assert len(read(path)) == len(expected)


REFUSED: dict[str, tuple[str, str, str]] = {
    "a comma in the text": (
        "metadata.csv",
        "file,text,speaker\na.wav,Hello.,anna\na.wav,Hello, there my friend,anna\n",
        r"Line 3 .* 4 columns.*quotes",
    ),
    "a comma for a speaker": ("metadata.csv", "file,text,speaker\na.wav,Hello, there\n", "Line 2"),
    "a comma at the end": ("metadata.csv", "file,text,\na.wav,Hello, there\n", "Line 2"),
    "a row too short": ("metadata.csv", "file,text,speaker\na.wav,Hello.\n", "Line 2 .* 2 columns"),
    "a pipe in the text": ("metadata.csv", "a|Hello | there.\n", "Line 1"),
    "a pipe without blanks": ("metadata.csv", "a|Hello|there.\n", "Line 1"),
    "a pipe among others": ("metadata.csv", "a|Hello.\nb|So | what\nc|Yes.\n", "Line 2"),
    "a pipe after a number": ("metadata.csv", "a|In 5 | and more\nb|Yes.|Yes.\n", "Line 1"),
    "a pipe under a header": ("metadata.csv", "file|text\na.wav|So | what\n", "Line 2 .* 3 col"),
    "no header": ("metadata.csv", "a.wav,Hello.\n", "Line 1 .* no header"),
    "a header without file": ("metadata.csv", "sound|text\na|Hello.\n", "Line 1 .* header"),
    "a header without text": ("metadata.csv", "file|Satz\na.wav|Hallo.\n", "Line 1 .*Satz"),
    "two texts": ("metadata.csv", "file,text,sentence\na.wav,x,y\n", "Line 1 .* two columns"),
    "only a header": ("metadata.csv", "file,text\n", "no clip"),
    "a quote left open": ("metadata.csv", 'file,text\na.wav,"Hello\nb.wav,Yes.\n', "Line 2"),
    "a quote closed rows later": (
        "metadata.csv",
        'file,text,speaker\na.wav,"Hello\nb.wav,Yes.,anna\nc.wav,Bye",anna\n',
        r"Line 2 .* quote",
    ),
    "a quote closed rows later, ids": (
        "metadata.csv",
        'id,text,speaker\na,"Hello\nb,Yes.,anna\nc,Bye",anna\n',
        r"Line 2 .* quote",
    ),
    "text after a quote": ("metadata.csv", 'file,text\na.wav,"Hello" she said\n', "Line 2"),
    "swapped columns": ("metadata.csv", "text,file\na.wav,Hello.\n", "Line 2 .* file name"),
    "an id for a text": ("metadata.csv", "LJ1|LJ1\n", "Line 1 .* file name"),
    "a sentence for a speaker": (
        "metadata.csv",
        "file|speaker|text\na.wav|We went there yesterday.|anna\n",
        "Line 2 .* sentence",
    ),
    "a file for a speaker": (
        "metadata.csv", "file|speaker|text\na.wav|b.wav|Hello.\n", "Line 2 .* file name"
    ),
    "not a number": ("metadata.csv", "file,text\na.wav,nan\n", "Line 2 .* empty"),
    "no file": ("metadata.csv", "file,text\n,Hello.\n", "Line 2 .* no audio"),
    "four columns": ("metadata.csv", "a|b|c|d\n", "Line 1 .* 4 columns"),
    "a time in words": ("metadata.csv", "file,text,start\na.wav,Hi,00:01\n", "Line 2 .* seconds"),
    "JSON without file": ("manifest.jsonl", '{"text": "x"}', 'Line 1 .* "file"'),
    "JSON with two texts": ("manifest.jsonl", '{"file": "a", "text": "x", "text": "y"}', "Line 1"),
    "JSON with other text": ("manifest.jsonl", '{"file": "a", "text_raw_de": "x"}', "Line 1"),
    "JSON with a list": ("manifest.jsonl", '{"file": "a", "text": ["x"]}', "Line 1"),
    "JSON with half a letter": ("manifest.jsonl", '{"file": "a", "text": "\\ud83d"}', "Line 1"),
    "JSON of nothing": ("manifest.jsonl", "\n", "no clip"),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_read_for_certain_is_refused(folder: Path, fault: str) -> None:
    name, content, message = REFUSED[fault]
    (folder / name).write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read(folder)
    assert str(folder / name) in str(caught.value)


def test_common_voice_has_splits_and_clips(tmp_path: Path, write_tone: WriteTone) -> None:
    header = "client_id\tpath\tsentence\tup_votes\tlocale\n"
    for split, text in (("train", 'She said: "no'), ("dev", "Yes.")):
        write_tone(tmp_path / f"clips/{split}.mp3")
        (tmp_path / f"{split}.tsv").write_text(f"{header}f00\t{split}.mp3\t{text}\t2\tcy\n")
    (tmp_path / "validated.tsv").write_text(f"{header}f00\ttrain.mp3\tNot read.\t2\tcy\n")
    found = [(clip.text, clip.split, clip.speaker, clip.language) for clip in read(tmp_path)]
    assert found == [('She said: "no', "train", "f00", "cy"), ("Yes.", "dev", "f00", "cy")]


def test_tables_of_splits(folder: Path) -> None:
    for split in ("train", "test"):
        (folder / split).mkdir()
        (folder / split / "metadata.csv").write_text("file_name,text\n../wavs/a.wav,Hello.\n")
    assert [(clip.split, clip.missing) for clip in read(folder)] == [
        ("train", None),
        ("test", None),
    ]


def test_two_tables_are_a_question(folder: Path) -> None:
    (folder / "metadata.csv").write_text("a|Hello.\n")
    (folder / "metadata.jsonl").write_text('{"file": "a.wav"}\n')
    with pytest.raises(DataError, match="give the one"):
        read(folder)
    assert len(read(folder / "metadata.csv")) == 1


def _kaldi(folder: Path, **files: str) -> Path:
    (folder / "wav.scp").write_text("u1 wavs/a.wav\nu2 wavs/b.wav\n")
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


def test_kaldi(folder: Path) -> None:
    _kaldi(folder, text="u1 HELLO THERE\nu2 YES\n", utt2spk="u1 anna\nu2 ben\n")
    assert detect_kind(folder) == "kaldi"
    assert said(folder) == {"a.wav": ("HELLO THERE", "anna"), "b.wav": ("YES", "ben")}
    _kaldi(folder, segments="u1 u1 0.1 0.6\nu2 u2 0.2 -1\n")
    spans = [(clip.id, clip.start_seconds, clip.seconds) for clip in read(folder)]
    assert spans == [("u1", 0.1, pytest.approx(0.5)), ("u2", 0.2, None)]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"text": "u1 A\nu2 B\nu3 C\n"}, "Line 3 .*text.* 'u3'"),
        ({"text": "u1 A\n"}, "text' does not name 'u2'"),
        ({"utt2spk": "u1 x\nu1 y\nu2 z\n"}, "Line 2 .*utt2spk"),
        ({"segments": "u1 nobody 0 1\n"}, "Line 1 .*segments"),
        ({"wav.scp": "u1 sox a.mp3 -t wav - |\n"}, "Line 1 .*command"),
    ],
)
def test_broken_kaldi_folders(folder: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(_kaldi(folder, **files))


def test_a_bare_folder(tmp_path: Path, write_tone: WriteTone) -> None:
    for name in ("anna/x/a.wav", "ben/b.FLAC", "c.wav", ".cache/d.wav"):
        write_tone(tmp_path / name)
    (tmp_path / "ben/b.txt").write_text("Hello\nthere.\n")
    (tmp_path / "README.txt").write_text("About it.\n")
    expected = {"a.wav": (None, "anna"), "b.FLAC": ("Hello there.", "ben"), "c.wav": (None, None)}
    assert said(tmp_path) == expected
    (tmp_path / "transcripts.txt").write_text("a Hello\n")
    with pytest.raises(DataError, match=r"transcripts\.txt"):
        read(tmp_path)
    assert len(list(read_corpus(Corpus(path=tmp_path, kind="folder")))) == 3


def test_lhotse_cuts(folder: Path) -> None:
    pytest.importorskip("lhotse", reason="lhotse reads its manifests and is not installed")
    recording = {
        "id": "r", "sampling_rate": 16000, "num_samples": 16000, "duration": 1.0,
        "channel_ids": [0],
        "sources": [{"type": "file", "channels": [0], "source": str(folder / "wavs/a.wav")}],
    }  # fmt: skip
    segment = {
        "id": "s", "recording_id": "r", "start": 0.25, "duration": 0.5, "channel": 0,
        "text": "Hello.", "language": "English", "speaker": "anna",
    }  # fmt: skip
    (folder / "recordings.jsonl").write_text(json.dumps(recording) + "\n")
    (folder / "supervisions.jsonl").write_text(json.dumps(segment) + "\n")
    (clip,) = read(folder)
    assert (clip.id, clip.text, clip.speaker, clip.language) == ("s", "Hello.", "anna", "en")
    assert (clip.start_seconds, clip.seconds, clip.path) == (0.25, 0.5, folder / "wavs/a.wav")


def test_where_audio_was_looked_for_is_told(folder: Path, tmp_path: Path) -> None:
    (folder / "metadata.csv").write_text("x\\nobody|Hello.\nC:\\data\\a.wav|Yes.\n")
    with pytest.raises(DataError, match=r"2 missing .* 'x\\nobody' with \.wav .*'.*corpus'.*wavs"):
        prepare([folder], tmp_path / "x.corpus")
    (folder / "wavs/A.wav").write_bytes((folder / "wavs/a.wav").read_bytes())
    (folder / "wavs/a.wav").rename(folder / "wavs/a.WAV")
    (folder / "metadata.csv").write_text("a|Hello.\n")
    (clip,) = read(folder)
    assert clip.missing is not None
    assert "differ in case" in clip.missing


def test_contradictory_rows_are_all_rejected(folder: Path, tmp_path: Path) -> None:
    rows = [("a", "Hello.", "anna"), ("./wavs/a.wav", "Goodbye.", "anna"), ("b", "Yes.", "anna"),
            ("b", "Yes.", "ben"), ("c", "So.", "anna"), ("c", "So.", "anna")]  # fmt: skip
    table = "\n".join("|".join(row) for row in [("file", "text", "speaker"), *rows])
    (folder / "metadata.csv").write_text(table)
    out = tmp_path / "x.corpus"
    report = prepare([folder], out)
    assert [clip["text"] for clip in PackedCorpus(out).clips] == ["So."]
    assert report.rejected == {"contradictory": 4, "duplicate id": 1}
    assert "two texts: 'Hello.' and 'Goodbye.'" in report.table()


def test_a_length_that_the_file_does_not_have_is_counted(folder: Path, tmp_path: Path) -> None:
    rows = [("a", 0, 0.98), ("b", 0, 2.0), ("c", 0.25, 0.5), ("c", 0.9, 0.5)]
    lines = [
        json.dumps({"file": f"{name}.wav", "text": str(at), "offset": at, "duration": seconds})
        for name, at, seconds in rows
    ]
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    out = tmp_path / "x.corpus"
    report = prepare([folder], out, limits=PrepareLimits(min_seconds=0.1))
    packed = PackedCorpus(out)
    assert [packed.samples(index) for index in range(2)] == [16000, 8000]
    assert report.rejected == {"unreadable": 2}
    assert "gives it 2.00 s" in report.examples["unreadable"]
