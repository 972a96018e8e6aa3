"""`codec`: recordings to codec files and back, one by one and in folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechkit.cli import build_parser
from speechkit.core.checkpoint import load_checkpoint
from speechkit.facodec.codec import ENCODED_AT_ONCE
from speechkit.facodec.files import read_codec_file
from tests.tiny import tiny_model

from .conftest import RATE_HZ, Run, buzz


@pytest.fixture
def codec(model: Path) -> tuple[str | Path, ...]:
    """The flag that names the tiny codec."""
    return ("--codec", model / "codec")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings of several formats in folders."""
    root = tmp_path / "in"
    for place, seconds in (("a.wav", 0.5), ("deep/er/b.flac", 0.25), ("deep/c.ogg", 0.1)):
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * buzz(seconds), RATE_HZ)
    (root / "notes.txt").write_text("not sound")
    (root / ".hidden.wav").write_bytes(b"not looked at")
    return root


def codec_hash(folder: Path) -> str:
    """What codec files name a codec by."""
    return load_checkpoint(folder).sha256[:32]


def tree(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_one_recording_there_and_back(
    run: Run, codec: tuple[str | Path, ...], prompt: Path, model: Path, tmp_path: Path
) -> None:
    small, back = tmp_path / "it.skc", tmp_path / "it.flac"
    ran = run("codec", "encode", prompt, "-o", small, *codec, "--json")
    assert ran.code == 0, ran.err
    said = json.loads(ran.out)
    assert said["codec"] == codec_hash(model / "codec")
    assert (said["seconds"], said["codec_bytes"]) == (2.0, small.stat().st_size)
    file = read_codec_file(small)
    assert (file.samples, file.frames) == (32_000, 100)
    assert str(file.timbre_D.dtype) == "torch.float16"

    assert run("codec", "decode", small, "-o", back, *codec).code == 0
    sound, rate_hz = soundfile.read(back)
    assert (len(sound), rate_hz) == (32_000, RATE_HZ)
    first = back.read_bytes()
    assert run("codec", "decode", small, "-o", back, *codec, "--seed", "1").code == 0
    assert back.read_bytes() != first
    assert run("codec", "encode", prompt, "-o", small, *codec, "--timbre-bits", "32").code == 0
    assert str(read_codec_file(small).timbre_D.dtype) == "torch.float32"


def test_the_level_comes_back(run: Run, examples: Path, tmp_path: Path) -> None:
    levels = {}
    spoken = soundfile.read(examples / "synthetic_af_heart.flac", stop=24_000)[0]
    for name, scale in (("loud", 1.0), ("soft", 0.05)):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, scale * spoken, RATE_HZ, subtype="FLOAT")
        assert run("codec", "encode", path, "-o", tmp_path / f"{name}.skc").code == 0
        back = tmp_path / f"{name}.back.wav"
        assert run("codec", "decode", tmp_path / f"{name}.skc", "-o", back).code == 0
        real, decoded = soundfile.read(path)[0], soundfile.read(back)[0]
        levels[name] = np.sqrt(np.mean(decoded**2) / np.mean(real**2))
    assert levels["loud"] == pytest.approx(1.0, rel=0.4)
    assert levels["soft"] == pytest.approx(levels["loud"], rel=0.05)


def test_folders_keep_their_shape(
    run: Run, codec: tuple[str | Path, ...], folder: Path, tmp_path: Path
) -> None:
    out, back = tmp_path / "skc", tmp_path / "wav"
    ran = run("codec", "encode", folder, "-o", out, *codec)
    assert ran.code == 0, ran.err
    assert tree(out) == ["a.skc", "deep/c.skc", "deep/er/b.skc"]
    assert "3 of 3" in ran.err
    assert "3 files, 0.8 s" in ran.out
    ran = run("codec", "decode", out, "-o", back, *codec, "--format", "ogg", "--json")
    assert tree(back) == ["a.ogg", "deep/c.ogg", "deep/er/b.ogg"]
    assert json.loads(ran.out)["seconds"] == pytest.approx(0.85)

    changed = back / "a.ogg"
    changed.write_bytes(b"mine")
    again = json.loads(
        run("codec", "decode", out, "-o", back, *codec, "--format", "ogg", "--json").out
    )
    assert (len(again["files"]), len(again["kept"])) == (0, 3)
    assert changed.read_bytes() == b"mine"
    argv = ("codec", "decode", out, "-o", back, *codec, "--format", "ogg", "--overwrite")
    assert run(*argv).code == 0
    assert changed.read_bytes()[:4] == b"OggS"


