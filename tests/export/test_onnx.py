"""Exported models against the torch ones they were made of."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor

from speechkit.cli import main
from speechkit.conversion import VoiceConverter
from speechkit.core.audio import read_audio
from speechkit.core.errors import CheckpointError, ConfigError, MissingPackageError
from speechkit.core.results import Codes
from speechkit.core.rng import generator
from speechkit.demo.jobs import load_models
from speechkit.diffusion.denoiser import MASK, NULL_CODE, DenoiserInputs
from speechkit.export import INT8_GRAPHS, OPSET, export_onnx
from speechkit.facodec.pretrained import load_pretrained
from speechkit.facodec.stream import decode_stream
from speechkit.tts import ZeroShotTTS
from tests.tiny import tiny_model

WAVE_TOLERANCE = 1e-4
LEVELLED_TOLERANCE = 1e-3
"""Of speech, which is a codec's wave at several times its level."""


@dataclass(frozen=True)
class Pair:
    """A model and its export."""

    model: Path
    folder: Path
    torch: ZeroShotTTS
    onnx: ZeroShotTTS


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    root = tmp_path_factory.mktemp("export")
    model = tiny_model(root / "model")
    assert main(["export", "onnx", str(model), "-o", str(root / "onnx")]) == 0
    ours, theirs = (ZeroShotTTS.from_pretrained(root / name) for name in ("model", "onnx"))
    return Pair(model, root / "onnx", ours, theirs)


@pytest.fixture(scope="module")
def recording(examples: Path) -> Tensor:
    return read_audio(examples / "synthetic_af_bella.flac", 16_000)[:40_123]


