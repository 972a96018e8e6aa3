"""`ssl transcribe`, `ssl evaluate`, `ssl ngram` and `ssl finetune` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from speechkit.cli import main
from speechkit.ssl.ctc.characters import Characters
from speechkit.ssl.ctc.model import CtcConfig, build_ctc, save_ctc
from tests.ssl.tiny import ENCODER, clip_wave, tiny_corpus


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a packed corpus, the same as files with a table, and a text."""
    path = tmp_path_factory.mktemp("recognise")
    save_ctc(path / "model", build_ctc(CtcConfig(encoder=ENCODER), Characters.english(), seed=2))
    tiny_corpus(path / "tones.safetensors", clips=4, texts=True)
    rows = []
    for index in range(4):
        wave_T = clip_wave(index, 0.8 * (0.7 + 0.1 * index))
        soundfile.write(path / f"{index}.wav", wave_T, 16_000)
        rows.append({"file": f"{index}.wav", "text": f"ab {'cde'[index % 3]}", "speaker": "s"})
    (path / "manifest.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (path / "text.txt").write_text("Hello, world!\n\nWorld: hello.\n")
    return path


def output(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> dict[str, object]:
    """What a command says with --json."""
    assert main([str(part) for part in ("ssl", *argv, "--json")]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> str:
    """The one line of a command that ends with code 2."""
    assert main([str(part) for part in ("ssl", *argv)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def test_files_become_text(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    files = [folder / "0.wav", folder / "1.wav"]
    found = output(capsys, "transcribe", folder / "model", *files)
    texts = found["texts"]
    assert isinstance(texts, list)
    assert [text["file"] for text in texts] == [str(path) for path in files]
    assert all(isinstance(text["text"], str) for text in texts)


def test_table_and_packed_corpus_score_alike(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    model, report = folder / "model", folder / "report.json"
    listed = output(capsys, "evaluate", model, "--eval-manifest", folder, "--out", report)
    packed = output(capsys, "evaluate", model, "--corpus", folder / "tones.safetensors")
    assert json.loads(report.read_text()) == listed
    assert listed["sentences"] == packed["sentences"] == 4
    words, packed_words = listed["words"], packed["words"]
    assert isinstance(words, dict)
    assert isinstance(packed_words, dict)
    assert words["rate"] == packed_words["rate"]
    assert words["low"] is None  # one speaker allows no interval
    assert (
        words["edits"]["hits"] + words["edits"]["substitutions"] + words["edits"]["deletions"] == 8
    )


def test_a_language_model_is_made_and_used(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    path = folder / "lm.arpa"
    lm = output(capsys, "ngram", folder / "text.txt", "-o", path, "--order", "2")
    assert (lm["vocabulary"], lm["sentences"]) == (2, 2)
    pytest.importorskip("flashlight.lib.text")
    search = ("--lm", path, "--beam", "4", "--word-score", "0.5")
    found = output(capsys, "transcribe", folder / "model", folder / "0.wav", *search)
    texts = found["texts"]
    assert isinstance(texts, list)
    assert set(texts[0]["text"].split()) <= {"HELLO", "WORLD"}


def test_bad_input_is_one_line(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    model, corpus = folder / "model", folder / "tones.safetensors"
    evaluate = ("evaluate", model, "--corpus")
    assert "no recording" in refused(capsys, "transcribe", model, tmp_path / "none.wav")
    assert "not a folder" in refused(capsys, "transcribe", tmp_path / "none", folder / "0.wav")
    assert "no language model" in refused(capsys, *evaluate, corpus, "--lm", tmp_path / "none")
    assert "give it with --lm" in refused(capsys, *evaluate, corpus, "--lm-weight", "2")
    assert "no packed corpus" in refused(capsys, *evaluate, tmp_path / "none.safetensors")
    assert "fits the selection" in refused(capsys, *evaluate, corpus, "--languages", "xx")
    assert "must end in .json" in refused(capsys, *evaluate, corpus, "-o", tmp_path / "a.txt")
    assert "required" in refused(capsys, "evaluate", model)
    assert "Cannot read the text" in refused(
        capsys, "ngram", tmp_path / "a", "-o", tmp_path / "lm.arpa"
    )
    (tmp_path / "empty.txt").write_text("...\n")
    assert "no words" in refused(
        capsys, "ngram", tmp_path / "empty.txt", "-o", tmp_path / "lm.arpa"
    )
    assert not (tmp_path / "lm.arpa").exists()
    (tmp_path / "manifest.jsonl").write_text('{"file": "gone.wav", "text": "hi"}')
    gone = refused(capsys, "evaluate", model, "--eval-manifest", tmp_path)
    assert "cannot be evaluated" in gone


def test_fine_tuning_refuses_what_it_cannot_use(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    tune = ("finetune", "--corpus", folder / "tones.safetensors", "--steps", "1")
    out = ("--out", tmp_path / "run")
    assert "required" in refused(capsys, *tune, *out)
    assert "not a folder" in refused(capsys, *tune, *out, "--encoder", tmp_path / "none")
    assert "not a wav2vec 2.0" in refused(capsys, *tune, *out, "--encoder", folder / "model")
    config = tmp_path / "tiny.toml"
    assert "Cannot read the config" in refused(capsys, *tune, *out, "--random-init", config)
    config.write_text("[wav2vec2]\n")
    random = (*tune, *out, "--random-init", config)
    few = refused(capsys, *random, "--minutes-of-labels", "60")
    assert "60 minutes of labels" in few
    assert "fits the selection" in refused(capsys, *random, "--languages", "xx")
    assert "did you mean" in refused(capsys, *random, "--set", "mask.time_shar=1")
    assert not (tmp_path / "run").exists()
