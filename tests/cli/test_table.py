"""A table of texts from the command line, with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from .conftest import Run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    made = tmp_path / "spoken"
    made.mkdir()
    return made


def table(tmp_path: Path, text: str) -> Path:
    """A table file."""
    path = tmp_path / "lines.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_each_row_becomes_a_file(
    run: Run, model: Path, prompt: Path, other_prompt: Path, folder: Path, tmp_path: Path
) -> None:
    rows = table(
        tmp_path,
        'text,file,voice,seed,speed\n"Hello, you.",a.wav,,,\nHi [pause 1s].,b.flac,BEN,7,0.5\n'
        "Hi.,,,,\n",
    )
    argv = ("--prompt", prompt, "--voice", f"BEN={other_prompt}", "--model", model, "--json")
    ran = run("say", "--csv", rows, "-o", folder, *argv)
    assert ran.code == 0, ran.err
    assert sorted(path.name for path in folder.iterdir()) == ["00003.wav", "a.wav", "b.flac"]
    assert [item["seconds"] for item in json.loads(ran.out)["files"]] == [
        pytest.approx(soundfile.info(folder / name).duration)
        for name in ("a.wav", "b.flac", "00003.wav")
    ]
    one = tmp_path / "one.wav"
    run("say", "--prompt", prompt, "--text", "Hello, you.", "-o", one, "--model", model)
    assert one.read_bytes() == (folder / "a.wav").read_bytes()

    (folder / "a.wav").unlink()
    again = json.loads(run("say", "--csv", rows, "-o", folder, *argv).out)
    assert [Path(item["out"]).name for item in again["files"]] == ["a.wav"]
    assert len(again["kept"]) == 2
    assert one.read_bytes() == (folder / "a.wav").read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column names"),
        ("words\nHi.\n", "column names"),
        ("text\n", "no rows"),
        ("text\nHi, you.\n", "row 1: quote"),
        ("text,file\nHi.,../a.wav\n", "row 1: file must be a name"),
        ("text,file\nHi.,a\\b.wav\n", "row 1: file must be a name"),
        ("text,file\nHi.,a.wav\nHo.,A.wav\n", "row 2: the file A.wav comes twice"),
        ("text,file\nHi.,a.exe\n", "must end in"),
        ("text,voice\nHi.,EVE\n", "row 1: there is no voice 'EVE'"),
        ("text\nHi.\n...\n", "row 2: The text is empty"),
        ("text,seed\nHi.,x\n", "row 1: 'x' is not a whole number"),
        ("text,speed\nHi.,nan\n", "row 1: 'nan' is not a number"),
        ('text\n"Hi.\n', "unexpected end"),
    ],
)
def test_a_wrong_table_is_refused_whole(
    run: Run, model: Path, prompt: Path, folder: Path, tmp_path: Path, text: str, message: str
) -> None:
    argv = ("--prompt", prompt, "--model", model)
    ran = run("say", "--csv", table(tmp_path, text), "-o", folder, *argv)
    assert message in ran.error
    assert not list(folder.iterdir())
