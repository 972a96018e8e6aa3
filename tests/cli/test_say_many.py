"""`say --batch` and `say --stream`: many texts from a table, and sound on standard output."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechkit.cli import main
from speechkit.watermark import detect
from tests.cli.conftest import Run


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "lines.csv"


def test_a_table_is_spoken_as_line_by_line(
    run: Run, model: Path, prompt: Path, other_prompt: Path, table: Path, tmp_path: Path
) -> None:
    table.write_text(
        "text,voice,out,seed\n"
        f'"Hello, you.",{prompt},a.wav,3\n'
        f"No.,{other_prompt},deep/b.flac,\n"
        "Yes.,,,\n"
    )
    folder = tmp_path / "out"
    ran = run(
        "say", "--batch", table, "--prompt", prompt, "-o", folder, "--model", model,
        "--seed", "5", "--steps", "1", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    facts = json.loads(ran.out)
    names = ["a.wav", "deep/b.flac", "00003.wav"]
    assert facts["files"] == [str(folder / name) for name in names]
    assert (facts["kept"], facts["failed"]) == (0, [])
    assert "3 of 3" in ran.err
    rows = [("Hello, you.", prompt, 3), ("No.", other_prompt, 5), ("Yes.", prompt, 5)]
    for name, (text, voice, seed) in zip(names, rows, strict=True):
        alone = tmp_path / f"alone{Path(name).suffix}"
        common = ("say", "--prompt", voice, "--text", text, "-o", alone, "--model", model)
        assert run(*common, "--seed", str(seed), "--steps", "1").code == 0
        one, other = (soundfile.read(path)[0] for path in (folder / name, alone))
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_batch_goes_on_where_it_ended_and_tells_what_failed(
    run: Run, model: Path, prompt: Path, tmp_path: Path
) -> None:
    table, folder = tmp_path / "lines.jsonl", tmp_path / "out"
    lines = [
        {"text": "Hi.", "out": "a.wav"},
        {"text": "...", "out": "b.wav"},
        {"text": "No.", "prompt": "nobody.wav", "out": "c.wav"},
        {"text": "Yes.", "out": "d.wav", "seed": 2},
    ]
    table.write_text("\n\n".join(json.dumps(line) for line in lines))
    folder.mkdir()
    (folder / "a.wav").write_bytes(b"mine")
    argv = ("say", "--batch", table, "--prompt", prompt, "-o", folder, "--model", model, "--json")
    ran = run(*argv, "--steps", "1")
    assert ran.code == 1
    facts = json.loads(ran.out)
    assert facts["files"] == [str(folder / "d.wav")]
    assert facts["kept"] == 1
    assert [failed["line"] for failed in facts["failed"]] == [3, 5]
    errors = [line for line in ran.err.splitlines() if ": error: " in line]
    assert len(errors) == 2
    assert "b.wav" in errors[0]
    assert "nobody.wav" in errors[1]
    assert (folder / "a.wav").read_bytes() == b"mine"
    assert sorted(path.name for path in folder.iterdir()) == ["a.wav", "d.wav"]
    before = (folder / "d.wav").stat().st_mtime_ns
    again = json.loads(run(*argv, "--steps", "1").out)
    assert (again["kept"], again["files"]) == (2, [])
    assert (folder / "d.wav").stat().st_mtime_ns == before
    fresh = json.loads(run(*argv, "--steps", "1", "--overwrite").out)
    assert len(fresh["files"]) == 2
    assert (folder / "a.wav").read_bytes()[:4] == b"RIFF"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no lines"),
        ("text\n", "no lines"),
        ("words\nHi.\n", "column 'words'"),
        ("text,out\n,a.wav\n", "no text"),
        ("text,out\nHi.,a.wav\nNo.,a.wav\n", "Lines 1 and 2"),
        ("text,out\nHi.,../a.wav\n", "outside"),
        ("text,out\nHi.,a.m4a\n", "must end in"),
        ("text,seed\nHi.,-1\n", "seed"),
        ("text,voice,prompt\nHi.,a.wav,b.wav\n", "a voice and a prompt"),
        ("text,out\nHi.\n", "cells"),
        ("text\nHi.,there\n", "cells"),
    ],
)
def test_faulty_tables_are_refused_whole(
    run: Run, prompt: Path, table: Path, tmp_path: Path, content: str, said: str
) -> None:
    table.write_text(content)
    ran = run("say", "--batch", table, "--prompt", prompt, "-o", tmp_path / "out")
    assert said in ran.error
    assert not (tmp_path / "out").exists()


def test_batches_that_cannot_be(run: Run, prompt: Path, table: Path, tmp_path: Path) -> None:
    table.write_text("text\nHi.\n")
    out = tmp_path / "out"
    given = ("say", "--batch", table, "--prompt", prompt, "-o")
    assert "not allowed with" in run(*given, out, "--text", "Hi.").error
    assert "single text" in run(*given, out, "--transcript", "Hi.").error
    out.write_text("a file")
    assert "is a file" in run(*given, out).error
    (tmp_path / "x.jsonl").write_text("[1]\n")
    bad = run("say", "--batch", tmp_path / "x.jsonl", "--prompt", prompt, "-o", tmp_path / "o")
    assert "no JSON object" in bad.error
    assert "must end in .csv" in run("say", "--batch", prompt, "-o", tmp_path / "o").error


LONG = "Well, this is how it went. " + "We went to the sea and then we came home again. " * 4


@pytest.mark.parametrize("kind", ["wav", "pcm"])
def test_a_stream_goes_to_standard_output(
    model: Path, prompt: Path, capsysbinary: pytest.CaptureFixture[bytes], kind: str
) -> None:
    argv = ["say", "--prompt", prompt, "--text", LONG, "-o", "-", "--model", model]
    flags = ["--stream", "--steps", "1", "--format", kind]
    assert main([str(arg) for arg in [*argv, *flags]]) == 0
    data = capsysbinary.readouterr().out
    if kind == "wav":
        assert data[:4] + data[8:16] == b"RIFFWAVEfmt "
        assert struct.unpack("<I", data[40:44]) == (0xFFFFFFFF,)
        # What the header promises is not there; players and this library take what is.
        samples, rate_hz = soundfile.read(io.BytesIO(data), dtype="int16")
        assert rate_hz == 16_000
        data = data[44:]
        np.testing.assert_array_equal(samples, np.frombuffer(data, "<i2"))
    wave = np.frombuffer(data, "<i2").astype(np.float32) / 32767
    assert len(wave) > 3 * 16_000
    assert detect(torch.from_numpy(wave), 16_000).present


def test_streams_that_cannot_be(run: Run, prompt: Path, out: Path) -> None:
    given = ("say", "--prompt", prompt, "--text", "Hi.", "-o")
    assert "give -o -" in run(*given, out, "--stream").error
    assert "--format is for --stream" in run(*given, out, "--format", "pcm").error
    assert "--candidates waits" in run(*given, out, "--stream", "--candidates", "2").error
    assert "--overwrite is for --batch" in run(*given, out, "--overwrite").error
    assert "--json" in run(*given, "-", "--stream", "--json").error


def test_devices_and_number_formats_by_flags(
    run: Run, model: Path, prompt: Path, out: Path, tmp_path: Path
) -> None:
    given = ("say", "--prompt", prompt, "--text", "Hi.", "-o", out, "--model", model)
    assert "no device 'gpu'" in run(*given, "--device", "gpu").error
    assert "no dtype 'half'" in run(*given, "--dtype", "half").error
    assert "CPUs" in run(*given, "--dtype", "float16").error
    saved = tmp_path / "v.safetensors"
    assert "no device" in run("voice", prompt, "-o", saved, "--device", "x").error
    swapped = ("swap", "--source", prompt, "--timbre", prompt, "-o", out, "--model", model)
    assert "no device" in run(*swapped, "--device", "x").error
    assert not out.exists()
    for flags in ((), ("--device", "cpu", "--dtype", "bfloat16")):
        assert run(*given, *flags).code == 0
        assert run(*swapped, "--steps", "1", *flags).code == 0
