"""`convert`: files in, a file out or nothing at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from speechkit.cli import conversion
from speechkit.conversion import VoiceConverter
from speechkit.core.checkpoint import load_checkpoint, save_checkpoint
from speechkit.core.rng import generator

from .conftest import RATE_HZ, Run, buzz


@pytest.fixture(scope="module")
def codec(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny codec with its gates open, which start at 0, so that timbre matters."""
    stored, folder = load_checkpoint(model / "codec"), tmp_path_factory.mktemp("codec")
    rng = generator(0)
    state = {
        name: tensor + 0.2 * torch.randn(tensor.shape, generator=rng)
        if "modulation" in name
        else tensor
        for name, tensor in stored.state.items()
    }
    save_checkpoint(folder, state, stored.config)
    return folder


@pytest.fixture
def pair(prompt: Path, other_prompt: Path, codec: Path, out: Path) -> tuple[str | Path, ...]:
    """A whole command."""
    given = ("--source", prompt, "--target", other_prompt, "--codec", codec)
    return ("convert", *given, "-o", out)


def heard(path: Path) -> Any:
    return soundfile.read(path)[0]


def test_speaks_the_source_in_the_target_s_voice(
    run: Run, pair: tuple[str | Path, ...], prompt: Path, other_prompt: Path, out: Path
) -> None:
    ran = run(*pair, "--json")
    assert ran.code == 0, ran.err
    said = json.loads(ran.out)
    assert said["seconds"] == pytest.approx(2.0)
    assert (said["trained"], said["seed"], said["notes"]) == (False, 0, [])
    assert "UNTRAINED" in ran.err
    first = out.read_bytes()
    assert len(heard(out)) == 2 * RATE_HZ
    assert run(*pair).out.count("\n") == 4
    assert out.read_bytes() == first
    changes: tuple[tuple[str | Path, ...], ...] = (
        ("--seed", "1"),
        ("--pitch", "3.5"),
        ("--target", prompt),
        ("--no-detail" if said["detail"] else "--detail",),
    )
    for flags in changes:
        assert run(*pair, *flags, "--quiet").out == ""
        assert out.read_bytes() != first, flags
    assert run(*pair, "--target", other_prompt).code == 0
    assert np.abs(heard(out)).max() > 0.01


def test_targets_that_are_not_ideal_are_used_with_a_note(
    run: Run, pair: tuple[str | Path, ...], tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "loud.wav", (20 * buzz(1.5)).clip(-1, 1), RATE_HZ)
    ran = run(*pair, "--target", tmp_path / "loud.wav")
    assert ran.code == 0
    assert "clipped" in ran.err


@pytest.fixture
def bad(tmp_path: Path, prompt: Path) -> dict[str, Path]:
    """Files that are no good as a source or as a target."""
    folder = tmp_path / "bad"
    folder.mkdir()
    soundfile.write(folder / "tiny.wav", buzz(0.01), RATE_HZ)
    soundfile.write(folder / "silent.wav", np.zeros(32_000), RATE_HZ)
    (folder / "noise.wav").write_bytes(bytes(range(256)) * 40)
    with (folder / "long.wav").open("wb") as file:
        header = Path(prompt).read_bytes()[:44]
        size = 3700 * RATE_HZ * 2
        file.write(header[:40] + size.to_bytes(4, "little"))
        file.truncate(44 + size)
    return {path.stem: path for path in folder.iterdir()} | {"missing": folder / "missing.wav"}


@pytest.mark.parametrize(
    ("flag", "kind", "words"),
    [
        ("--source", "tiny", "less than one frame"),
        ("--source", "noise", "not an audio file"),
        ("--source", "missing", "check the path"),
        ("--source", "long", "3700 s long: the limit is 3600 s"),
        ("--target", "silent", "silent"),
        ("--target", "tiny", "at least 1 s"),
        ("--target", "noise", "not an audio file"),
        ("--target", "missing", "check the path"),
    ],
)
def test_bad_recordings_leave_nothing_behind(
    run: Run,
    pair: tuple[str | Path, ...],
    bad: dict[str, Path],
    out: Path,
    flag: str,
    kind: str,
    words: str,
) -> None:
    for old in (None, b"an older file"):
        if old is not None:
            out.write_bytes(old)
        ran = run(*pair, flag, bad[kind])
        assert words in ran.error
        assert str(bad[kind]) in ran.error or kind == "tiny"
        assert [path.name for path in out.parent.iterdir()] == ([out.name] if old else [])
        assert old is None or out.read_bytes() == old


def test_flags_that_make_no_sense(
    run: Run, pair: tuple[str | Path, ...], prompt: Path, other_prompt: Path, tmp_path: Path
) -> None:
    before = prompt.read_bytes()
    assert "also an input" in run(*pair, "-o", prompt).error
    assert prompt.read_bytes() == before
    copy = tmp_path / "copy.flac"
    copy.symlink_to(other_prompt)
    assert "also an input" in run(*pair, "-o", copy).error
    assert ".m4a must end" in run(*pair, "-o", tmp_path / "out.m4a").error
    assert "no folder" in run(*pair, "-o", tmp_path / "none" / "out.wav").error
    assert "25" in run(*pair, "--pitch", "25").error
    assert "nowhere" in run(*pair, "--codec", tmp_path / "nowhere").error
    assert "--target" in run("convert", "--source", prompt, "-o", "x.wav").error


@pytest.mark.parametrize(("fault", "code"), [(KeyboardInterrupt, 130), (MemoryError, None)])
def test_a_conversion_that_is_cut_short_leaves_nothing(
    run: Run,
    pair: tuple[str | Path, ...],
    out: Path,
    fault: type[BaseException],
    code: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = VoiceConverter.convert_stream

    def broken(*args: Any, **options: Any) -> Iterator[Tensor]:
        for wave_T in whole(*args, **options):
            yield wave_T[:8000]
            assert [path.suffix for path in out.parent.iterdir()] == [".partial"]
            raise fault

    monkeypatch.setattr(VoiceConverter, "convert_stream", broken)
    if code is None:
        with pytest.raises(fault):
            run(*pair)
    else:
        assert run(*pair).code == code
    assert not list(out.parent.iterdir())


def test_long_conversions_tell_how_far_they_are(
    run: Run, pair: tuple[str | Path, ...], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "PROGRESS_SECONDS", 1.5)
    assert "progress: 2 s written" in run(*pair).err
    assert "progress" not in run(*pair, "--quiet").err


def test_the_suite_prints_what_conversion_costs_and_gains(
    run: Run, codec: Path, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    rows = []
    for speaker, pitch_hz in (("anna", 210.0), ("bob", 110.0)):
        for number in range(3):
            file = f"{speaker}{number}.wav"
            soundfile.write(corpus / file, buzz(4.1, pitch_hz), RATE_HZ)
            rows.append({"file": file, "text": "Hello.", "speaker": speaker, "split": "eval"})
    (corpus / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    packed, folder = tmp_path / "corpus.safetensors", tmp_path / "report"
    assert run("prepare", corpus, "-o", packed, "--splits", "all").code == 0
    off = ("--asr", "none", "--no-speaker", "--no-dnsmos")
    ran = run("eval", "convert", "--codec", codec, "--data", packed, "-o", folder, *off, "--json")
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert list(report["summary"]) == ["source", "codec", "with detail", "without detail"]
    assert report["settings"]["pairs"] == 1
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [
        "manifest.jsonl",
        "report.json",
    ]
    assert (
        "two more"
        in run(
            *("eval", "convert", "--codec", codec, "--data", packed, "-o", folder, *off),
            *("--recordings", "2"),
        ).error
    )
