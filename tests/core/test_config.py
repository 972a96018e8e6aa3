"""Configs: round trips, overrides, and errors that name the right key."""

from __future__ import annotations

import contextlib
import json
import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.core.config import from_dict, load_toml, to_dict
from speechkit.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Inner:
    channels: int = 8
    dropout: float = 0.1
    kernel_sizes: tuple[int, ...] = (3, 5)

    def __post_init__(self) -> None:
        if self.channels > 4096:
            raise ValueError("channels must be at most 4096")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    steps: int | None = None
    decay: Literal["constant", "cosine"] = "cosine"
    betas: tuple[float, float] = (0.9, 0.99)
    amp: bool = False
    data: Path | None = None
    weights: dict[str, float] = field(default_factory=dict)
    encoder: Inner = Inner()
    heads: tuple[Inner, ...] = ()
    maybe: Inner | None = None


floats = st.floats(allow_nan=False, allow_infinity=False)
inners = st.builds(
    Inner,
    channels=st.integers(1, 4096),
    dropout=floats,
    kernel_sizes=st.lists(st.integers(), max_size=3).map(tuple),
)
outers = st.builds(
    Outer,
    name=st.text(),
    steps=st.none() | st.integers(),
    decay=st.sampled_from(["constant", "cosine"]),
    betas=st.tuples(floats, floats),
    amp=st.booleans(),
    data=st.none() | st.text(string.ascii_letters, min_size=1).map(Path),
    weights=st.dictionaries(st.text(), floats, max_size=3),
    encoder=inners,
    heads=st.lists(inners, max_size=2).map(tuple),
    maybe=st.none() | inners,
)


@given(outers)
def test_a_config_survives_json(config: Outer) -> None:
    assert from_dict(Outer, json.loads(json.dumps(to_dict(config)))) == config


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | floats | st.text(),
        lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(), parts, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from([*Outer.__dataclass_fields__, "other"]),
)
def test_any_json_gives_a_config_or_a_config_error(value: Any, key: str) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(from_dict(Outer, {"name": "x", key: value}), Outer)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"nme": "x"}, "nme: did you mean name?"),
        (
            {"name": "x", "encoder": {"chanels": 1}},
            "encoder.chanels: did you mean encoder.channels",
        ),
        ({"name": "x", "kernel_size": 1}, "did you mean encoder.kernel_sizes"),
        ({"name": "x", "zzz": 1}, "valid here: name, steps"),
        ({}, "lacks name"),
        ({"name": 3}, "name must be text in quotes, not 3 (int)"),
        ({"name": "x", "steps": 1.5}, "steps must be a whole number"),
        ({"name": "x", "steps": True}, "steps must be a whole number"),
        ({"name": "x", "amp": 1}, "amp must be true or false"),
        ({"name": "x", "decay": "cosin"}, "decay must be one of 'constant', 'cosine'"),
        ({"name": "x", "betas": [0.9]}, "betas must have 2 values, not 1"),
        ({"name": "x", "betas": 0.9}, "betas must be a list"),
        ({"name": "x", "betas": [0.9, "b"]}, "betas[1] must be a number"),
        ({"name": "x", "encoder": 3}, "encoder must be a table"),
        ({"name": "x", "encoder": {"channels": 10**12}}, "encoder: channels must be at most"),
        ({"name": "x", "heads": [{}, {"dropout": "a"}]}, "heads[1].dropout must be a number"),
        ({"name": "x", "weights": {"mel": "a"}}, "weights.mel must be a number"),
        ({"name": "x", "maybe": {"channels": "a"}}, "maybe.channels must be a whole number"),
        ({"name": "x", "encoder": {"dropout": 10**400}}, "encoder.dropout is too large"),
        ([], "The config must be a table"),
    ],
)
def test_mistakes_are_named(mapping: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_dict(Outer, mapping)
    assert message in str(caught.value)


def test_whole_numbers_pass_as_floats_and_none_as_null() -> None:
    config = from_dict(Outer, {"name": "none", "betas": [0, 1], "steps": "none"})
    assert config.betas == (0.0, 1.0)
    assert all(type(beta) is float for beta in config.betas)
    assert config.name == "none"
    assert config.steps is None


def test_overrides_change_the_file(tmp_path: Path) -> None:
    path = tmp_path / "größe.toml"
    path.write_text('name = "a"\nsteps = 5\n[encoder]\nchannels = 4\n', encoding="utf-8")
    overrides = ["encoder.channels=16", "decay=constant", "heads=[{channels=2}]", "maybe.dropout=0"]
    config = load_toml(path, Outer, [*overrides, "steps=none", 'name="7"', "weights.mel/l1 = 2"])
    assert config.encoder.channels == 16
    assert config.decay == "constant"
    assert config.heads == (Inner(channels=2),)
    assert config.maybe == Inner(dropout=0.0)
    assert config.steps is None
    assert config.name == "7"
    assert config.weights == {"mel/l1": 2.0}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("encoder.channels", "as key=value"),
        ("=3", "as key=value"),
        ("name.first=3", '"name" is a single value'),
        ("encoder.chanels=3", "did you mean encoder.channels"),
        ("amp=1\nsteps=2", "amp must be true or false"),
    ],
)
def test_bad_overrides_are_refused(tmp_path: Path, override: str, message: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text('name = "a"\n')
    with pytest.raises(ConfigError, match=message):
        load_toml(path, Outer, [override])


@pytest.mark.parametrize(
    "data", [b"name = ", b"\xff\xfe", b"a = " + b"[" * 100_000], ids=["cut", "utf-16", "nested"]
)
def test_files_that_are_not_toml_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_toml(path, Outer)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load_toml(tmp_path / "none.toml", Outer)
    with pytest.raises(ConfigError, match="Cannot read"):
        load_toml(tmp_path, Outer)
