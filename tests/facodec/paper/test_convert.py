"""Public files, written here by `torch.save`, into model folders; and what is refused."""

from __future__ import annotations

import ast
import json
import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from speechkit.cli import main
from speechkit.core.errors import CheckpointError
from speechkit.core.rng import generator
from speechkit.facodec import from_pretrained
from speechkit.facodec.paper.amphion import File, codec_layout, redecoder_layout, to_public
from speechkit.facodec.paper.codec import PaperCodec
from speechkit.facodec.paper.config import PaperCodecConfig
from speechkit.facodec.paper.convert import convert_checkpoint
from speechkit.facodec.paper.public_files import read_pickled_tensors
from speechkit.facodec.paper.redecoder import load_redecoder
from speechkit.facodec.pretrained import PUBLIC_FILES, Version
from speechkit.facodec.small.codec import FACodec
from tests import test_style
from tests.facodec.paper import builders, reference
from tests.facodec.paper.builders import TINY, noise

PUBLIC = replace(
    TINY, batch_index_position=True, reverse_detail_f0=False, reverse_detail_phone=False
)


@dataclass(frozen=True, kw_only=True)
class Files:
    """A codec and the public files of it."""

    codec: PaperCodec
    states: dict[File, dict[str, Tensor]]
    encoder: Path
    decoder: Path
    out: Path


@cache
def made(version: Version) -> tuple[PaperCodec, dict[File, dict[str, Tensor]]]:
    codec = builders.codec(replace(PUBLIC, version=version))
    return codec, to_public(codec_layout(codec.config), codec.state_dict())


def written(folder: Path, version: Version = "v1") -> Files:
    codec, states = made(version)
    encoder, decoder = (folder / name for name in PUBLIC_FILES[version])
    torch.save(states["encoder"], encoder)
    torch.save(states["decoder"], decoder)
    return Files(
        codec=codec,
        states={file: dict(state) for file, state in states.items()},
        encoder=encoder,
        decoder=decoder,
        out=folder / "converted",
    )


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return written(tmp_path)


def assert_same(found: Any, codec: PaperCodec) -> None:
    """Same configuration, same codes, same wave."""
    assert isinstance(found, PaperCodec)
    # No shape tells V1's mel, which it has no use for.
    mel = codec.config.prosody_mel if found.config.version == "v2" else found.config.prosody_mel
    assert found.config == replace(codec.config, prosody_mel=mel)
    assert not found.training
    wave_T = noise(333)
    codes, timbre_D = codec.encode(wave_T)
    again, timbre_again_D = found.encode(wave_T)
    assert torch.equal(again.stacked(), codes.stacked())
    assert torch.equal(timbre_again_D, timbre_D)
    waves = [c.decode(codes, timbre_D, generator(0)) for c in (codec, found)]
    assert torch.equal(*waves)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_converted_codec_is_the_same_codec(version: Version, tmp_path: Path) -> None:
    files = written(tmp_path, version)
    done = convert_checkpoint(files.encoder, files.decoder, files.out)
    assert done.parameters == sum(p.numel() for p in files.codec.parameters())
    found = from_pretrained(files.out)
    assert_same(found, files.codec)
    assert isinstance(found, PaperCodec)
    assert done.config == found.config
    told = json.loads((files.out / "config.json").read_text())["converted_from"]
    assert told["encoder"]["name"] == files.encoder.name


def test_redecoder_goes_into_a_folder_of_its_own(files: Files, tmp_path: Path) -> None:
    redecoder = builders.redecoder()
    path = tmp_path / "ns3_facodec_redecoder.bin"
    public = to_public(redecoder_layout(redecoder.config), redecoder.state_dict())["redecoder"]
    torch.save(public, path)
    done = convert_checkpoint(files.encoder, files.decoder, files.out, redecoder=path)
    found = load_redecoder(done.redecoder_folder)
    codes, timbre_D = files.codec.encode(noise(400))
    waves = [r.decode(codes, timbre_D, generator(0)) for r in (redecoder, found)]
    assert torch.equal(*waves)
    with pytest.raises(CheckpointError, match="holds no redecoder"):
        load_redecoder(files.out)
    with pytest.raises(CheckpointError, match="holds no codec"):
        from_pretrained(done.redecoder_folder)


