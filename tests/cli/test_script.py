"""Dialogues, pause tags and subtitles from the command line, with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from .conftest import Run


@pytest.fixture
def dialogue(tmp_path: Path) -> Path:
    """A script for two."""
    path = tmp_path / "dialogue.txt"
    path.write_text("ANNA: Good morning.\nBEN: Hello. [pause 1s] How are you?\n", encoding="utf-8")
    return path


def test_a_dialogue_is_spoken_with_its_times(
    run: Run, model: Path, prompt: Path, other_prompt: Path, out: Path, dialogue: Path
) -> None:
    files = [out.with_suffix(suffix) for suffix in (".srt", ".vtt", ".json")]
    times = [
        word
        for flag, file in zip(("--srt", "--vtt", "--words"), files, strict=True)
        for word in (flag, file)
    ]
    ran = run(
        *(
            "say",
            "--script",
            dialogue,
            "--voice",
            f"ANNA={prompt}",
            "--voice",
            f"Ben={other_prompt}",
        ),
        *("-o", out, "--model", model, "--json", *times),
    )
    assert ran.code == 0, ran.err
    words = json.loads(ran.out)["words"]
    assert [word["label"] for word in words] == ["Good", "morning", "Hello", "How", "are", "you"]
    assert words[3]["start_seconds"] - words[2]["end_seconds"] >= 1
    assert soundfile.info(out).duration > words[-1]["end_seconds"] - 0.01
    assert files[0].read_text().startswith("1\n00:00:")
    assert files[1].read_text().startswith("WEBVTT\n\n")
    assert [word["word"] for word in json.loads(files[2].read_text())["words"]][0] == "Good"


def test_ssml_and_pause_tags_are_read_everywhere(
    run: Run, model: Path, prompt: Path, out: Path
) -> None:
    def seconds(text: str) -> float:
        argv = ("--text", text, "-o", out, "--model", model, "--json")
        ran = run("say", "--prompt", prompt, *argv)
        assert ran.code == 0, ran.err
        return float(json.loads(ran.out)["seconds"])

    plain = seconds("Hello.")
    assert seconds("Hello. [pause 2s]") == pytest.approx(plain + 2, abs=0.02)
    assert seconds('<speak>Hello.<break time="2s"/></speak>') == pytest.approx(plain + 2, abs=0.02)


def test_wrong_scripts_end_in_one_line(
    run: Run, model: Path, prompt: Path, out: Path, dialogue: Path
) -> None:
    argv = ("-o", out, "--model", model)
    anna = ("--voice", f"ANNA={prompt}")
    assert "BEN" in run("say", "--script", dialogue, *anna, *argv).error
    assert "twice" in run("say", "--script", dialogue, *anna, *anna, *argv).error
    assert "no voice" in run("say", "--script", dialogue, "--voice", prompt, *argv).error
    named = run(
        "say", "--prompt", prompt, "--text", '<speak><voice name="X">a</voice></speak>', *argv
    )
    assert "'X'" in named.error
    wrong = ("--srt", out.with_suffix(".txt"))
    assert ".srt" in run("say", "--prompt", prompt, "--text", "Hi.", *wrong, *argv).error
    assert not out.exists()
