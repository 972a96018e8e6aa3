"""`speechkit ssl import` and `speechkit ssl export`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch

from speechkit.cli import main
from speechkit.ssl.checkpoints import load_model, save_model
from speechkit.ssl.ctc.characters import Characters
from speechkit.ssl.ctc.model import CtcConfig, build_ctc, load_ctc, save_ctc
from tests.ssl.parity.references import encoder_config, our_hubert, our_wav2vec2, to_torchaudio


def run(*argv: str | Path) -> int:
    """Run `speechkit ssl …` in this process."""
    return main(["ssl", *map(str, argv)])


def test_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = our_wav2vec2()
    save_model(tmp_path / "ours", ours)
    assert run("export", tmp_path / "ours", "-o", tmp_path / "theirs") == 0
    assert "Wav2Vec2ForPreTraining" in capsys.readouterr().out
    assert run("import", tmp_path / "theirs", "-o", tmp_path / "back", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["kind"], report["layout"]) == ("wav2vec2", "transformers")
    assert report["parameters"] == sum(p.numel() for p in ours.parameters())
    first, last = (tmp_path / name / "model.safetensors" for name in ("ours", "back"))
    assert first.read_bytes() == last.read_bytes()
    assert load_model(tmp_path / "back").config == ours.config


def test_recognisers_go_both_ways(tmp_path: Path) -> None:
    ours = build_ctc(CtcConfig(encoder=encoder_config()), Characters.english())
    save_ctc(tmp_path / "ours", ours)
    assert run("export", tmp_path / "ours", "-o", tmp_path / "theirs", "--family", "hubert") == 0
    assert run("import", tmp_path / "theirs", "-o", tmp_path / "back") == 0
    back = load_ctc(tmp_path / "back")
    assert back.characters == ours.characters
    assert torch.equal(back.final_proj.weight, ours.final_proj.weight)


def test_files_of_torchaudio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "hubert.safetensors"
    safetensors.torch.save_file(to_torchaudio(our_hubert()), file)
    assert run("import", file, "-o", tmp_path / "out", "--heads", "4") == 0
    assert "hubert of" in capsys.readouterr().out
    assert (
        json.loads((tmp_path / "out" / "config.json").read_text())["imported_from"] == "torchaudio"
    )
    assert run("import", file, "-o", tmp_path / "alone", "--heads", "4", "--encoder-only") == 0
    assert "left out, beyond the encoder" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["import", "weights.pt", "-o", "out"], "is a pickle"),
        (["import", "none/weights.safetensors", "-o", "out"], "There is no file"),
        (["import", "weights.safetensors", "-o", "out"], "cut short or is not a safetensors"),
        (["import", "other.safetensors", "-o", "out"], "begin with x"),
        (
            ["import", "other.safetensors", "-o", "out", "--layout", "fairseq"],
            "lack feature_extractor",
        ),
        (
            ["import", "other.safetensors", "-o", "out", "--layout", "transformers"],
            "give the folder",
        ),
        (["import", "ours", "-o", "out", "--layout", "fairseq"], r"give the \.safetensors file"),
        (["import", "ours", "-o", "out"], "model_type null"),
        (["import", "ours", "-o", "ours"], "also the input"),
        (["export", "ours", "-o", "ours"], "also the input"),
        (["export", "ours", "-o", "weights.pt"], "is a file"),
        (["export", "none", "-o", "out"], "is not a folder"),
    ],
)
def test_refusals_write_nothing(
    argv: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    save_model("ours", our_wav2vec2())
    for name in ("weights.pt", "weights.safetensors"):
        Path(name).write_bytes(b"nothing of the kind")
    safetensors.torch.save_file({"x": torch.zeros(1)}, "other.safetensors")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert run(*argv) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert re.search(says, error), error
    assert sorted(path.name for path in tmp_path.iterdir()) == before