def inputs(pair: Pair, size: int, length: int, *, timbre: bool) -> DenoiserInputs:
    """A padded batch with prompts, masks and codebooks that are not known."""
    config, rng = pair.torch.generator.config, generator(length)
    frame = config.frame
    codes_BKL = torch.randint(0, frame.codebook_size, (size, 6, length), generator=rng)
    codes_BKL[:, 2, length // 2 :] = MASK
    codes_BKL[:, 3:] = NULL_CODE
    at_L = torch.arange(length)
    keep_BL = at_L < length - torch.arange(size)[:, None]
    return DenoiserInputs(
        phones_BL=torch.randint(0, len(config.phone_symbols), (size, length), generator=rng),
        position_BL2=torch.rand(size, length, 2, generator=rng),
        codes_BKL=codes_BKL,
        stage_B=torch.ones(size, dtype=torch.long),
        time_B=torch.linspace(1.0, 0.25, size),
        prompt_BL=(at_L < length // 3).expand(size, -1).contiguous(),
        keep_BL=keep_BL,
        timbre_BD=torch.randn(size, frame.timbre_channels, generator=rng) if timbre else None,
    )


# One batch size and length was traced; these are others, odd ones with a half-filled patch.
@pytest.mark.parametrize(("size", "length"), [(1, 8), (1, 77), (3, 40), (4, 63)])
@pytest.mark.parametrize("timbre", [False, True])
def test_trunk_agrees_at_any_size(pair: Pair, size: int, length: int, timbre: bool) -> None:
    given = inputs(pair, size, length, timbre=timbre)
    with torch.no_grad():
        expected_BLE = pair.torch.generator.frame(given)
    torch.testing.assert_close(pair.onnx.generator.frame(given), expected_BLE, atol=1e-4, rtol=1e-4)


def test_predictors_agree(pair: Pair) -> None:
    ours, theirs = pair.torch.generator, pair.onnx.generator
    rng = generator(0)
    hidden_ME = torch.randn(11, ours.config.frame.frame_channels, generator=rng)
    codes_KM = torch.randint(0, ours.config.frame.codebook_size, (6, 11), generator=rng)
    for name, stage in ours.stages.items():
        for k in stage.codebooks:
            read = (hidden_ME, codes_KM, k, stage.codebooks.start)
            with torch.no_grad():
                expected_MV = stage.network.logits(*read)
            found_MV = theirs.stages[name].network.logits(*read)
            torch.testing.assert_close(found_MV, expected_MV, atol=1e-5, rtol=1e-5)


def test_codes_and_timbre_agree(pair: Pair, recording: Tensor) -> None:
    codes, timbre_D = pair.torch.codec.encode(recording)
    found, found_D = pair.onnx.codec.encode(recording)
    assert torch.equal(found.stacked(), codes.stacked())
    torch.testing.assert_close(found_D, timbre_D, atol=1e-5, rtol=1e-5)
    content_BKF = codes.content_KF[None]
    with torch.no_grad():
        expected = pair.torch.codec.phone_logits(content_BKF)
    torch.testing.assert_close(
        pair.onnx.codec.phone_logits(content_BKF), expected, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("without", [(), ("prosody",), ("content", "detail")])
def test_wave_agrees(pair: Pair, recording: Tensor, without: tuple[str, ...]) -> None:
    codes, timbre_D = pair.torch.codec.encode(recording)
    expected_T = pair.torch.codec.decode(codes, timbre_D, generator(7), without=without)
    found_T = pair.onnx.codec.decode(codes, timbre_D, generator(7), without=without)
    assert found_T.shape == expected_T.shape
    assert float((found_T - expected_T).abs().max()) < WAVE_TOLERANCE
    other_T = pair.onnx.codec.decode(codes, timbre_D, generator(8), without=without)
    assert float((other_T - expected_T).abs().max()) > WAVE_TOLERANCE


def test_factor_of_no_such_name_is_refused(pair: Pair, recording: Tensor) -> None:
    codes, timbre_D = pair.onnx.codec.encode(recording)
    with pytest.raises(ConfigError, match="cannot be left out"):
        pair.onnx.codec.decode(codes, timbre_D, generator(0), without=("rhythm",))


def test_speech_agrees_with_the_same_seeds(pair: Pair, recording: Tensor) -> None:
    texts = ["Good morning.", "Nobody minds at all."]
    said = [
        tts.synthesize_batch(texts, tts.voice(recording), seeds=[1, 2], watermark=None)
        for tts in (pair.torch, pair.onnx)
    ]
    for expected, found in zip(*said, strict=True):
        assert found.frames == expected.frames
        assert float((found.wave_T - expected.wave_T).abs().max()) < LEVELLED_TOLERANCE


def test_code_vectors_travel(pair: Pair) -> None:
    for ours, theirs in zip(
        pair.torch.codec.code_vectors(), pair.onnx.codec.code_vectors(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_graphs_say_what_they_were_made_of(pair: Pair) -> None:
    assert pair.onnx.weights == f"{pair.torch.weights} in ONNX"
    for part in ("codec", "generator"):
        about = json.loads((pair.folder / part / "config.json").read_text())["onnx"]
        assert about["opset"] == OPSET
        assert about["weights_sha256"][:8] in pair.torch.weights
        for name in about["files"]:
            model = onnx.load(pair.folder / part / name)
            facts = {prop.key: prop.value for prop in model.metadata_props}
            assert facts["weights_sha256"] == about["weights_sha256"]
            assert [one.version for one in model.opset_import if one.domain == ""] == [OPSET]


def test_int8_is_near_to_the_weights(
    pair: Pair, recording: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["export", "onnx", str(pair.model), "-o", str(tmp_path / "small"), "--int8"]) == 0
    assert not caplog.records
    small = ZeroShotTTS.from_pretrained(tmp_path / "small")
    given = inputs(pair, 2, 40, timbre=True)
    with torch.no_grad():
        expected_BLE = pair.torch.generator.frame(given)
    found_BLE = small.generator.frame(given)
    missed = float((found_BLE - expected_BLE).norm() / expected_BLE.norm())
    assert 0 < missed < 0.1
    assert len(small.synthesize("Hello.", small.voice(recording), seed=1).wave_T) > 1000
    for part in ("codec", "generator"):
        about = json.loads((tmp_path / "small" / part / "config.json").read_text())["onnx"]
        assert about["int8"]
        for name in about["files"]:
            model = onnx.load(tmp_path / "small" / part / name)
            whole = f"{part}/{Path(name).stem}" in INT8_GRAPHS
            assert any(node.op_type == "MatMulInteger" for node in model.graph.node) == whole
            facts = {prop.key: prop.value for prop in model.metadata_props}
            assert facts["int8"] == str(whole)
            assert facts["weights_sha256"] == about["weights_sha256"]


def test_another_file_is_refused(pair: Pair, tmp_path: Path) -> None:
    shutil.copytree(pair.folder, tmp_path / "onnx")
    graphs = tmp_path / "onnx" / "generator"
    (graphs / "frame-0.onnx").write_bytes((graphs / "frame-1.onnx").read_bytes())
    with pytest.raises(CheckpointError, match="is not the file that was exported"):
        ZeroShotTTS.from_pretrained(tmp_path / "onnx")
    (graphs / "frame-0.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"has no file frame-0\.onnx"):
        ZeroShotTTS.from_pretrained(tmp_path / "onnx")


def test_an_export_that_names_no_graphs_is_refused(pair: Pair, tmp_path: Path) -> None:
    shutil.copytree(pair.folder, tmp_path / "onnx")
    path = tmp_path / "onnx" / "codec" / "config.json"
    config = json.loads(path.read_text())
    del config["onnx"]["files"]
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="names no graphs"):
        ZeroShotTTS.from_pretrained(tmp_path / "onnx")


def test_batches_and_long_codes_are_decoded_as_by_torch(pair: Pair) -> None:
    rng = generator(3)
    codes = [
        Codes.of(torch.randint(16, (6, frames), generator=rng), (1, 2, 3)) for frames in (9, 120)
    ]
    timbre_BD = torch.randn(2, pair.torch.codec.timbre_channels, generator=rng)
    made = [
        tts.codec.decode_batch(codes, timbre_BD, [generator(n) for n in range(2)])
        for tts in (pair.torch, pair.onnx)
    ]
    for expected_T, found_T in zip(*made, strict=True):
        assert float((found_T - expected_T).abs().max()) < LEVELLED_TOLERANCE
    given = (pair.onnx.codec, codes[1], timbre_BD[1], generator(1))
    waves = list(decode_stream(*given, whole_seconds=0, block_seconds=0.8))
    assert len(waves) == 3
    assert float((torch.cat(waves) - made[1][1]).abs().max()) < WAVE_TOLERANCE


def test_an_export_stands_in_for_its_weights_everywhere(
    pair: Pair, examples: Path, tmp_path: Path
) -> None:
    source = examples / "synthetic_af_bella.flac"
    voices = [VoiceConverter.from_pretrained(folder) for folder in (pair.model, pair.folder)]
    made = [
        voice.convert(source, source, pitch_shift_semitones=2, watermark=None).wave_T
        for voice in voices
    ]
    assert float((made[0] - made[1]).abs().max()) < LEVELLED_TOLERANCE
    assert load_models(pair.folder).tts.weights == pair.onnx.weights
    # What one encodes the other decodes.
    file, out = tmp_path / "a.skc", tmp_path / "a.wav"
    codec = ["--codec", str(pair.folder)]
    assert main(["codec", "encode", str(source), "-o", str(file), *codec]) == 0
    assert main(["codec", "decode", str(file), "-o", str(out), "--codec", str(pair.model)]) == 0
    assert load_pretrained(pair.folder).sha256 == load_pretrained(pair.model).sha256


@pytest.mark.parametrize(("device", "dtype"), [("meta", "auto"), ("cpu", "bfloat16")])
def test_an_export_computes_on_the_cpu_in_single_precision(
    pair: Pair, device: str, dtype: str
) -> None:
    with pytest.raises(ConfigError, match="leave out --device and --dtype"):
        ZeroShotTTS.from_pretrained(pair.folder, device=device, dtype=dtype)


def test_model_without_parts_writes_nothing(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no codec"):
        export_onnx(tmp_path, tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()
    with pytest.raises(ConfigError, match="is there already"):
        export_onnx(pair.model, pair.folder)


def test_missing_package_is_one_sentence(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, call in (
        ("onnx", lambda: export_onnx(pair.model, tmp_path / "new")),
        ("onnxruntime", lambda: export_onnx(pair.model, tmp_path / "new", int8=True)),
        ("onnxruntime", lambda: ZeroShotTTS.from_pretrained(pair.folder)),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(MissingPackageError, match=r"pip install 'speechkit\[onnx\]'"):
                call()


def test_say_speaks_with_an_export(
    pair: Pair, examples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt, waves = str(examples / "synthetic_af_bella.flac"), []
    argv = ["say", "--text", "Hello.", "--prompt", prompt, "--no-watermark"]
    for model, out in ((pair.model, "torch.wav"), (pair.folder, "onnx.wav")):
        assert main([*argv, "--model", str(model), "-o", str(tmp_path / out)]) == 0
        waves.append(read_audio(tmp_path / out, 16_000))
    assert float((waves[0] - waves[1]).abs().max()) < LEVELLED_TOLERANCE
    capsys.readouterr()
    argv += ["--model", str(pair.folder), "--dtype", "bfloat16", "-o", str(tmp_path / "no.wav")]
    assert main(argv) == 2
    assert "leave out --device and --dtype" in capsys.readouterr().err
