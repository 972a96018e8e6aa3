"""Bad input: one plain line, exit code 2, no output file, and an older file left as it was."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.config import to_dict
from speechkit.core.errors import PromptError
from speechkit.core.results import VOICE_FORMAT
from speechkit.diffusion.generator import build_generator
from tests.tiny import TINY_GENERATOR

from .conftest import RATE_HZ, Ran, Run, buzz

TEXT = "Hello, world."
Say = Callable[..., Ran]


@pytest.fixture
def say(run: Run, model: Path, prompt: Path, out: Path) -> Say:
    """Run `say` with one thing wrong; checks that nothing is left behind, twice."""

    def call(*flags: str | Path, **changed: str | Path) -> Ran:
        given: dict[str, str | Path] = {"prompt": prompt, "text": TEXT, "model": model, **changed}
        argv = [part for name, value in given.items() for part in (f"--{name}", value)]
        out.unlink(missing_ok=True)
        for old in (None, b"an older file"):
            if old is not None:
                out.write_bytes(old)
            ran = run("say", "-o", out, *argv, *flags, "--json")
            assert ran.error
            assert [path.name for path in out.parent.iterdir()] == ([out.name] if old else [])
            assert old is None or out.read_bytes() == old
        return ran

    return call


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("...?!", "empty"),
        ("\U0001f600 \U0001f600", "Nothing in the text can be spoken"),
        ("привет мир", "Nothing in the text can be spoken"),
        ("a" * 100_000, "100000 characters"),
        ("Say [[HH XX]] now", "XX"),
        ("bad \udcff bytes", "not valid UTF-8"),
    ],
)
def test_bad_text(say: Say, text: str, words: str) -> None:
    assert words in say(text=text).error


def test_bad_text_needs_no_models(say: Say, tmp_path: Path) -> None:
    assert "empty" in say(text="", model=tmp_path / "nowhere").error


def test_bad_text_streams(
    run: Run, model: Path, prompt: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ("say", "--prompt", prompt, "-o", out, "--model", model)
    for data, words in ((b"", "empty"), (b"\xff\xfe\x00", "UTF-8"), (b"a" * 2**21, "larger")):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert words in run(*common, "--text", "-").error
    assert "No such file" in run(*common, "--text-file", out.parent / "none.txt").error
    assert "larger" in run(*common, "--text-file", "/dev/zero").error
    assert not list(out.parent.iterdir())


def _prompt(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.wav"
    if kind == "noise":
        path.write_bytes(bytes(range(256)) * 40)
    elif kind == "text":
        path.write_text("RIFF, I said, is no music")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    elif kind == "nan":
        soundfile.write(path, np.full(32000, np.nan), RATE_HZ, subtype="FLOAT")
    elif kind == "silent":
        soundfile.write(path, np.zeros(32000), RATE_HZ)
    elif kind == "short":
        soundfile.write(path, buzz(0.99), RATE_HZ)
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "check the path"),
        ("noise", "not an audio file"),
        ("text", "not an audio file"),
        ("empty", "not an audio file"),
        ("folder", "not a regular file"),
        ("nan", "not finite"),
        ("silent", "silent"),
        ("short", "at least 1 s"),
    ],
)
def test_bad_prompts(say: Say, tmp_path: Path, kind: str, words: str) -> None:
    path = _prompt(tmp_path, kind)
    # The models are looked at later, so a bad prompt costs no time.
    ran = say(prompt=path, model=tmp_path / "nowhere")
    assert words in ran.error
    assert str(path) in ran.error


def _other_generator(folder: Path) -> None:
    """Write a generator whose codebooks have more entries than the codec's."""
    frame = replace(TINY_GENERATOR.frame, codebook_size=64)
    generator = build_generator(replace(TINY_GENERATOR, frame=frame))
    config = {"generator": to_dict(generator.config)}
    save_checkpoint(folder, generator.state_dict(), config)


def _break(folder: Path, kind: str) -> None:
    """Damage one thing of a model folder."""
    config_path, weights = folder / "codec" / "config.json", folder / "codec" / "model.safetensors"
    config = json.loads(config_path.read_text())
    if kind == "unknown key":
        config["codec"]["chanels"] = 16
    elif kind == "wrong type":
        config["codec"]["channels"] = "wide"
    elif kind == "wrong shapes":
        config["codec"]["channels"] = 24
    elif kind == "impossible sizes":
        config["codec"]["channels"] = -1
    elif kind == "other codec's generator":
        _other_generator(folder / "generator")
    elif kind == "foreign config":
        config = {"architectures": ["Other"]}
    elif kind == "no config":
        config_path.unlink()
    elif kind == "config not JSON":
        config_path.write_text("{")
    elif kind == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif kind == "not safetensors":
        weights.write_bytes(b"PK\x03\x04" + bytes(100))
    elif kind == "foreign weights":
        save_file({"layer.weight": torch.zeros(2, 2)}, weights)
    elif kind == "generator missing":
        shutil.rmtree(folder / "generator")
    elif kind == "codec as generator":
        shutil.rmtree(folder / "generator")
        shutil.copytree(folder / "codec", folder / "generator")
    if kind in ("unknown key", "wrong type", "wrong shapes", "impossible sizes", "foreign config"):
        config_path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("unknown key", "channels"),
        ("wrong type", "channels"),
        ("wrong shapes", "wrong shape"),
        ("foreign config", "codec"),
        ("impossible sizes", "channels"),
        ("other codec's generator", "generator"),
        ("no config", "codec"),
        ("config not JSON", "JSON"),
        ("truncated", "copy it again"),
        ("not safetensors", "pickle"),
        ("foreign weights", "layer.weight"),
        ("generator missing", "generator"),
        ("codec as generator", "generator"),
    ],
)
def test_bad_models(say: Say, model: Path, tmp_path: Path, kind: str, words: str) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(model, folder)
    _break(folder, kind)
    assert words in say(model=folder).error


