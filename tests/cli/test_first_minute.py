"""What a newcomer types first: a text and nothing else, a bundled voice, a wrong path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
import soundfile

from speechkit.cli import main
from speechkit.core.audio import read_audio
from speechkit.voices import bundled_voice, bundled_voices
from speechkit.watermark import detect

from .conftest import RATE_HZ, Run, buzz

ROOT = Path(__file__).resolve().parents[2]


def without_torch(*argv: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command where importing torch fails."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from speechkit.cli import main; main(sys.argv[1:])"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *argv],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["say", "Hi.", "--prompt", "me.wav"], "There is no prompt me.wav"),
        (["say", "Hi.", "--prompt", "text.wav"], "not an audio file"),
        (["say", "Hi.", "--prompt", "short.wav"], "0.50 s long"),
        (["say", "привет"], "Nothing in the text can be spoken"),
        (["say", "Hi.", "--voice", "hart"], "did you mean heart?"),
        (["say", "Hi.", "-o", "none/a.wav"], "There is no folder none"),
        (["say", "Hi.", "-o", "a.aiff"], ".opus"),
        (["say", "Hi.", "--voice", "emma", "--voice", "bella"], "several voices"),
        (["swap", "Hi.", "--timbre", "me.wav"], "There is no prompt me.wav"),
        (["voice", "me.wav", "-o", "me.safetensors"], "There is no prompt me.wav"),
        (["convert", "--source", "me.wav", "--target", "me.wav", "-o", "a.wav"], "me.wav"),
    ],
)
def test_mistakes_are_told_before_torch_is_imported(
    argv: list[str], told: str, tmp_path: Path
) -> None:
    (tmp_path / "text.wav").write_text("not audio")
    soundfile.write(tmp_path / "short.wav", buzz(0.5), RATE_HZ)
    done = without_torch(*argv, folder=tmp_path)
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("speechkit: error: ")


def test_what_is_sound_reaches_torch(tmp_path: Path) -> None:
    """The other side of the test above: it is torch that is missing there, and nothing else."""
    done = without_torch("say", "Hi.", folder=tmp_path)
    assert done.stderr.splitlines()[0] == "speechkit: progress: loading the models"
    assert "The package torch is missing" in done.stderr


def test_a_text_is_enough(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = run("say", "Hello, world.", "--model", model)
    assert first.out.splitlines()[0].split() == ["wrote", "speech.wav"]
    assert "speechkit: progress: " in first.err
    again = run("say", "Hello, world.", "--model", model, "--voice", "emma", "--json")
    assert json.loads(again.out)["out"] == "speech-2.wav"
    assert soundfile.info("speech.wav").samplerate == RATE_HZ
    assert Path("speech.wav").read_bytes() != Path("speech-2.wav").read_bytes()
    quiet = run("say", "Hello, world.", "--model", model, "--quiet")
    assert "progress" not in quiet.err


def test_a_bundled_voice_is_its_recording(run: Run, model: Path, out: Path) -> None:
    def spoken(*voice: str | Path) -> bytes:
        assert run("say", "Hello.", *voice, "--model", model, "-o", out).code == 0
        return out.read_bytes()

    assert spoken("--voice", "Emma") == spoken("--prompt", bundled_voice("emma").path)
    assert spoken() == spoken("--voice", "heart")


def test_voices_lists_them(run: Run) -> None:
    lines = run("voices").out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [voice.name for voice in bundled_voices()]
    told = json.loads(run("voices", "--json").out)["voices"]
    assert [voice["default"] for voice in told] == [True, False, False, False, False, False]
    assert all(Path(voice["path"]).is_file() for voice in told)


def test_standard_output_carries_the_wave(
    model: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["say", "Hello, world.", "--model", str(model), "-o", "-"]) == 0
    printed = capfdbinary.readouterr()
    wave, rate_hz = soundfile.read(BytesIO(printed.out))
    assert rate_hz == RATE_HZ
    assert len(wave) > 1000
    assert b"real-time factor" in printed.err
    assert list(tmp_path.iterdir()) == []


def test_one_text_alone_is_spoken(run: Run, model: Path) -> None:
    assert "nothing to say" in run("say", "--model", model).error
    assert "several texts" in run("say", "Hi.", "--text", "Hello.", "--model", model).error


def test_standard_output_is_not_shared(run: Run, model: Path) -> None:
    argv = ("say", "Hello.", "--model", model, "-o", "-")
    assert "--json" in run(*argv, "--json").error


@pytest.mark.parametrize(
    ("text", "suffix"),
    [("Hi.", ".wav"), ("Good morning.", ".opus"), ("Yes, we can.", ".mp3"), ("Hi.", ".ogg")],
)
def test_detect_finds_what_say_says(run: Run, out: Path, text: str, suffix: str) -> None:
    path = out.with_suffix(suffix)
    said = json.loads(run("say", text, "-o", path, "--json").out)
    found = detect(read_audio(path), RATE_HZ)
    assert found.payload == said["watermark"]
    if said["watermark"] is None:
        assert any("watermark" in note for note in said["notes"])