def test_files_into_a_folder(
    run: Run, codec: tuple[str | Path, ...], folder: Path, prompt: Path, tmp_path: Path
) -> None:
    out = tmp_path / "skc"
    several = ("codec", "encode", prompt, folder / "a.wav", "-o", out, *codec)
    assert run(*several).code == 0
    assert tree(out) == ["a.skc", "prompt.skc"]
    shutil.rmtree(out)
    out.mkdir()
    assert run("codec", "encode", prompt, "-o", out, *codec).code == 0
    assert tree(out) == ["prompt.skc"]
    assert "is a file" in run(*several[:4], "-o", prompt, *codec).error


@pytest.mark.parametrize("at_once", [1, 2, 16])
def test_broken_files_are_told_at_the_end(
    run: Run,
    codec: tuple[str | Path, ...],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
) -> None:
    # However many are encoded together, each file is that of its own recording.
    monkeypatch.setitem(ENCODED_AT_ONCE, "cpu", at_once)
    (folder / "aa broken.wav").write_bytes(b"RIFF, I said, is no music")
    (folder / "empty.wav").write_bytes(b"")
    out = tmp_path / "skc"
    ran = run("codec", "encode", folder, "-o", out, *codec, "--json")
    assert ran.code == 2
    assert tree(out) == ["a.skc", "deep/c.skc", "deep/er/b.skc"]
    said = json.loads(ran.out)
    assert [Path(one["in"]).name for one in said["failed"]] == ["aa broken.wav", "empty.wav"]
    told = [line for line in ran.err.splitlines() if line.startswith("speechkit: error: ")]
    assert len(told) == 2
    assert ran.err.splitlines()[-2:] == told
    assert all("not an audio file" in line for line in told)

    assert read_codec_file(out / "deep" / "er" / "b.skc").seconds == 0.25

    data = bytearray((out / "a.skc").read_bytes())
    data[70] ^= 1
    (out / "a.skc").write_bytes(data)
    ran = run("codec", "decode", out, "-o", tmp_path / "wav", *codec)
    assert ran.code == 2
    assert "checksum" in ran.err
    assert "2 files" in ran.out
    assert "1 failed" in ran.out
    assert tree(tmp_path / "wav") == ["deep/c.wav", "deep/er/b.wav"]


def test_collisions_are_told_before_any_work(
    run: Run, codec: tuple[str | Path, ...], folder: Path, tmp_path: Path
) -> None:
    shutil.copy(folder / "a.wav", folder / "a.flac")
    out = tmp_path / "skc"
    error = run("codec", "encode", folder, "-o", out, *codec).error
    assert "a.flac and" in error
    assert "would both become" in error
    assert not out.exists()
    twice = (folder / "deep/c.ogg", folder / "deep/c.ogg", folder / "deep/er")
    assert run("codec", "encode", *twice, "-o", out, *codec).code == 0
    assert tree(out) == ["b.skc", "c.skc"]