def test_bad_voice_files(say: Say, run: Run, model: Path, prompt: Path, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    assert run("voice", prompt, "-o", good, "--model", model).code == 0
    assert "transcript" in say("--transcript", "ah", prompt=good).error
    tensors, metadata = load_file(good), {"format": VOICE_FORMAT, "codes": "", "notes": "[]"}
    changes = {
        "timbre_D": torch.zeros(5),
        "prosody.codes_KF": tensors["prosody.codes_KF"] + 1000,
        "detail.codes_KF": tensors["detail.codes_KF"][:2],
        "content.phone_F": tensors["content.phone_F"][:-1],
        "duration.frames_P": -tensors["duration.frames_P"],
        "duration.phones_P": tensors["duration.phones_P"].float(),
        "content.codes_KF": tensors["content.codes_KF"] - 1000,
        "prosody.phone_F": tensors["prosody.phone_F"] - 1000,
    }
    for name, tensor in changes.items():
        save_file(tensors | {name: tensor.contiguous()}, bad, metadata)
        assert str(bad) in say(prompt=bad).error, name
    nothing = torch.zeros(0, dtype=torch.int64)
    empty = {"duration.frames_P": nothing, "duration.phones_P": nothing}
    save_file(tensors | empty, bad, metadata)
    assert f"{bad} is a damaged voice (duration)" in say(prompt=bad).error
    save_file(tensors | {"timbre_D": tensors["timbre_D"].repeat(2)}, bad, metadata)
    assert f"{bad} was made with another model" in say(prompt=bad).error
    save_file(tensors, bad)
    assert str(bad) in say(prompt=bad).error
    bad.write_bytes(good.read_bytes()[:500])
    assert str(bad) in say(prompt=bad).error
    save_checkpoint(tmp_path / "other", {"a": torch.zeros(1)}, {})
    assert "not a voice" in say(prompt=tmp_path / "other" / "model.safetensors").error


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--seed", "-1"), "--seed"),
        (("--seed", "x"), "--seed"),
        (("--speed", "nan"), "--speed"),
        (("--speed", "9"), "from 0.25 to 4"),
        (("--steps", "0"), "--steps"),
        (("--threads", "0"), "--threads"),
        (("--transcript", ""), "empty"),
        (("--transcript", "far too many words for it " * 20), "too long for the prompt"),
        (("--lexicon", "none.txt"), "none.txt"),
        (("--colour", "red"), "--colour"),
    ],
)
def test_bad_flags(say: Say, flags: tuple[str, ...], words: str) -> None:
    assert words in say(*flags).error


@pytest.mark.parametrize("line", ["world", "world XX", "new-york N UW1"])
def test_bad_lexicons(say: Say, tmp_path: Path, line: str) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text(line)
    assert line.split()[0] in say("--lexicon", path).error


def test_bad_outputs(run: Run, model: Path, prompt: Path, out: Path, tmp_path: Path) -> None:
    common = ("say", "--prompt", prompt, "--text", TEXT, "--model", tmp_path / "nowhere")
    for path, words in (
        (out.with_suffix(".aiff"), ".wav or .flac or .ogg or .opus or .mp3"),
        (out.with_suffix(""), ".wav or .flac or .ogg or .opus or .mp3"),
        (out.parent / "no" / "a.wav", "no folder"),
        (tmp_path / "folder.wav", "is a folder"),
        (prompt, "also an input"),
    ):
        (tmp_path / "folder.wav").mkdir(exist_ok=True)
        assert words in run(*common, "-o", path).error
    assert not list(out.parent.iterdir())
    bad_voice = run("voice", prompt, "-o", out, "--model", model).error
    assert ".safetensors" in bad_voice


def test_swap_names_the_bad_prompt(
    run: Run, model: Path, prompt: Path, out: Path, tmp_path: Path
) -> None:
    silent = _prompt(tmp_path, "silent")
    argv = ("swap", "--timbre", prompt, "--prosody", silent, "--text", TEXT, "-o", out)
    assert str(silent) in run(*argv, "--model", model).error
    assert not list(out.parent.iterdir())


def test_failing_late_and_interrupts_leave_nothing(
    run: Run,
    model: Path,
    prompt: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    argv = ("say", "--prompt", prompt, "--text", TEXT, "-o", out, "--model", model)

    def refuse(*args: object) -> None:
        raise OSError(28, "No space left on device")

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("speechkit.core.audio.write_atomically", refuse)
        assert "No space left" in run(*argv).error
    with monkeypatch.context() as patch:
        patch.setattr("speechkit.facodec.small.codec.FACodec.decode_batch", interrupt)
        ran = run(*argv)
    assert ran.code == 130
    assert "Traceback" not in ran.err
    assert not list(out.parent.iterdir())


def test_a_prompt_without_speech_is_named(
    say: Say, prompt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*args: object) -> None:
        raise PromptError("No speech was found in the prompt: give a clear recording of a voice.")

    monkeypatch.setattr("speechkit.tts.read_voice", nothing)
    assert f"{prompt}: No speech" in say().error