Damage = Callable[[Files], object]


def changed(file: File, change: Callable[[dict[str, Tensor]], object]) -> Damage:
    """One of the two dicts, edited."""

    def damage(files: Files) -> None:
        state = dict(files.states[file])
        change(state)
        torch.save(state, files.encoder if file == "encoder" else files.decoder)

    return damage


def swapped(files: Files) -> None:
    torch.save(files.states["decoder"], files.encoder)
    torch.save(files.states["encoder"], files.decoder)


def other_version(files: Files) -> None:
    torch.save(made("v2")[1]["decoder"], files.decoder)


def cut_short(files: Files) -> None:
    files.decoder.write_bytes(files.decoder.read_bytes()[:-1000])


REFUSED: dict[str, tuple[Damage, str]] = {
    "missing file": (lambda f: f.decoder.unlink(), "no file"),
    "cut short": (cut_short, "cut short"),
    "text": (lambda f: f.encoder.write_text("hello"), "cannot be read"),
    "empty": (lambda f: f.encoder.write_bytes(b""), "cannot be read"),
    "number": (lambda f: torch.save(3, f.encoder), "not a dict"),
    "nested": (lambda f: torch.save({"net": f.states["encoder"]}, f.encoder), "'net'"),
    "names that are not text": (lambda f: torch.save({1: torch.ones(1)}, f.encoder), "'1'"),
    "whole numbers": (changed("encoder", lambda s: s.update(x=torch.ones(1).long())), "'x'"),
    "too many numbers": (
        changed("encoder", lambda s: s.update(x=torch.ones(1).expand(1 << 34))),
        "too many",
    ),
    "swapped": (swapped, r"encoder file lacks block\.1"),
    "two versions": (other_version, "encoder is v1 and the decoder is v2"),
    "missing tensor": (
        changed("decoder", lambda s: s.pop("model.0.bias")),
        "model.0.bias",
    ),
    "additional tensor": (
        changed("encoder", lambda s: s.update({"block.9.bias": torch.ones(1)})),
        "block.9.bias",
    ),
    "wrong shape": (
        changed("decoder", lambda s: s.update({"timbre_linear.bias": torch.ones(3)})),
        "timbre_linear.bias is",
    ),
    "odd sizes": (
        changed("decoder", lambda s: s.update({"model.0.weight_v": torch.ones(9, 16, 7)})),
        "no possible model",
    ),
    "not finite": (
        changed("decoder", lambda s: s.update({"model.0.bias": torch.full((16,), torch.nan)})),
        "not finite in model.0.bias",
    ),
    "other filters": (
        changed("encoder", lambda s: s.update({"block.3.upsample.filter": torch.ones(1, 1, 12)})),
        "other constants: block.3.upsample.filter",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_before_anything_is_written(what: str, files: Files) -> None:
    damage, message = REFUSED[what]
    damage(files)
    with pytest.raises(CheckpointError, match=message):
        convert_checkpoint(files.encoder, files.decoder, files.out)
    assert not files.out.exists()


class Harmful:
    """Makes a folder when it is unpickled in the plain way."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("plain", [False, True])
def test_a_pickle_runs_no_code(plain: bool, files: Files, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    content = {**files.states["encoder"], "x": Harmful(trace)}
    if plain:
        files.encoder.write_bytes(pickle.dumps({"x": Harmful(trace)}))
    else:
        torch.save(content, files.encoder)
    with pytest.raises(CheckpointError, match="something other than tensors"):
        read_pickled_tensors(files.encoder)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("call", "allowed"),
    [
        ("torch.load(path, weights_only=True)", True),
        ("torch.load(path)", False),
        ("torch.load(path, weights_only=False)", False),
        ("torch.load(path, weights_only=flag)", False),
        ("pickle.load(path, weights_only=True)", False),
    ],
)
def test_only_restricted_loads_pass_the_house_rules(call: str, allowed: bool) -> None:
    node = ast.parse(call, mode="eval").body
    assert isinstance(node, ast.Call)
    assert test_style.is_restricted_load(test_style.PICKLE_READER, node) == allowed
    assert not test_style.is_restricted_load(test_style.PACKAGE / "codec.py", node)


def test_command(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["convert-checkpoint", str(files.encoder), str(files.decoder), "-o", str(files.out)]
    assert main([*argv, "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["config"]["version"] == "v1"
    assert "only files that you trust" in printed.err
    assert main(argv) == 0
    assert f"wrote       {files.out}" in capsys.readouterr().out
    files.decoder.write_bytes(b"no")
    assert main(argv) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("speechkit: error: ")
    assert main([*argv[:-1], str(files.encoder)]) == 2
    assert "is a file" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*pickle:UserWarning")
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_opened_from_public_files_and_cached(version: Version, tmp_path: Path) -> None:
    files, cache = written(tmp_path, version), tmp_path / "cache"
    with pytest.warns(UserWarning, match="trust"):
        first = from_pretrained(tmp_path, cache_folder=cache)
    assert_same(first, files.codec)
    (folder,) = cache.iterdir()
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert_same(from_pretrained(tmp_path, cache_folder=cache), files.codec)
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert_same(from_pretrained(folder), files.codec)


def test_bundled_codec_is_the_default() -> None:
    codec = from_pretrained()
    assert isinstance(codec, FACodec)
    assert codec.hop_samples == 320


@pytest.mark.filterwarnings("ignore:.*pickle:UserWarning")
def test_hub_name_is_downloaded(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    asked = []

    def download(name: str, file: str) -> str:
        asked.append(f"{name}/{file}")
        return str(tmp_path / file)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    found = from_pretrained("amphion/naturalspeech3_facodec", cache_folder=tmp_path / "cache")
    assert asked == [f"amphion/naturalspeech3_facodec/{name}" for name in PUBLIC_FILES["v1"]]
    assert isinstance(found, PaperCodec)


def test_without_network_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")

    def unreachable(name: str, file: str) -> str:
        raise OSError("no route")

    monkeypatch.setattr(hub, "hf_hub_download", unreachable)
    advice = "convert-checkpoint ns3_facodec_encoder.bin ns3_facodec_decoder.bin -o FOLDER"
    with pytest.raises(CheckpointError, match=advice):
        from_pretrained("amphion/naturalspeech3_facodec")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=f"not installed.*{advice}"):
        from_pretrained("amphion/naturalspeech3_facodec")
    with pytest.raises(CheckpointError, match="neither a folder nor a name"):
        from_pretrained(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="download them"):
        from_pretrained(tmp_path)


@pytest.mark.slow
def test_files_that_the_public_code_saved(tmp_path: Path) -> None:
    public = reference.amphion()
    flags = ("use_gr_x_timbre", "use_gr_residual_f0", "use_gr_residual_phone")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = public.FACodecEncoder(32, (2, 4, 5, 5), 256).eval()
        decoder = public.FACodecDecoder(
            upsample_initial_channel=1024, vq_dim=256, **dict.fromkeys(flags, True)
        ).eval()
    paths = [tmp_path / name for name in PUBLIC_FILES["v1"]]
    torch.save(encoder.state_dict(), paths[0])
    torch.save(decoder.state_dict(), paths[1])
    done = convert_checkpoint(paths[0], paths[1], tmp_path / "converted")
    assert done.config == PaperCodecConfig(batch_index_position=True)
    codec = from_pretrained(done.folder)
    wave_T = noise(8000)
    with torch.no_grad():
        z, codes_KBF, _, _, timbre_BD = decoder(encoder(wave_T[None, None]), eval_vq=False)
        wave_11T = decoder.inference(z, timbre_BD)
    codes, timbre_D = codec.encode(wave_T)
    assert torch.equal(codes.stacked(), codes_KBF[:, 0])
    found_T = codec.decode(codes, timbre_D, generator(0))
    assert torch.allclose(found_T, wave_11T[0, 0], atol=1e-4 * float(wave_11T.abs().max()))