def test_bad_requests(
    run: Run, codec: tuple[str | Path, ...], folder: Path, prompt: Path, tmp_path: Path
) -> None:
    empty, out = tmp_path / "empty", tmp_path / "out.skc"
    empty.mkdir()
    assert "nothing that ends in" in run("codec", "encode", empty, "-o", out, *codec).error
    assert "check the path" in run("codec", "encode", tmp_path / "no", "-o", out, *codec).error
    assert "must end in .skc" in run("codec", "encode", prompt, "-o", "x.wav", *codec).error
    assert "must end in .wav" in run("codec", "decode", prompt, "-o", out, *codec).error
    assert "nowhere" in run("codec", "encode", prompt, "-o", out, "--codec", "nowhere").error
    assert (
        "not an audio file" in run("codec", "encode", folder / "notes.txt", "-o", out, *codec).error
    )
    assert "codec" in run("codec").error
    assert not out.exists()


def test_another_codec_s_file_is_refused(
    run: Run, codec: tuple[str | Path, ...], prompt: Path, model: Path, tmp_path: Path
) -> None:
    small = tmp_path / "it.skc"
    assert run("codec", "encode", prompt, "-o", small, *codec).code == 0
    other = tiny_model(tmp_path / "other", seed=1) / "codec"
    error = run("codec", "decode", small, "-o", tmp_path / "it.wav", "--codec", other).error
    assert codec_hash(model / "codec") in error
    assert codec_hash(other) in error
    assert not (tmp_path / "it.wav").exists()
    assert (
        "not a codec file"
        in run("codec", "decode", prompt, "-o", tmp_path / "it.wav", *codec).error
    )


def test_info_describes_files_without_the_codec(
    run: Run, codec: tuple[str | Path, ...], prompt: Path, model: Path, tmp_path: Path
) -> None:
    small = tmp_path / "it.skc"
    assert run("codec", "encode", prompt, "-o", small, *codec).code == 0
    (facts,) = json.loads(run("codec", "info", small, "--json").out)["files"]
    assert (facts["frames"], facts["seconds"], facts["samples"]) == (100, 2.0, 32_000)
    # Six codebooks of 16 entries at 50 frames a second.
    assert facts["payload_kbps"] == 1.2
    assert facts["file_kbps"] == 8 * small.stat().st_size / 2000
    assert facts["codec"] == codec_hash(model / "codec")
    assert len(facts["usage"]) == 6
    assert all(0 < one["used"] <= 1 <= one["perplexity"] <= 16 for one in facts["usage"])
    text = run("codec", "info", small, small).out
    assert text.count("1.20 kb/s") == 2
    assert "50 frames/s" in text
    assert "not a codec file" in run("codec", "info", prompt).error
    assert "No such file" in run("codec", "info", tmp_path / "no.skc").error


def test_devices_that_are_not_there_are_refused(
    run: Run, codec: tuple[str | Path, ...], prompt: Path, tmp_path: Path
) -> None:
    encode = ("codec", "encode", prompt, "-o", tmp_path / "a.skc", *codec)
    convert = ("convert", "--source", prompt, "--target", prompt, "-o", tmp_path / "a.wav", *codec)
    bench = ("bench", "codec", "--prompt", prompt, *codec)
    for argv in (encode, convert, bench):
        assert "no device 'gpu'" in run(*argv, "--device", "gpu").error
    assert not (tmp_path / "a.skc").exists()
    assert not (tmp_path / "a.wav").exists()


@pytest.mark.parametrize(
    ("verb", "dtype"),
    [
        *(("codec encode x -o y", False), ("codec decode x -o y", False)),
        *(("convert --source x --target y -o z", False), ("eval convert", False)),
        *(("eval codec", False), ("eval tts", True), ("eval watermark --data x", True)),
        *(("bench --prompt x", True), ("serve", True), ("demo", True)),
    ],
)
def test_verbs_that_compute_say_where(verb: str, dtype: bool) -> None:
    flags = ["--device", "cuda:1", *(["--dtype", "bfloat16"] if dtype else [])]
    args = build_parser(verb.split()[0]).parse_args([*verb.split(), *flags])
    assert args.device == "cuda:1"
    assert getattr(args, "dtype", None) == ("bfloat16" if dtype else None)
