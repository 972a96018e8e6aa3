"""`train voice`: a folder becomes a voice with tiny models; done steps stay; bad input."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechkit.cli import main
from speechkit.core.checkpoint import load_checkpoint
from speechkit.core.errors import CheckpointError, ConfigError, DataError
from speechkit.evaluate.scorers import Scorers
from speechkit.voice_training import VoiceTraining, train_voice
from speechkit.voices import bundled_voices
from tests.tiny import tiny_model

TINY = ("--set", "task.frames=200", "--set", "task.target_frames=[60]", "--set", "train.lr=0.01")


@pytest.fixture(autouse=True)
def _no_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if TensorBoard were not installed: its import takes seconds."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """The bundled clips, real words with their texts, as if one speaker had said them."""
    folder = tmp_path / "anna"
    folder.mkdir()
    for voice in bundled_voices():
        (folder / voice.path.name).write_bytes(voice.path.read_bytes())
        (folder / voice.path.name).with_suffix(".txt").write_text(voice.text)
    return folder


def contents(folder: Path, *parts: str) -> dict[str, tuple[bytes, int]]:
    """All files below these parts of a folder, and when they were written."""
    files = [path for part in parts for path in (folder / part).rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.mark.slow
def test_a_folder_becomes_a_voice(
    recordings: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"

    def train(steps: int) -> dict[str, object]:
        where = ("--out", out, "--model", model, "--steps", steps, "--text", "Hello.", "--json")
        argv = ("train", "voice", recordings, *where, "--asr", "none", *TINY)
        assert main([str(arg) for arg in argv]) == 0
        report: dict[str, object] = json.loads(capsys.readouterr().out)
        return report

    report = train(2)
    assert (report["speaker"], report["clips"], report["held_out"], report["steps"]) == (
        ("anna", 3, 3, 2)
    )
    figures = report["figures"]
    assert isinstance(figures, dict)
    assert figures["recordings"]["phone_accuracy"] > 0.6 > figures["after"]["phone_accuracy"]
    assert len(list((out / "held-out" / "after").glob("*.wav"))) == 3
    assert json.loads((out / "report.json").read_text()) == report
    assert soundfile.info(out / "speech.wav").frames > 0

    made = contents(out, "corpus", "held-out/recordings")
    again = train(3)
    assert again["steps"] == 3
    assert contents(out, "corpus", "held-out/recordings") == made
    assert again["before"] == report["before"]

    start, own = (load_checkpoint(folder / "generator").state for folder in (model, out))
    # Too few phones to learn from: of the two networks the one for durations stays.
    assert not again["durations_trained"]
    changed = {
        name.split(".")[0] for name in start if not own[name].equal(start[name].to(own[name].dtype))
    }
    if again["kept"]:
        assert changed
        assert all(own[n].equal(start[n].half()) for n in start if n.startswith("duration"))
    else:
        assert (
            load_checkpoint(out / "generator").sha256 == load_checkpoint(model / "generator").sha256
        )
    said = ("say", "Good.", "--model", out, "--prompt", out / "voice.safetensors")
    assert main([*map(str, said), "-o", str(tmp_path / "good.wav")]) == 0
    assert load_checkpoint(out / "codec").sha256 == load_checkpoint(model / "codec").sha256


def refused(folder: Path, out: Path, model: Path | None = None) -> None:
    """Train, which must end before any measure is loaded or anything is written."""

    def loaded() -> Scorers:
        raise AssertionError("measures were loaded")

    try:
        train_voice(folder, out, VoiceTraining(), scorers=loaded, model=model)
    finally:
        assert not out.exists()


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("no texts", "None of the 6 recordings in .* has a text: put a .txt"),
        ("one clip", "1 usable recordings with texts, 5 s in all, are too few"),
        ("unreadable", r"0 usable recordings .* Not usable: .*flac"),
        ("short", "6 usable recordings with texts, 3 s in all"),
        ("two speakers", r"has 2 speakers \(bob, carl\)"),
        ("nothing", "no audio file"),
    ],
)
def test_bad_recordings_end_at_once(
    recordings: Path, tmp_path: Path, fault: str, says: str
) -> None:
    audio = sorted(recordings.glob("*.flac"))
    for number, path in enumerate(audio):
        if fault == "no texts":
            path.with_suffix(".txt").unlink()
        elif fault == "unreadable":
            path.write_bytes(b"no audio at all")
        elif fault == "short":
            soundfile.write(path, np.zeros(8000, np.float32), 16000)
        elif fault == "two speakers":
            for part in (path, path.with_suffix(".txt")):
                target = recordings / ("bob", "carl")[number % 2] / part.name
                target.parent.mkdir(exist_ok=True)
                part.rename(target)
        elif fault == "nothing" or (fault == "one clip" and number):
            path.unlink()
            path.with_suffix(".txt").unlink()
    with pytest.raises(DataError, match=says):
        refused(recordings, tmp_path / "out")


def test_bad_places_end_at_once(recordings: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="whose recordings are read"):
        refused(recordings, recordings / "out")
    with pytest.raises(CheckpointError, match="holds no codec"):
        refused(recordings, tmp_path / "out", tmp_path)
