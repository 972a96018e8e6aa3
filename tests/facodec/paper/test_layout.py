"""Our names and the public names: the same tensors, both ways, for the real sizes too."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from speechkit.core.checkpoint import load_state
from speechkit.facodec.paper.amphion import (
    File,
    Layout,
    codec_layout,
    redecoder_layout,
    to_ours,
    to_public,
)
from speechkit.facodec.paper.codec import PaperCodec
from speechkit.facodec.paper.config import PaperCodecConfig, RedecoderConfig
from speechkit.facodec.paper.public_config import check_public, codec_config, redecoder_config
from tests.facodec.paper import builders, reference
from tests.facodec.paper.builders import TINY

PUBLIC_LAYOUTS = {
    ("v1", "encoder"): (206, "7b9f68ddbde10937"),
    ("v1", "decoder"): (545, "31e78aa8c2606f38"),
    ("v2", "encoder"): (208, "92b0f689ee7b8df4"),
    ("v2", "decoder"): (598, "aa44af3d64fcaf42"),
    ("", "redecoder"): (265, "6f7b5b61512be577"),
}
"""How many tensors each public file has, and the hash of all names and shapes.

Worked out from the public code's structure, apart from this package; see `fingerprint`.
"""
ADVERSARIES = ("prosody_phone", "content_f0", "detail_f0", "detail_phone", "speaker")
PARAMETERS = {"encoder": 4_210_528, "v1": 98_120_652, "v2": 105_479_884, "redecoder": 36_328_994}


def shapes(layout: Layout, file: str) -> dict[str, tuple[int, ...]]:
    places = [place for place in layout.places.values() if place.file == file]
    derived = {
        name: tuple(t.shape)
        for key, d in layout.derived.items()
        for name, t in d.items()
        if key == file
    }
    return derived | {place.name: place.shape for place in places}


def fingerprint(named: Mapping[str, tuple[int, ...]]) -> tuple[int, str]:
    lines = sorted(f"{name} {list(shape)}" for name, shape in named.items())
    return len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def numbers(layout: Layout, file: str) -> int:
    places = [place for place in layout.places.values() if place.file == file]
    return sum(int(torch.tensor(place.shape).prod()) for place in places)


def layout_of(version: str) -> Layout:
    return redecoder_layout(RedecoderConfig()) if not version else codec_layout(config_of(version))


def config_of(version: str) -> PaperCodecConfig:
    return PaperCodecConfig(version="v2" if version == "v2" else "v1")


@pytest.mark.parametrize(("version", "file"), PUBLIC_LAYOUTS)
def test_names_and_shapes_are_the_public_ones(version: str, file: str) -> None:
    layout = layout_of(version)
    assert fingerprint(shapes(layout, file)) == PUBLIC_LAYOUTS[version, file]
    assert numbers(layout, file) == PARAMETERS[version if file == "decoder" else file]


@pytest.mark.parametrize(("version", "file"), PUBLIC_LAYOUTS)
def test_public_code_has_these_names_and_shapes(version: str, file: str) -> None:
    public = reference.amphion()
    sizes: dict[str, Any] = {"up_ratios": (2, 4, 5, 5), "out_channels": 256}
    if file == "decoder":
        flags = ("use_gr_x_timbre", "use_gr_residual_f0", "use_gr_residual_phone")
        sizes = {"upsample_initial_channel": 1024, "vq_dim": 256, **dict.fromkeys(flags, True)}
    elif file == "redecoder":
        sizes = {}
    suffix = "V2" if version == "v2" else ""
    with torch.device("meta"):
        module = getattr(public, f"FACodec{file.capitalize()}{suffix}")(**sizes)
    named = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    assert fingerprint(named) == PUBLIC_LAYOUTS[version, file]


@settings(deadline=None, max_examples=5)
@given(
    st.sampled_from(["v1", "v2"]),
    st.lists(st.booleans(), min_size=5, max_size=5),
    st.lists(st.integers(1, 5), max_size=2),
    st.integers(1, 2),
    st.integers(1, 2),
)
def test_everything_comes_back(
    version: str, flags: list[bool], strides: list[int], layers: int, codebooks: int
) -> None:
    strides = [*strides, 2]
    sizes: dict[str, Any] = {
        f"reverse_{name}": flag for name, flag in zip(ADVERSARIES, flags, strict=True)
    }
    config = replace(
        TINY,
        version="v2" if version == "v2" else "v1",
        strides=tuple(strides),
        prosody_mel=replace(TINY.prosody_mel, hop_length=math.prod(strides)),
        quantizer=replace(TINY.quantizer, detail_codebooks=codebooks),
        transformer=replace(TINY.transformer, layers=layers),
        batch_index_position=True,
        **sizes,
    )
    made = builders.codec(config)
    layout = codec_layout(config)
    assert set(layout.places) == set(made.state_dict())
    files = to_public(layout, made.state_dict())
    check_public(layout, files)
    found = codec_config(files["encoder"], files["decoder"])
    # No shape tells V1's mel, or how many speakers a classifier would know that is not there.
    mel = found.prosody_mel if version == "v2" else config.prosody_mel
    speakers = found.speakers if config.reverse_speaker else config.speakers
    assert replace(found, prosody_mel=mel, speakers=speakers) == config
    back = to_ours(layout, files)
    assert all(torch.equal(back[name], tensor) for name, tensor in made.state_dict().items())
    other = builders.codec(config, seed=1)
    load_state(other, back)
    assert same(other, made)


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_redecoder_comes_back() -> None:
    made = builders.redecoder()
    layout = redecoder_layout(made.config)
    assert set(layout.places) == set(made.state_dict())
    files = to_public(layout, made.state_dict())
    check_public(layout, files)
    assert redecoder_config(files["redecoder"]) == made.config
    back = to_ours(layout, files)
    assert all(torch.equal(back[name], tensor) for name, tensor in made.state_dict().items())


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_public_code_loads_ours_and_we_load_its_own(version: str) -> None:
    public = reference.amphion()
    config = replace(TINY, version="v2" if version == "v2" else "v1")
    made = builders.codec(config)
    encoder, decoder = reference.codec(public, made)  # loads strictly
    files: dict[File, Any] = {"encoder": encoder.state_dict(), "decoder": decoder.state_dict()}
    layout = codec_layout(config)
    check_public(layout, files)
    other = PaperCodec(config)
    load_state(other, to_ours(layout, files))
    assert same(other, made)
