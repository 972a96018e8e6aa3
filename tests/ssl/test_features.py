"""`ssl features` writes the states of the layer asked for, and refuses what it cannot read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from speechkit.cli import main
from speechkit.core.audio import read_audio, write_audio
from speechkit.ssl.checkpoints import load_encoder, save_model
from speechkit.ssl.encoder import build_encoder
from tests.ssl.tiny import ENCODER


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    save_model(folder, build_encoder(ENCODER, seed=4))
    return folder


def tone(path: Path, seconds: float) -> Path:
    """Write a sine."""
    time_T = torch.arange(round(16_000 * seconds)) / 16_000
    write_audio(path, 0.3 * torch.sin(6.28 * 300 * time_T), 16_000)
    return path


@pytest.mark.parametrize("layer", [0, 2])
def test_states_of_a_layer_are_written(model: Path, layer: int, tmp_path: Path) -> None:
    files = [tone(tmp_path / "a.wav", 0.5), tone(tmp_path / "b.wav", 0.3)]
    out = tmp_path / "out.safetensors"
    command = ["ssl", "features", str(model), *map(str, files), "--layer", str(layer)]
    assert main([*command, "-o", str(out)]) == 0
    states = load_file(out)
    assert sorted(states) == ["a.wav", "b.wav"]
    with torch.inference_mode():
        expected = load_encoder(model).hidden_states(read_audio(files[0])[None]).layers[layer][0]
    assert torch.equal(states["a.wav"], expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--layer", "9"), "no layer 9: give one from 0 to 2"),
        (("short.wav",), "too short for one frame"),
        (("sub/a.wav",), "same name"),
    ],
)
def test_bad_input_is_refused(
    model: Path,
    change: tuple[str, ...],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "sub").mkdir()
    tone(tmp_path / "a.wav", 0.5)
    tone(tmp_path / "sub" / "a.wav", 0.5)
    tone(tmp_path / "short.wav", 0.01)
    out = tmp_path / "out.safetensors"
    files = [str(tmp_path / word) for word in ("a.wav", *change) if word.endswith(".wav")]
    options = [word for word in change if not word.endswith(".wav")]
    command = ["ssl", "features", str(model), *files, "--layer", "1", "-o", str(out), *options]
    assert main(command) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
